"""A process that has the program imported and forks it to order; its children meet trouble at the n-th step.

Reads one JSON order per line: ``argv``, ``out``, ``err`` (files), ``at``, ``how``; answers with ``code`` and
``steps``. A step is a call of the operating system that changes what a file system holds or how safe it is (`STEPS`).
Run as a script by `attack.Stage`; it must stay single-threaded until it forks.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import orjson

import batcher.cli.run
import batcher.verbs.run  # noqa: F401 - imported here, so that no child has to
from batcher import cli

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = (
    "fsync", "fdatasync", "rename", "replace", "link", "unlink", "mkdir", "ftruncate", "write", "posix_fallocate",
)  # fmt: skip
NEED_ROOM = frozenset({"fsync", "fdatasync", "link", "mkdir", "write", "posix_fallocate"})
KILLED = 137


class Steps:
    """Counts steps, and makes trouble at one of them."""

    def __init__(self, at: int, how: str, report: int) -> None:
        self._at, self._how, self._report = at, how, report
        self._pid = os.getpid()
        self._write = os.write
        self.made = 0

    def wrap(self, name: str) -> None:
        original: Callable[..., Any] = getattr(os, name)

        def step(*args: Any, **options: Any) -> Any:
            if os.getpid() == self._pid and not (name == "write" and args[0] in {1, 2}):
                self._meet(name)
            return original(*args, **options)

        setattr(os, name, step)

    def _meet(self, name: str) -> None:
        self.made += 1
        if not self._at or self.made < self._at:
            return
        if self._how == "crash":
            self.tell()
            os._exit(KILLED)
        if name in NEED_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def tell(self) -> None:
        self._write(self._report, b"%d" % self.made)


def play(order: dict[str, Any], report: int) -> None:
    """Be the program; never returns."""
    for number, name in ((1, "out"), (2, "err")):
        fd = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(fd, number)
        os.close(fd)
    steps = Steps(order["at"], order["how"], report)
    for name in STEPS:
        steps.wrap(name)
    sys.argv = ["batcher", *order["argv"]]
    code = 1
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        steps.tell()
        os._exit(code)


def main() -> None:
    while line := sys.stdin.buffer.readline():
        order = orjson.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            play(order, writer)
        os.close(writer)
        _, status = os.waitpid(pid, 0)
        made = int(os.read(reader, 32) or b"0")
        os.close(reader)
        answer = {"code": os.waitstatus_to_exitcode(status), "steps": made}
        os.write(1, orjson.dumps(answer) + b"\n")


if __name__ == "__main__":
    main()
