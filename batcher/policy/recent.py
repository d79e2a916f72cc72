"""The share of faults among the results of the last 30 s, in whole seconds: flat memory at any rate."""

from __future__ import annotations

from collections import deque

from batcher.policy.constants import BREAKER_SPAN_S


class Recent:
    """Results by the second they came in."""

    def __init__(self) -> None:
        self._cells: deque[list[int]] = deque()  # [second, results, faults]
        self._second = -1
        self._results = 0
        self._faults = 0

    def good(self, now: float) -> None:
        second = int(now)
        if second != self._second:
            self._roll(second)
        self._cells[-1][1] += 1
        self._results += 1

    def fault(self, now: float) -> None:
        self.good(now)
        self._cells[-1][2] += 1
        self._faults += 1

    def share(self) -> tuple[int, float]:
        """(results, share of faults among them; 0 of none)."""
        return self._results, self._faults / self._results if self._results else 0.0

    def forget(self) -> None:
        self._cells.clear()
        self._second = -1
        self._results = self._faults = 0

    def _roll(self, second: int) -> None:
        self._second = second
        self._cells.append([second, 0, 0])
        while self._cells[0][0] <= second - BREAKER_SPAN_S:
            _, results, faults = self._cells.popleft()
            self._results -= results
            self._faults -= faults
