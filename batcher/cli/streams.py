"""Standard streams that are not what they should be: closed, a pipe nobody reads any more, or not UTF-8.

A run must never stop, let alone lose a paid answer, because a terminal went away. Standard library only:
this is imported before anything else.
"""

from __future__ import annotations

import io
import os
import select
import sys

STANDARD = (0, 1, 2)


def reopen() -> None:
    """Make sure that descriptors 0 to 2 are open, and that no character can fail to be printed.

    A closed one would be given to the next file that is opened, and stray output would go into that file.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str, *, to_stderr: bool = False) -> bool:
    """Write and flush; False when nobody reads that stream any more, and from then on it swallows all
    text.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    if stream is None:
        return False
    try:
        stream.write(text)
        stream.flush()
    except OSError:  # a broken pipe, a terminal that hung up, a full disk behind `>`
        silence(to_stderr=to_stderr)
        return False
    return True


def silence(*, to_stderr: bool = False) -> None:
    """Point a stream that failed to the null device, so that the interpreter's last flush cannot fail
    either.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def has_no_reader() -> bool:
    """Whether stdout is a pipe or terminal whose other end is gone."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def flush() -> bool:
    """Flush both streams at the end; False when stdout could not take what was written."""
    if sys.stderr is not None:
        write("", to_stderr=True)
    return sys.stdout is None or write("")
