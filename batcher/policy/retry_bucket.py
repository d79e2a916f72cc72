"""How many retries the whole run may make: they must stay the exception.

Capacity max(50, 2 x window), full at first. A retry takes 1 (when it is decided); its success gives 1 back,
any other success 0.1. Throttling takes nothing, nor does the one free repetition of an unsent request.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from batcher.policy import constants as c
from batcher.policy.verdict import Action, Charge

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.policy.verdict import Verdict


class RetryBucket:
    """`window`: the present window, which scales the capacity."""

    def __init__(self, window: Callable[[], int]) -> None:
        self._window = window
        self._spent = 0.0
        self._rows: OrderedDict[int, bool] = OrderedDict()  # has failed -> has taken (not only freely)

    @property
    def capacity(self) -> float:
        return float(max(c.RETRIES_LEAST, c.RETRIES_PER_WINDOW * self._window()))

    @property
    def level(self) -> float:
        return self.capacity - self._spent

    @property
    def is_empty(self) -> bool:
        """Whether the next retry could not be paid."""
        return self.level < 1.0

    def succeeded(self, row_index: int) -> None:
        if self._spent > 0.0:
            refund = c.RETRY_REFUND if self._rows.get(row_index) else c.SUCCESS_REFUND
            self._spent = max(0.0, self._spent - refund)
        if self._rows:
            self._rows.pop(row_index, None)

    def failed(self, row_index: int, verdict: Verdict) -> None:
        """The attempt ended with this verdict; takes what its retry costs."""
        if verdict.action not in {Action.RETRY, Action.PARK}:
            self.ended(row_index)
        elif Charge.B in verdict.charges:
            free = verdict.free_first and row_index not in self._rows
            self._rows[row_index] = self._rows.get(row_index, False) or not free
            if len(self._rows) > c.RETRY_ROWS_KNOWN:
                self._rows.popitem(last=False)
            if not free:
                self._spent = min(self.capacity, self._spent + 1.0)

    def ended(self, row_index: int) -> None:
        """The row is done."""
        self._rows.pop(row_index, None)

    def refill(self) -> None:
        """The outage that emptied it is over."""
        self._spent = 0.0
