"""What the flow control did over one session, added up: for `progress.json`, `events.jsonl` and the summary. Pure.

`look` is told every 0.2 s what holds the run and where the flow control stands; `changed` what it changed. Nothing
here grows with the length of a run: reasons are few, and lines for `events.jsonl` thin out (`Thinning`).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from batcher.policy import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.policy import FlowEvent, Observation

LATENCIES_KEPT: Final = 512
_GATE, _BREAKER, _WINDOW, _PACE = "gate", "breaker", "window", "pace"
_TOLD: Final = (_WINDOW, "limits", _PACE, _GATE, _BREAKER, "budget", "deadline", "memory")
"""Parts of the flow control's state that are passed on."""


class Latencies(Part):
    """Listens to every reply; has no say in admission."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=LATENCIES_KEPT)

    def on_reply(self, seen: Observation) -> None:
        self._recent.append(seen.received_at - seen.sent_at)

    @property
    def median_ms(self) -> float | None:
        """From dispatch until the answer was stored, over the latest 512 replies; None before the first."""
        return round(median(self._recent) * 1000, 3) if self._recent else None


@dataclass(slots=True)
class FlowAccount:
    """One session's account.

    Attributes:
        latencies: to be given to the flow control as one part more.
        held_s: seconds that each reason held the run.
        cuts: how often window or pace were made smaller, by reason.
        pauses: how often the gate was shut, or the breaker opened, by reason.
        largest_window: None before the first look.
    """

    latencies: Latencies = field(default_factory=Latencies)
    held_s: dict[str, float] = field(default_factory=dict)
    cuts: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    largest_window: int | None = None
    held_by: str | None = None
    _at: float | None = None
    _state: Mapping[str, object] = field(default_factory=dict)

    def look(self, now: float, *, held_by: str | None, window: int, state: Mapping[str, object]) -> None:
        """Where the flow control stands; the time since the last look counts for what holds the run now."""
        if self._at is not None and held_by is not None:
            self.held_s[held_by] = self.held_s.get(held_by, 0.0) + now - self._at
        self._at, self.held_by = now, held_by
        self._state = {name: state[name] for name in _TOLD if name in state}
        self.largest_window = max(self.largest_window or 0, window)

    def changed(self, events: Sequence[FlowEvent]) -> None:
        """Count what the flow control changed."""
        for each in events:
            if _is_cut(each):
                self.cuts[f"{each.part}: {without_numbers(each.reason)}"] += 1
            elif each.part in {_GATE, _BREAKER} and (each.new or 0.0) > (each.old or 0.0):
                self.pauses[without_numbers(each.reason)] += 1

    @property
    def state(self) -> Mapping[str, object]:
        """The flow control's own words at the last look."""
        return self._state

    @property
    def limit_reached(self) -> str | None:
        """Which of the user's limits can have stopped the run: "deadline" or "budget"; None without one."""
        if _number(self._state, "deadline", "left_s") == 0.0:
            return "deadline"
        return "budget" if "budget" in self._state else None

    def to_json(self) -> dict[str, object]:
        """Everything, for `progress.json` and the summary; {} when the flow control never began."""
        if self._at is None:
            return {}
        return {
            **self._state,
            "largest_window": self.largest_window,
            "latency_p50_ms": self.latencies.median_ms,
            "held_s": {reason: round(held_s, 1) for reason, held_s in self.held_s.items()},
            "cuts": dict(self.cuts),
            "pauses": dict(self.pauses),
        }


def _is_cut(event: FlowEvent) -> bool:
    if event.part == _PACE and event.old is None:
        return event.reason == "first refusal"  # the others are limits that were set or told
    if event.part not in {_WINDOW, _PACE} or event.old is None:
        return False
    return event.new is not None and event.new < event.old


def without_numbers(reason: str) -> str:
    """The reason's kind: "20 faults in a row" and "31 faults in a row" are one."""
    words = (word for word in reason.split() if not word.rstrip("%s").isdigit())
    return " ".join(words)


def requests_per_minute(state: Mapping[str, object]) -> float | None:
    """The pace that holds: the smaller of the limit known and the pace found; None when there is none."""
    known = [_number(state, part, "requests_per_minute") for part in ("limits", _PACE)]
    return min((pace for pace in known if pace is not None), default=None)


def tokens_per_minute(state: Mapping[str, object]) -> float | None:
    return _number(state, "limits", "tokens_per_minute")


def _number(state: Mapping[str, object], part: str, name: str) -> float | None:
    told = state.get(part)
    value = told.get(name) if isinstance(told, dict) else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
