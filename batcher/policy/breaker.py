"""Stops sending when the endpoint is down, and asks now and then whether it is back.

- Opens on an empty retry bucket, on 20 faults in a row over 5 s, or on more than 50 % faults of at least 20
  results in 30 s. Throttling is no fault and breaks no row of faults: a gateway may throttle before a dead
  backend.
- Open: one probe at a time, 1, 2, 4, 8, then every 10 s after the one before failed, each with another row. A
  row that failed last time waits 0.5 s longer, one that probed already 2 s: where a row that never failed waits
  too, it goes first, so that rows which fail for ever do not pass for an outage.
- Any reply to a probe that is neither fault nor throttling closes it: the bucket is full again, the window
  starts slowly.
- A fault that the row alone is to blame for (`suspects`) counts for nothing of this.
- Faults of requests sent before it closed are the outage's: they open nothing again.
- A session that goes on with a run may find nothing but rows that always fail. So where earlier sessions were
  answered, this one was not, and for 15 minutes every fault was a plain 500 (the application's own word; what is
  down refuses, resets, times out or says 502, 503, 504), it closes and blames the rows: each is charged for each
  of its attempts and ends by R, until something is answered or fails otherwise. A session that was answered has seen
  the endpoint go down, and waits.
- An outage begins with the sending of the first fault since anything was answered, or of the earliest of
  those that opened it. Its faults and failed probes are not
  charged to rows (`is_uncharged`).
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from batcher.policy import constants as c
from batcher.policy.part import Part, Wait
from batcher.policy.recent import Recent
from batcher.policy.suspects import Suspects
from batcher.policy.verdict import KEEP, Action, Charge, Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.policy.events import EventLog
    from batcher.policy.part import Observation
    from batcher.policy.retry_bucket import RetryBucket
    from batcher.policy.verdict import Verdict
    from batcher.records import Request

_OPEN: Final = "endpoint down"
_PLAIN: Final = 500
_PROBING: Final = Wait(math.inf, _OPEN)


class Breaker(Part):
    """Args:
    on_close: called with the time when the endpoint answers again.
    suspects: told every reply.
    answered_before: whether earlier sessions of the run were answered.
    """

    def __init__(
        self,
        *,
        bucket: RetryBucket,
        on_close: Callable[[float], None],
        log: EventLog,
        suspects: Suspects | None = None,
        answered_before: bool = False,
    ) -> None:
        self._bucket = bucket
        self._suspects = suspects or Suspects()
        self._on_close = on_close
        self._log = log
        self._recent = Recent()
        self._may_blame = answered_before
        self._is_open = False
        self._plain_since = math.inf  # since when it is open and every fault was a plain 500
        self._closed_at = -math.inf
        self._in_a_row = 0
        self._row_since = math.inf
        self._row_sent = math.inf  # when the first fault of the row was sent
        self._faults_sent: deque[float] = deque(maxlen=c.BREAKER_IN_A_ROW)
        self._probe: int | None = None
        self._probe_at = math.inf
        self._failed_probes = 0
        self._probed: set[int] = set()
        self._outages: deque[tuple[float, float]] = deque(maxlen=c.OUTAGES_KNOWN)

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def blames_rows(self) -> bool:
        """Whether every failure is taken for the row's own."""
        return self._suspects.all_are

    def ask(self, request: Request, now: float) -> Wait | None:
        if not self._is_open:
            return None
        if self._probe is not None:
            return _PROBING
        if now < self._probe_at:
            return Wait(self._probe_at, _OPEN)
        if request.row_index in self._probed:
            again_at = self._probe_at + c.PROBE_SAME_ROW_S
        elif request.row_index in self._suspects:
            again_at = self._probe_at + c.PROBE_FAILED_ROW_S
        else:
            return None
        return Wait(again_at, _OPEN, only_this_row=True) if now < again_at else None

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002 - the protocol's form
        if self._is_open:
            self._probe = request.row_index
            self._probed.add(request.row_index)

    def on_reply(self, seen: Observation) -> None:
        verdict, row = seen.verdict, seen.request.row_index
        if verdict.action is KEEP:
            self._may_blame = False
            self._bucket.succeeded(row)
            self._suspects.answered(row, sent_at=seen.sent_at)
            if self._is_open:
                self._probe_answered(seen)
            elif seen.sent_at >= self._closed_at:
                self._in_a_row = 0
                self._recent.good(seen.received_at)
        else:
            is_own = self._is_own(row, verdict, seen.received_at)
            if self._is_open:
                self._came_while_open(seen)
            elif seen.sent_at >= self._closed_at and not is_own:
                self._count(seen)

    def on_unanswered(self, request: Request, now: float) -> None:
        if request.row_index == self._probe:
            self._probe_failed(now)

    def is_uncharged(self, verdict: Verdict, sent_at: float) -> bool:
        """Whether a fault of a request sent then belongs to an outage.

        May change from False to True later: the first faults of an outage open it only together.
        """
        if Effect.FAULT not in verdict.effects:
            return False
        return any(begun <= sent_at <= over for begun, over in self._outages)

    def holding(self, now: float) -> str | None:  # noqa: ARG002
        return _OPEN if self._is_open else None

    def state(self, now: float) -> Mapping[str, object]:
        next_s = None if self._probe is not None else max(0.0, self._probe_at - now)
        return {
            "breaker": {
                "open": self._is_open,
                "failed_probes": self._failed_probes,
                "next_probe_s": next_s if self._is_open else None,
                "retries_left": self._bucket.level,
            }
        }

    def _is_own(self, row: int, verdict: Verdict, now: float) -> bool:
        """Whether it is a fault that the row alone is to blame for."""
        if Effect.FAULT not in verdict.effects:
            self._suspects.ended(row)
            return False
        if verdict.status_code != _PLAIN:
            self._suspects.all_are = False
        self._suspects.failed(row, now)
        return self._suspects.latest_is_own and verdict.action is not Action.FAIL

    # --- closed ---

    def _count(self, seen: Observation) -> None:
        verdict, now = seen.verdict, seen.received_at
        self._bucket.failed(seen.request.row_index, verdict)
        if Effect.FAULT in verdict.effects:
            if self._in_a_row == 0:
                self._row_since, self._row_sent = now, seen.sent_at
            self._row_sent = min(self._row_sent, seen.sent_at)
            self._in_a_row += 1
            self._recent.fault(now)
            self._faults_sent.append(seen.sent_at)
        elif verdict.action is Action.FAIL:
            self._in_a_row = 0
            self._recent.good(now)
        reason = self._reason_to_open(now)
        if reason is not None and Charge.T not in verdict.charges:
            self._open(now, reason)

    def _reason_to_open(self, now: float) -> str | None:
        if self._bucket.is_empty:
            return "retries used up"
        if self._in_a_row >= c.BREAKER_IN_A_ROW and now - self._row_since >= c.BREAKER_IN_A_ROW_S:
            return f"{self._in_a_row} faults in a row"
        results, share = self._recent.share()
        if results >= c.BREAKER_RESULTS and share > c.BREAKER_SHARE:
            return f"{share:.0%} faults in {c.BREAKER_SPAN_S} s"
        return None

    def _open(self, now: float, reason: str) -> None:
        self._is_open = True
        self._failed_probes = 0
        self._probed.clear()
        self._probe = None
        self._probe_at = now + c.PROBES_AFTER_S[0]
        self._plain_since = now
        begun = min((sent for sent in self._faults_sent if sent >= now - c.BREAKER_SPAN_S), default=now)
        if self._in_a_row:
            begun = min(begun, self._row_sent)
        self._outages.append((begun, math.inf))
        self._log.tell(now, "breaker", reason, old=0.0, new=1.0)

    # --- open ---

    def _came_while_open(self, seen: Observation) -> None:
        verdict = seen.verdict
        if verdict.status_code != _PLAIN:
            self._plain_since = seen.received_at
        if seen.request.row_index != self._probe:
            if verdict.action is Action.FAIL:
                self._bucket.ended(seen.request.row_index)
        elif Effect.FAULT in verdict.effects or Charge.T in verdict.charges:
            self._probe_failed(seen.received_at)
            self._blame(seen.received_at)
        else:
            self._probe_answered(seen)

    def _probe_answered(self, seen: Observation) -> None:
        if seen.request.row_index == self._probe:
            self._close(seen.received_at, "the endpoint answers again")

    def _probe_failed(self, now: float) -> None:
        self._probe = None
        self._failed_probes += 1
        self._probe_at = now + c.PROBES_AFTER_S[min(self._failed_probes, len(c.PROBES_AFTER_S) - 1)]

    def _blame(self, now: float) -> None:
        """Take the rows for what is at fault, if it is time."""
        if self._may_blame and now - self._plain_since >= c.BLAME_AFTER_S:
            self._close(now, "every row fails alike")
            self._suspects.all_are = True

    def _close(self, now: float, reason: str) -> None:
        self._is_open, self._probe, self._closed_at = False, None, now
        self._in_a_row = 0
        self._recent.forget()
        self._faults_sent.clear()
        self._probed.clear()
        self._bucket.refill()
        begun, _ = self._outages[-1]
        self._outages[-1] = (begun, now)
        self._log.tell(now, "breaker", reason, old=1.0, new=0.0)
        self._on_close(now)
