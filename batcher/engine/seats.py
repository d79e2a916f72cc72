"""Seats for rows that failed and wait for another attempt: a bounded number, with one way round the bound.

When all seats are taken, workers take no new rows: what waits is held in memory. But where nothing but failing rows
is in hand, only a new row can tell whether the endpoint is down or these rows are at fault: in the one case nothing is
answered and nobody is charged, in the other the new row's answer charges the others, which end. So once in 10 s one
row more is let through (an hour's outage: 360 rows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

PROBE_EVERY_S: Final = 10.0
"""Rules, section 2: the breaker's probes come every 10 s in the end, each with another row."""


def retry_seats(window: int) -> int:
    """How many failed rows may wait for another attempt; beyond it no new rows are taken."""
    return max(64, 4 * window)


class Seats:
    """Made inside the event loop. Every `take` is followed by one `give`, from any task.

    `seats` says how many there are at present: where they become fewer, those taken stay taken.
    """

    def __init__(self, seats: Callable[[], int]) -> None:
        self._seats = seats
        self._taken = 0
        self._line = anyio.Lock()
        self._freed = anyio.Event()

    async def take(self) -> None:
        """Return when a seat is free, or when nobody could take one for 10 s."""
        async with self._line:
            if self._taken >= self._seats():
                self._freed = anyio.Event()
                with anyio.move_on_after(PROBE_EVERY_S):
                    await self._freed.wait()
            self._taken += 1

    def give(self) -> None:
        self._taken -= 1
        if self._taken < self._seats():
            self._freed.set()
