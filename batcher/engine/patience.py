"""What the clock alone stops a run for: nothing has succeeded for too long, or the user's deadline is over.

Both wait in their own task and say one word, `stop`; what is in flight then comes home as after a first signal. The
clock of "no success" runs from the first request: who sends nothing waits for nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.policy import FlowState, Watch


class Patience:
    """Made inside the event loop; `wait` is called once."""

    def __init__(self, *, watch: Watch, flow: FlowState, stop: Callable[[BaseException], None]) -> None:
        self._watch = watch
        self._flow = flow
        self._stop = stop
        self._first_sent = anyio.Event()
        self._scope = anyio.CancelScope()

    def sending(self) -> None:
        """A request is about to be sent."""
        if not self._first_sent.is_set():
            self._watch.start(anyio.current_time())
            self._first_sent.set()

    def end(self) -> None:
        """All rows are done, or will not be: `wait` returns."""
        self._scope.cancel()

    async def wait(self) -> None:
        """Watch the clock until `end`."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._for_success)
                if self._flow.deadline_at < math.inf:
                    tasks.start_soon(self._for_deadline)

    async def _for_success(self) -> None:
        await self._first_sent.wait()
        while (stop := self._watch.overdue(anyio.current_time())) is None:  # noqa: ASYNC110
            await anyio.sleep_until(self._watch.deadline_of_no_success(anyio.current_time()))
        self._stop(stop.error)

    async def _for_deadline(self) -> None:
        # A timer may fire a hair early, so the flow is asked whether it is time.
        while (why := self._flow.overdue(anyio.current_time())) is None:  # noqa: ASYNC110
            await anyio.sleep_until(self._flow.deadline_at)
        self._stop(why)
