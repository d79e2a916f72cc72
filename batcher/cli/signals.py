"""Signals from the first line of the process on, before anything heavy is imported.

Three stages, each entered by whoever starts it; in every one a second signal ends the process at once:

1. start-up (`watch`): nothing is open yet, so the first signal ends the process with 128 + n, without a
traceback;
2. a verb at work (`unwind`): the first signal raises `Unwound`, so open files are closed and half a file is
removed;
3. a run (`hold`): signals are only noted; the run reads `pending` when its own receiver stands, so that one
which
   came in between is not lost. The third ends the process at once, as in the run itself.

Signals that are ignored when the process starts stay ignored (`nohup`, a job in the background of a script).
It must import nothing but the standard library, and little of that.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that mean "stop"; those the platform has."""


class Unwound(BaseException):
    """A signal while a verb was at work; not an Exception, so that nothing on the way up takes it for a
    failure.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class _Watch:
    """The one note of what has arrived. Module state, because signal handlers belong to the process."""

    def __init__(self) -> None:
        self.stage = "start"
        self.arrived: list[int] = []
        self.watched: tuple[signal.Signals, ...] = ()

    def receive(self, signum: int, _frame: FrameType | None) -> None:
        self.arrived.append(signum)
        if self.stage == "hold":
            if len(self.arrived) > 2:
                os._exit(128 + signum)
        elif self.stage == "unwind" and len(self.arrived) == 1:
            raise Unwound(signum)
        else:
            os._exit(128 + self.arrived[0])


_WATCH = _Watch()


def watch() -> None:
    """Take over SIGINT, SIGTERM and SIGHUP, unless they are ignored. Call it first, in the main thread."""
    names = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    _WATCH.watched = tuple(each for each in names if signal.getsignal(each) is not signal.SIG_IGN)
    _WATCH.stage, _WATCH.arrived = "start", []
    for each in _WATCH.watched:
        signal.signal(each, _WATCH.receive)


def unwind() -> None:
    """From here on the first signal raises `Unwound` in the main thread."""
    _WATCH.stage = "unwind"


def hold() -> None:
    """From here on signals are only noted, until the run's own receiver replaces the handlers."""
    _WATCH.stage = "hold"


def pending() -> tuple[int, ...]:
    """Signals that arrived and were noted, in order."""
    return tuple(_WATCH.arrived)


def watched() -> tuple[signal.Signals, ...]:
    """The signals a run should receive: those that were not ignored from outside. All of them if `watch`
    never ran.
    """
    return _WATCH.watched or tuple(getattr(signal, name) for name in ENDING if hasattr(signal, name))
