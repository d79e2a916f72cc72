"""The words between `admit` and its parts: what may be answered, and what a part must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.records import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.errors import BatcherError
    from batcher.policy.verdict import Verdict
    from batcher.records import Request


@dataclass(frozen=True, slots=True)
class Send:
    """The request may go out now, and has been debited everywhere."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now.

    Attributes:
        until: when to ask again, on the caller's clock; infinity: only an event can change the answer. An
            event (a reply, the end of an attempt) is always a reason to ask again.
        reason: for the progress line.
        only_this_row: another row might be sent now; whoever has one should ask for it.
        stop: no event will change the answer any more: the run stops with this error, resumable.
    """

    until: float
    reason: str
    only_this_row: bool = False
    stop: BatcherError | None = None


SEND: Final = Send()

NO_USAGE: Final = Usage()


class Observation(NamedTuple):
    """One attempt that came back, as the flow control sees it.

    A NamedTuple, because a frozen dataclass of this size costs 1 µs to make, for every attempt.

    Attributes:
        sent_at: when it was handed to the network, on the clock of `admit` (not the epoch).
        received_at: when it came back, on the same clock.
        headers: of the reply, names in lower case; empty when no status line came.
        usage: as reported; None fields are unknown.
        cost_usd: what a gateway says that the attempt cost; None: unknown, usage and prices tell.
        reply_bytes: of the body, as it came.
    """

    request: Request
    sent_at: float
    received_at: float
    verdict: Verdict
    headers: Sequence[tuple[str, str]] = ()
    usage: Usage = NO_USAGE
    cost_usd: float | None = None
    reply_bytes: int = 0


class Part:
    """One thing that has a say in admission. Subclass it and override what is needed: agreeing is the
    default.

    `ask` must change nothing that another answer could depend on; `commit` is called only after every part
    has agreed, at the same `now`.
    """

    def ask(self, request: Request, now: float) -> Wait | None:
        """None: as far as this part goes, the request may be sent."""

    def commit(self, request: Request, now: float) -> None:
        """The request is admitted: debit it."""

    def on_sent(self, now: float) -> None:
        """An admitted request is being handed to the network."""

    def on_reply(self, seen: Observation) -> None:
        """An attempt came back: told before its verdict, in the order of arrival."""

    def on_verdict(self, verdict: Verdict, now: float) -> None:
        """A reply was judged."""

    def on_done(self, now: float) -> None:
        """An admitted request's attempt is over, replied to or not."""

    def on_unanswered(self, request: Request, now: float) -> None:
        """An admitted request's attempt is over, and nothing was told about it (it was cancelled)."""

    def on_withdrawn(self, request: Request, now: float) -> None:
        """An admitted request is not sent after all; told to those that listen to `on_unanswered`."""
        self.on_unanswered(request, now)

    def holding(self, now: float) -> str | None:
        """The reason why this part holds requests back at this time, for the progress line."""

    def state(self, now: float) -> Mapping[str, object]:
        """What this part stands at, as JSON values, for `status` and `--json`; empty: nothing to tell."""
        del now
        return {}
