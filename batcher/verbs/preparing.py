"""Requests made in threads: reading a picture and writing it as base64 would hold up every other row."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

if TYPE_CHECKING:
    from batcher.ports import Prepare, RequestBuilder
    from batcher.records import InputRow, Problem, Request


def off_the_loop(builder: RequestBuilder) -> Prepare:
    """The builder's `build`, each call in a thread; how many at once is for the caller to bound.

    A cancelled call leaves its thread alone: it reads, and may wait for a file on a share that does not answer.
    """

    async def prepare(row: InputRow) -> Request | Problem:
        return await anyio.to_thread.run_sync(partial(builder.build, row), abandon_on_cancel=True)

    return prepare
