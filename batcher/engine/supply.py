"""The store's rows, one at a time, for many workers: one of them asks the store, the others wait for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from batcher.ports import Store
    from batcher.records import InputRow

HELD_BACK_S: Final = 60.0
"""Chosen, as far apart as lonely attempts are charged: a store that gives no row for so long waits for rows to end."""


class Supply:
    """Made inside the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chunk: deque[InputRow] = deque()
        self._line = anyio.Lock()
        self._scope = anyio.CancelScope()
        self._asked_at: float | None = None
        self._spent = False
        self._closed = False

    async def next(self) -> InputRow | None:
        """The next row in input order; None after the last, or once closed. Raises what the store raises."""
        while not self._chunk:
            if self._spent or self._closed:
                return None
            async with self._line:
                await self._ask()
        return None if self._closed else self._chunk.popleft()

    def close(self) -> None:
        """No row is given any more; whoever waits for one gets None."""
        self._closed = True
        self._scope.cancel()

    def is_dry(self, now: float) -> bool:
        """Whether no row can be had: the last one was given, or the store waits for others to end."""
        if self._chunk:
            return False
        return self._spent or (self._asked_at is not None and now - self._asked_at >= HELD_BACK_S)

    async def _ask(self) -> None:
        if self._chunk or self._spent or self._closed:
            return  # somebody else did, while this worker waited for its turn
        self._asked_at = anyio.current_time()
        try:
            with anyio.CancelScope() as self._scope:
                rows = await self._store.next_rows()
                self._spent = rows is None
                self._chunk.extend(rows or ())
        finally:
            self._asked_at = None
