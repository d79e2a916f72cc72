"""The words between `admit` and its parts: what may be answered, and what a part must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    """

    until: float
    reason: str


SEND: Final = Send()


class Part:
    """One thing that has a say in admission. Subclass it and override what is needed: agreeing is the
    default.

    `ask` must change nothing; `commit` is called only after every part has agreed, at the same `now`.
    """

    def ask(self, request: Request, now: float) -> Wait | None:
        """None: as far as this part goes, the request may be sent."""

    def commit(self, request: Request, now: float) -> None:
        """The request is admitted: debit it."""

    def on_sent(self, now: float) -> None:
        """An admitted request is being handed to the network."""

    def on_verdict(self, verdict: Verdict, now: float) -> None:
        """A reply was judged."""

    def on_done(self, now: float) -> None:
        """An admitted request's attempt is over, replied to or not."""

    def holding(self, now: float) -> str | None:
        """The reason why this part holds requests back at this time, for the progress line."""
