"""What a run as a whole cannot go on with. Pure: verdicts and the time in, a word out.

- a verdict that stops the run: its own exception
- more than 5 of the first 20 replies are not an API's: exit 2
- 3 connection failures before anything was ever reached: exit 7
- one error code on more than half of the last 200 finished rows, or on 20 of the first 50: exit 10
- more than 20 % of the last 200 finished rows truncated: one warning
- no success for 6 h (10 min if there never was one, in no session), announced parking not counted: exit 7
- parking beyond 24 h, in one piece or several without a success between: exit 7
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batcher.errors import BatcherError, EndpointUnavailable, EndpointUnusable, TooManyFailures
from batcher.policy import constants as c
from batcher.policy.verdict import KEEP, Action, Effect

if TYPE_CHECKING:
    from batcher.policy.verdict import Verdict

_Code = tuple[int | None, str | None]
_NOTHING: Final = Effect.NONE


@dataclass(frozen=True, slots=True)
class Stop:
    """The run stops with this error, resumable."""

    error: BatcherError


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 - the word for it; nobody raises it
    """Something a person should know; the run goes on. Said once per run."""

    message: str


class Watch:
    """Looks at every verdict of one session.

    `patience_s` is how long a session may go on without ever having succeeded; raise it above the attempt
    deadline where a single attempt may take longer than 10 minutes. `answered_before`: earlier sessions of the run
    succeeded, so that this one has 6 h.
    """

    def __init__(self, *, patience_s: float = c.NEVER_SUCCESS_S, answered_before: bool = False) -> None:
        self._patience_s = patience_s
        self._seen = 0
        self._odd = 0
        self._connects = 0
        self._reached = False
        self._rows = 0
        self._recent: deque[tuple[_Code | None, bool]] = deque()
        self._codes: Counter[_Code] = Counter()
        self._truncated = 0
        self._warned = False
        self._succeeded = answered_before
        self._since = 0.0
        self._parked_s = 0.0
        self._parked_until = 0.0
        self._last = "nothing came back yet"

    def start(self, now: float) -> None:
        """The session begins: the clock of "no success" runs from here."""
        self._since = now

    def observe(self, verdict: Verdict, now: float, row_index: int) -> Stop | Warning | None:
        """Look at one verdict, in the order of arrival."""
        self._seen += 1
        if verdict.message is not None:
            self._last = verdict.message
        if verdict.action is KEEP:
            self._succeeded, self._since, self._parked_s = True, now, 0.0
            self._reached = True
            return self._finished(verdict, row_index)
        if verdict.action is Action.STOP:
            return Stop((verdict.stop or BatcherError)(verdict.message or verdict.rule))
        word: Stop | Warning | None = self._early(verdict)
        if word is None and verdict.action is Action.PARK:
            word = self._park(now, verdict.wait_s or c.PARK_UNKNOWN_S)
        if word is None and verdict.action is Action.FAIL:
            word = self._finished(verdict, row_index)
        return word

    def deadline_of_no_success(self, now: float) -> float:
        """When to ask `overdue` next: a success in between moves it, never before `now`."""
        limit = c.NO_SUCCESS_S if self._succeeded else self._patience_s
        return max(now, self._since + self._parked_s + limit)

    def overdue(self, now: float) -> Stop | None:
        """The stop for "no success for too long", or None while there is patience."""
        limit = c.NO_SUCCESS_S if self._succeeded else self._patience_s
        if now < self._since + self._parked_s + limit:
            return None
        span = f"{limit / 3600:g} h" if limit >= 3600 else f"{limit / 60:g} min"
        return Stop(EndpointUnavailable(f"No request succeeded for {span}. Last: {self._last}"))

    def _early(self, verdict: Verdict) -> Stop | None:
        """What only the first attempts of a session can say."""
        if Effect.CONNECT not in verdict.effects:
            self._reached = True
        elif not self._reached:
            self._connects += 1
            if self._connects >= c.FIRST_CONNECTS:
                return Stop(EndpointUnavailable(f"No connection, tried {self._connects} times: {self._last}"))
        if self._seen > c.NOT_AN_API_OF_FIRST or Effect.NOT_AN_API not in verdict.effects:
            return None
        self._odd += 1
        if self._odd <= c.NOT_AN_API_MOST:
            return None
        said = verdict.error_message or verdict.rule
        return Stop(
            EndpointUnusable(
                f"{self._odd} of the first {self._seen} replies are not chat completions ({said}).",
                hint="is this an OpenAI-compatible /v1? check endpoint.base_url",
            )
        )

    def _park(self, now: float, wait_s: float) -> Stop | None:
        until = now + wait_s
        self._parked_s += max(0.0, until - max(now, self._parked_until))
        self._parked_until = max(self._parked_until, until)
        if self._parked_s <= c.PARK_MOST_S:
            return None
        hours = self._parked_s / 3600
        return Stop(EndpointUnavailable(f"The endpoint asks to wait {hours:,.0f} h in all: {self._last}"))

    def _finished(self, verdict: Verdict, row_index: int) -> Stop | Warning | None:
        code, truncated = None, False
        if verdict.effects is not _NOTHING:  # a plain answer; asking a Flag costs 0.5 us
            truncated = Effect.TRUNCATED in verdict.effects
            if Effect.SAME_CODE in verdict.effects:
                code = (verdict.status_code, verdict.error_code)
        self._rows += 1
        self._count(code, truncated=truncated)
        if code is not None and self._is_everywhere(code):
            many = self._codes[code]
            text = f"{many} of the last {len(self._recent)} rows failed alike (row {row_index}): {self._last}"
            return Stop(TooManyFailures(text, hint="change the request, then run again"))
        if truncated and not self._warned and self._truncated > c.TRUNCATED_SHARE * c.RECENT_ROWS:
            self._warned = True
            return Warning(
                f"{self._truncated} of the last {len(self._recent)} rows were cut at the token limit;"
                " raise the token maximum"
            )
        return None

    def _count(self, code: _Code | None, *, truncated: bool) -> None:
        self._recent.append((code, truncated))
        self._truncated += truncated
        if code is not None:
            self._codes[code] += 1
        if len(self._recent) > c.RECENT_ROWS:
            old_code, old_truncated = self._recent.popleft()
            self._truncated -= old_truncated
            if old_code is not None:
                self._codes[old_code] -= 1

    def _is_everywhere(self, code: _Code) -> bool:
        if self._rows <= c.SAME_CODE_FIRST_ROWS and self._codes[code] >= c.SAME_CODE_FIRST_COUNT:
            return True
        return self._codes[code] > c.SAME_CODE_SHARE * c.RECENT_ROWS
