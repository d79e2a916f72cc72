"""The store's rows, one at a time, for many workers: one of them asks the store, the others wait for it.

And they wait while memory is full. Who is given a row counts it with `begun` before anything else can happen, so that
not everybody who waits takes one: at most one row more than the limit is in hand.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from batcher.policy.memory import Memory
    from batcher.ports import Store
    from batcher.records import InputRow, Request

HELD_BACK_S: Final = 60.0
"""Chosen, as far apart as lonely attempts are charged: who gives no row for so long waits for rows to end."""


class Supply:
    """Made inside the event loop."""

    def __init__(self, store: Store, memory: Memory) -> None:
        self._store = store
        self._memory = memory
        self._room = anyio.Event()
        self._full_since: float | None = None
        self._chunk: deque[InputRow] = deque()
        self._line = anyio.Lock()
        self._scope = anyio.CancelScope()
        self._asked_at: float | None = None
        self._spent = False
        self._closed = False

    async def next(self) -> InputRow | None:
        """The next row in input order; None after the last, or once closed. Raises what the store raises."""
        while not self._closed:
            if not self._chunk:
                if self._spent:
                    return None
                async with self._line:
                    await self._ask()
            elif self._memory.has_room:
                return self._chunk.popleft()
            else:
                await self._wait_for_room()
        return None

    def begun(self, request: Request) -> None:
        """The row that was given is in hand, as this request."""
        self._memory.take(request)

    def ended(self, request: Request) -> None:
        """It is out of hand."""
        self._memory.give(request)
        if self._full_since is not None and self._memory.has_room:
            self._make_room()

    def close(self) -> None:
        """No row is given any more; whoever waits for one gets None."""
        self._closed = True
        self._scope.cancel()
        self._make_room()

    def is_dry(self, now: float) -> bool:
        """Whether no row can be had: the last one was given, or store or memory wait for others to end."""
        if self._chunk:
            return self._full_since is not None and now - self._full_since >= HELD_BACK_S
        return self._spent or (self._asked_at is not None and now - self._asked_at >= HELD_BACK_S)

    async def _wait_for_room(self) -> None:
        if self._full_since is None:
            self._full_since = anyio.current_time()
        await self._room.wait()

    def _make_room(self) -> None:
        self._full_since = None
        self._room.set()
        self._room = anyio.Event()

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
