"""Requests made off the loop: a few at once, and memory is bounded while they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import anyio
import pytest
import trio.testing

from batcher.engine.rendered import PREPARED_AT_ONCE, Rendered
from batcher.engine.supply import Supply
from batcher.policy.memory import Memory
from batcher.records import InputRow, Problem, Request

if TYPE_CHECKING:
    from batcher.ports import RequestBuilder, Store

ROWS, WORKERS, BODY, LIMIT = 60, 16, 100, 400


class Rows:
    """A store that gives all its rows at once."""

    def __init__(self) -> None:
        self._rows: list[InputRow] | None = [InputRow(index, {}) for index in range(ROWS)]

    async def next_rows(self) -> list[InputRow] | None:
        rows, self._rows = self._rows, None
        return rows


class Seen:
    """How many rows were being made, and how many bytes were in hand, at the most."""

    def __init__(self) -> None:
        self.making = self.most_making = self.bytes = self.most_bytes = 0
        self.done: list[int] = []


async def _all_rows(seen: Seen) -> None:
    supply = Supply(cast("Store", Rows()), Memory(LIMIT))

    async def prepare(row: InputRow) -> Request | Problem:
        seen.making += 1
        seen.most_making = max(seen.most_making, seen.making)
        await anyio.sleep(1 + row.row_index % 3)
        seen.making -= 1
        return Request(row.row_index, b"x" * BODY, f"{row.row_index:032x}", "m")

    rendered = Rendered(supply, cast("RequestBuilder", None), prepare)

    async def work() -> None:
        while (request := await rendered.next()) is not None:
            assert isinstance(request, Request)
            supply.begun(request)
            seen.bytes += BODY
            seen.most_bytes = max(seen.most_bytes, seen.bytes)
            await anyio.sleep(30)
            seen.bytes -= BODY
            supply.ended(request)
            seen.done.append(request.row_index)

    async with anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(work)


def test_a_few_are_made_at_once_and_memory_is_exceeded_by_no_more_than_those() -> None:
    seen = Seen()
    trio.run(_all_rows, seen, clock=trio.testing.MockClock(autojump_threshold=0))
    assert sorted(seen.done) == list(range(ROWS))
    assert seen.most_making == PREPARED_AT_ONCE
    assert LIMIT < seen.most_bytes < LIMIT + PREPARED_AT_ONCE * BODY


@pytest.mark.parametrize("row", [0, 7])
def test_rows_that_cannot_be_sent_come_as_they_are(row: int) -> None:
    class One(Rows):
        async def next_rows(self) -> list[InputRow] | None:
            rows = await super().next_rows()
            return rows and rows[row : row + 1]

    async def prepare(row: InputRow) -> Request | Problem:
        return Problem(row.row_index, "invalid_image", "is cut off")

    async def main() -> tuple[object, object]:
        rendered = Rendered(Supply(cast("Store", One()), Memory(1)), cast("RequestBuilder", None), prepare)
        return await rendered.next(), await rendered.next()

    assert anyio.run(main, backend="trio") == (Problem(row, "invalid_image", "is cut off"), None)
