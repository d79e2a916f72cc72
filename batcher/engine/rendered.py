"""The rows of the supply as the requests that are sent for them.

Most are made where the worker stands, in microseconds. Where that takes long (pictures), somebody else makes them off
the loop, a few at once: then the loop sends and receives meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from batcher.engine.supply import Supply
    from batcher.ports import Prepare, RequestBuilder
    from batcher.records import Problem, Request

PREPARED_AT_ONCE = 2
"""So many rows more than memory's limit may be in hand. Threads share one interpreter: with four, the loop came late by
up to 500 ms where images had 20 MB, and nothing was faster."""


class Rendered:
    """Made inside the event loop. `prepare`: None, each worker makes its own."""

    def __init__(self, supply: Supply, builder: RequestBuilder, prepare: Prepare | None) -> None:
        self._supply = supply
        self._builder = builder
        self._prepare = prepare
        self._preparing = anyio.Semaphore(PREPARED_AT_ONCE)

    async def next(self) -> Request | Problem | None:
        """The next row's request, or why it has none; None after the last. Raises what the store raises."""
        if self._prepare is None:
            row = await self._supply.next()
            return None if row is None else self._builder.build(row)
        # Held while memory is asked for room: whoever gets a row counts it before the next one may ask.
        async with self._preparing:
            row = await self._supply.next()
            return None if row is None else await self._prepare(row)
