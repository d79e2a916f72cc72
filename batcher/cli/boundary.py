"""The one place where exceptions end: what a person reads, and the exit code a scheduler branches on.

    a failure of the run (BatcherError)   its message, `(exit N)`, what to type next     its own code
    wrong usage (click)                   as click writes it                             2
    a signal                              one line                                       128 + n
    a reader of stdout that left          nothing                                        141, as a shell
    says SIGPIPE anything else                         "this is a bug", and the traceback             1

Text of models and servers may stand in messages, so control characters are stripped here, whoever raised.
"""

from __future__ import annotations

import shutil
import sys
import traceback
from typing import TYPE_CHECKING

import click

from batcher.cli import signals, streams
from batcher.errors import BatcherError, Interrupted
from batcher.report.summary import Summary
from batcher.report.wording import stop_line

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_PIPE = 141
WIDTH = 112
"""Columns of a stop's first line on a terminal that is wide enough."""


def exit_code_of(verb: Callable[[], object]) -> int:
    """Call, and turn however it ends into an exit code; a verb returns its code, or None for 0."""
    code = _outcome(verb)
    return code if streams.flush() or code not in (0, None) else EXIT_PIPE


def _outcome(verb: Callable[[], object]) -> int:  # noqa: PLR0911 - one return for each way to end
    try:
        return _as_code(verb())
    except BatcherError as err:
        tell(err)
        return err.exit_code
    except signals.Unwound as err:
        tell(Interrupted(err.signum))
        return 128 + err.signum
    except click.exceptions.Exit as err:
        return err.exit_code
    except click.ClickException as err:
        streams.write(usage_text(err), to_stderr=True)
        return EXIT_USAGE
    except click.Abort:
        streams.write("\n  Not answered; nothing was done. --yes skips the question.\n", to_stderr=True)
        return EXIT_USAGE
    except SystemExit as err:
        return _as_code(err.code)
    except Exception:  # noqa: BLE001 - the boundary: a bug is told in full, never swallowed
        if signals.pending():  # `Unwound`, which a library written in C made another exception of
            tell(Interrupted(signals.pending()[0]))
            return 128 + signals.pending()[0]
        tell_bug()
        return EXIT_BUG


def tell(error: BatcherError) -> None:
    """Write a failure to stderr in the form of every stop: message, exit code, what was done, what to type next."""
    streams.write(stop_text(error, width=shutil.get_terminal_size((WIDTH, 24)).columns), to_stderr=True)


def stop_text(error: BatcherError, *, width: int) -> str:
    """A stop as lines: the first ends in `(exit N)`, at the right edge where there is room."""
    first, *rest = printable(str(error)).splitlines() or [""]
    code = f"(exit {error.exit_code})"
    room = min(width, WIDTH) - len(code)
    lines = [f"{f'  {first}  ':<{room}}{code}", *(f"    {line}" for line in rest)]
    told = stop_line(error.summary) if isinstance(error.summary, Summary) else None
    lines += [f"    {told}"] if told is not None else []
    if error.hint:
        lines += [f"    {line}" for line in printable(error.hint).splitlines()]
    return "".join(f"{line}\n" for line in lines)


def tell_bug() -> None:
    """Write the traceback of what is being handled, and what to do with it."""
    name = type(sys.exc_info()[1]).__name__
    streams.write(printable(traceback.format_exc()), to_stderr=True)
    streams.write(
        f"\n  This is a bug in batcher ({name}); please report the lines above.  (exit {EXIT_BUG})\n"
        "    Answers that were paid for are in the run's journal, and the same command goes on from there.\n",
        to_stderr=True,
    )


def usage_text(error: click.ClickException) -> str:
    """A usage error as click writes it: usage line, help hint, what is wrong."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return f"{error.format_message()}\n"
    context = error.ctx if isinstance(error, click.UsageError) else None
    lines = (
        [] if context is None else [context.get_usage(), f"Try '{context.command_path} --help' for help.", ""]
    )
    return printable("\n".join([*lines, f"Error: {error.format_message()}", ""]))


def printable(text: str) -> str:
    """The text without control characters, which could rewrite what stands on a terminal; line breaks
    stay.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def _as_code(value: object) -> int:
    """What a verb returned, or was given to `sys.exit`, as an exit code."""
    if isinstance(value, int):
        return int(value)
    if value is None:
        return 0
    if isinstance(value, str):
        streams.write(f"{printable(value)}\n", to_stderr=True)
        return EXIT_BUG
    raise TypeError(f"a verb returned {value!r}, which is no exit code")
