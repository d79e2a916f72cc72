"""Whether faults come in a burst: at least 5 within 5 s, and more than a tenth of the window."""

from __future__ import annotations

from collections import deque

from batcher.policy.constants import BURST_LEAST, BURST_S, BURST_SHARE


class Burst:
    """The times of one kind of fault; holds no more of them than make a burst of the largest window."""

    def __init__(self, most: int) -> None:
        self._times: deque[float] = deque(maxlen=max(BURST_LEAST, int(most * BURST_SHARE) + 1))

    def add(self, now: float, *, window: int) -> bool:
        """Count one; whether it makes a burst."""
        self._times.append(now)
        while self._times[0] < now - BURST_S:
            self._times.popleft()
        count = len(self._times)
        return count >= BURST_LEAST and count > BURST_SHARE * window

    def forget(self) -> None:
        self._times.clear()
