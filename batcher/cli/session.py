"""What verbs that send requests share: options to a session, its summary to stdout and stderr."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
import orjson

from batcher.cli import signals, streams
from batcher.errors import BatcherError, StorageError
from batcher.report import Summary, summary_lines
from batcher.report.terminal import display_for, print_lines, print_rows
from batcher.verbs.look import first_rows_of
from batcher.verbs.options import RunOptions
from batcher.verbs.session import Silence, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.cli.options import RunArguments


def run_options(arguments: RunArguments) -> RunOptions:
    """How the session works, as the command line says."""
    return RunOptions(
        replace=arguments.replace,
        fresh=arguments.fresh,
        reuse=arguments.reuse,
        yes=arguments.yes,
        simulate=arguments.simulate,
        strict=arguments.durability == "strict",
        stop_on_bad_row=arguments.on_bad_row == "stop",
        allow_failures=arguments.allow_failures,
        allow_http=arguments.allow_http,
        state=arguments.state,
        ask=_confirmed if _is_terminal(sys.stdin) and _is_terminal(sys.stderr) else None,
        display=display_for(sys.stderr, quiet=arguments.quiet) or Silence(),
    )


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _confirmed(question: str) -> bool:
    """The answer of the person at the terminal; Enter alone is no."""
    return click.confirm(question, default=False, err=True)


@contextmanager
def stops_told(arguments: RunArguments, *, verb: str) -> Iterator[None]:
    """Whatever stops the verb within the block is told as JSON where that was asked for, and raised on."""
    signals.unwind()
    try:
        yield
    except BatcherError as error:
        summary = error.summary if isinstance(error.summary, Summary) else _without_session(error, verb)
        try:
            _write_json(arguments, summary)
        except StorageError as unwritten:  # what stopped the verb matters more
            print_lines([f"  {unwritten}"])
        raise


def tell_done(arguments: RunArguments, summary: Summary) -> None:
    """What a verb did, for people and, where asked, as JSON. Raises StorageError for the file of `--summary`."""
    print_lines(summary_lines(summary, here=Path.cwd()))
    _write_json(arguments, summary)


def first_rows(summary: Summary, labels: tuple[str, ...], *, input_columns: int) -> None:
    """Show the first rows of a published output."""
    if summary.output is not None:
        rows, columns = first_rows_of(Path(summary.output), labels, input_columns=input_columns)
        print_rows(rows, columns)


def _without_session(error: BatcherError, verb: str) -> Summary:
    return Summary(
        verb=verb,
        exit_code=error.exit_code,
        exit_reason=error.exit_reason,
        next=error.next_step,
        message=str(error),
        hint=error.hint,
    )


def _write_json(arguments: RunArguments, summary: Summary) -> None:
    tell(arguments, summary.to_json())


def tell(arguments: RunArguments, content: Mapping[str, object]) -> None:
    """One JSON object, to stdout and to the file of `--summary` where those were asked for. Raises StorageError."""
    if arguments.json:
        streams.write(orjson.dumps(content).decode() + "\n")
    if arguments.summary is not None:
        write_json(arguments.summary, content)
