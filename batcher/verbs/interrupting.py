"""Signals while a session is outside its event loop, or not yet inside: opening, publishing, writing down.

Rules:
    1. The first signal is noted; `Interrupted` is raised at the next place that asks (`check`), never from the handler:
       libraries written in C turn an exception that comes out of nowhere into another one, or swallow it.
    2. The second ends the process at once.
    3. While the event loop is starting or ending (`Relay`) signals are kept, given to the session when it can hear, and
       raised when the loop is gone.
    4. A signal that is ignored from outside (`nohup`) stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batcher.errors import Interrupted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HINT = "the same command goes on"


def obeyed() -> tuple[signal.Signals, ...]:
    """The signals that stop a run: those that are not ignored. None outside the main thread, which has none."""
    if threading.current_thread() is not threading.main_thread():
        return ()
    return tuple(each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN)


@contextmanager
def _received(receive: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """`receive` gets the signals within the block; afterwards whoever had them before."""
    before = {each: signal.getsignal(each) for each in obeyed()}
    for each in before:
        signal.signal(each, receive)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Rules 1 and 2, within the block; gives `check`, which raises Interrupted when a signal has come."""
    arrived: list[int] = []

    def receive(signum: int, _frame: FrameType | None) -> None:
        arrived.append(signum)
        if len(arrived) > 1:
            os._exit(128 + signum)

    def check() -> None:
        if arrived:
            raise Interrupted(arrived[0], hint=HINT)

    with _received(receive):
        yield check


class Relay:
    """Rule 3: `held` around the event loop, `attach` inside of it."""

    def __init__(self) -> None:
        self._arrived: list[int] = []
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hear: Callable[[int], None] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep signals within the block. Raises Interrupted at its end for one that nobody heard."""
        with _received(self._receive):
            yield
            self._loop = None
        if self._arrived:
            raise Interrupted(self._arrived[0], hint=HINT)

    def attach(self, loop: asyncio.AbstractEventLoop, hear: Callable[[int], None]) -> None:
        """From here on `hear` is told, in the loop; first of what came before."""
        self._loop, self._hear = loop, hear
        self._deliver()

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:
            os._exit(128 + signum)
        self._arrived.append(signum)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._arrived and self._hear is not None:
            self._hear(self._arrived.pop(0))
