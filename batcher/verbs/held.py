"""What holds a run now: the flow control's word, weighed against what the flow control cannot know. Pure.

Rules of `holder`, the first that fits:

1. A state of the flow control that lets nobody (or hardly anybody) out: stopping, deadline, parked, a shut gate, the
   breaker, the budget, the memory, the canary, a ramp.
2. A reason for which at least half of what was sent since the last look had to wait; or, when nothing was sent, the
   pace that the flow control names. (A pace's bucket is empty for a moment after every request, so its word alone
   would blame a limit of which half is used.)
3. The disk, when answers wait for a sync; the store that workers wait for, when there is room in the window: the
   disk, when shards wait to be sealed, or the dataset.
4. This process's own CPU.
5. The window, when it is full.
6. Nothing: the last rows are on their way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW: Final = "window"
CPU: Final = "cpu"
DISK: Final = "disk"
STOPPING: Final = "stopping"
_FULL: Final = "concurrency"
"""The window's own word at admission."""
_PACE: Final = "rate limit ("
"""How the reasons of a pace begin; a gate shut by a refusal says "rate limit" and nothing more."""

CPU_OVER_S: Final = 2.0
CPU_SHARE: Final = 0.95
"""Of one core: Python runs on one at a time."""
LATE_SHARE: Final = 0.33
"""Of the time that was slept: timers that late mean that the event loop never rests."""


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to see at one moment.

    Attributes:
        said: what the flow control says that it holds requests by.
        refused: how often admission was refused since the last look, by reason.
        sent: requests sent since the last look.
        store: "disk" or "dataset" while a worker waits for the store's rows, else None.
        is_syncing: answers wait for a sync that takes long (strict durability only).
        is_cpu_short: as `Load` finds it.
    """

    said: str | None
    refused: Mapping[str, int]
    sent: int
    in_flight: int
    window: int
    store: str | None = None
    is_syncing: bool = False
    is_cpu_short: bool = False


def holder(look: Look) -> str | None:
    """What holds the run, as a key of `report.wording.HELD`; None when nothing does."""
    if look.said is not None and not look.said.startswith(_PACE):
        return look.said
    return _paced(look) or _stored(look) or _worked(look)


def _paced(look: Look) -> str | None:
    waited = {reason: times for reason, times in look.refused.items() if reason not in {_FULL, STOPPING}}
    most = max(waited, key=lambda reason: waited[reason], default=None)
    if most is not None and 2 * waited[most] >= look.sent:
        return most
    return look.said if not look.sent and look.in_flight < look.window else None


def _stored(look: Look) -> str | None:
    if look.is_syncing:
        return DISK
    return look.store if look.in_flight < look.window else None


def _worked(look: Look) -> str | None:
    if look.is_cpu_short:
        return CPU
    return WINDOW if look.in_flight >= look.window else None


@dataclass(slots=True)
class Load:
    """How busy this process was over the last 2 s."""

    # (now, CPU seconds so far, seconds wanted so far, lateness so far)
    _points: deque[tuple[float, float, float, float]] = field(default_factory=deque)

    def add(self, now: float, *, cpu_s: float, wanted_s: float = 0.0, late_s: float = 0.0) -> None:
        """One look.

        Args:
            now: in seconds.
            cpu_s: CPU that the process has used so far.
            wanted_s: CPU that the event loop's thread has used or waited for so far (other processes may have it all
                the time); 0 where the system does not tell.
            late_s: by how much the last sleep was too long.
        """
        late_before = self._points[-1][3] if self._points else 0.0
        self._points.append((now, cpu_s, wanted_s, late_before + late_s))
        while len(self._points) > 2 and self._points[1][0] <= now - CPU_OVER_S:
            self._points.popleft()

    @property
    def is_short(self) -> bool:
        """Whether the CPU is what everything waits for; False before 2 s were seen."""
        if len(self._points) < 2:
            return False
        first, last = self._points[0], self._points[-1]
        seen_s, cpu_s, wanted_s, late_s = (after - before for before, after in zip(first, last, strict=True))
        if seen_s < CPU_OVER_S:
            return False
        return max(cpu_s, wanted_s) >= CPU_SHARE * seen_s or late_s >= LATE_SHARE * seen_s
