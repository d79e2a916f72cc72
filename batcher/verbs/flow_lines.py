"""Which lines about the flow control go into `events.jsonl`, and when. Pure: the file is somebody else's.

- `sample`: where everything stands, every 2 s in the first 6 minutes, then every 1/180 of the time that the session
  has lasted: 30 points for a minute, some 600 for an hour, 1,200 for a day, 1,500 for a week.
- changes: at once; further changes of one kind (part and reason) within a sample's interval are told as one at its
  end, the old value of the first and the new value of the last, with their number (`times`).
- what the flow control only says as a state becomes a change here: the gate opens again, a probe failed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.verbs.flow_account import requests_per_minute, tokens_per_minute, without_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.policy import FlowEvent
    from batcher.verbs.flow_account import FlowAccount

SAMPLE_EVERY_S: Final = 2.0
SAMPLES_PER_SPAN: Final = 180

Fact = str | int | float | None


class Line(NamedTuple):
    """One line of the file; `at` is on the caller's clock."""

    at: float
    name: str
    facts: Mapping[str, Fact]


@dataclass(slots=True)
class _Kind:
    """Changes of one kind that are not told yet."""

    told_at: float
    at: float = 0.0
    reason: str = ""
    old: float | None = None
    new: float | None = None
    times: int = 0


@dataclass(slots=True)
class FlowLines:
    """The lines of one session that began at `began`, on the caller's clock."""

    began: float
    _kinds: dict[tuple[str, str], _Kind] = field(default_factory=dict)
    _sampled_at: float = -math.inf
    _rows: int = 0
    _throttled: int = 0
    _was_shut: bool = False
    _failed_probes: int = 0

    def every_s(self, now: float) -> float:
        """How far apart samples, and changes of one kind, are at least."""
        return max(SAMPLE_EVERY_S, (now - self.began) / SAMPLES_PER_SPAN)

    def changes(self, events: Sequence[FlowEvent], state: Mapping[str, object], now: float) -> list[Line]:
        """What is to be told of these changes, and of earlier ones that are due now."""
        lines: list[Line] = []
        for each in events:
            lines += self._change(each.at, each.part, each.reason, each.old, each.new)
        for at, part, reason, old, new in self._crossings(state, now):
            lines += self._change(at, part, reason, old, new)
        return [*lines, *self._due(now)]

    def rest(self) -> list[Line]:
        """What was held back; the session ends."""
        return self._due(math.inf)

    def sample(
        self, account: FlowAccount, now: float, *, rows: int, throttled: int, in_flight: int, window: int
    ) -> list[Line]:
        """A sample if one is due; `rows` and `throttled` are the session's so far."""
        since_s = now - self._sampled_at
        if since_s < self.every_s(now):
            return []
        rate = (rows - self._rows) / since_s if math.isfinite(since_s) else None
        facts: dict[str, Fact] = {
            "window": window,
            "in_flight": in_flight,
            "pace": _rounded(requests_per_minute(account.state)),
            "tokens_per_minute": _rounded(tokens_per_minute(account.state)),
            "rows_per_s": _rounded(rate),
            "latency_p50_ms": account.latencies.median_ms,
            "throttled": throttled - self._throttled,
            "held_by": account.held_by,
        }
        self._sampled_at, self._rows, self._throttled = now, rows, throttled
        return [Line(now, "sample", facts)]

    def _change(self, at: float, part: str, reason: str, old: float | None, new: float | None) -> list[Line]:
        key = (part, without_numbers(reason))
        kind = self._kinds.get(key)
        if kind is None or at - kind.told_at >= self.every_s(at):
            held = self._line(key, kind) if kind is not None and kind.times else []
            self._kinds[key] = _Kind(told_at=at)
            return [*held, _line(part, at, reason, old, new, times=1)]
        if not kind.times:
            kind.at, kind.reason, kind.old = at, reason, old
        kind.new = new
        kind.times += 1
        return []

    def _crossings(
        self, state: Mapping[str, object], now: float
    ) -> list[tuple[float, str, str, float | None, float | None]]:
        """Changes between the last look and this one that only the state tells."""
        found: list[tuple[float, str, str, float | None, float | None]] = []
        gate, breaker = state.get("gate"), state.get("breaker")
        is_shut = isinstance(gate, dict) and gate.get("open") is False
        if self._was_shut and not is_shut:
            found.append((now, "gate", "opened", None, 0.0))
        self._was_shut = is_shut
        failed = breaker.get("failed_probes") if isinstance(breaker, dict) and breaker.get("open") else 0
        failed = failed if isinstance(failed, int) else 0
        if failed > self._failed_probes:
            found.append((now, "breaker", "probe failed", float(self._failed_probes), float(failed)))
        self._failed_probes = failed
        return found

    def _due(self, now: float) -> list[Line]:
        lines: list[Line] = []
        for key, kind in self._kinds.items():
            if kind.times and now - kind.told_at >= self.every_s(min(now, kind.at)):
                lines += self._line(key, kind)
                kind.told_at, kind.times = now, 0
        return lines

    def _line(self, key: tuple[str, str], kind: _Kind) -> list[Line]:
        return [_line(key[0], kind.at, kind.reason, kind.old, kind.new, times=kind.times)]


def _line(part: str, at: float, reason: str, old: float | None, new: float | None, *, times: int) -> Line:
    facts: dict[str, Fact] = {"reason": reason, "old": _rounded(old), "new": _rounded(new)}
    return Line(at, part, facts if times == 1 else {**facts, "times": times})


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if value is not None and math.isfinite(value) else None
