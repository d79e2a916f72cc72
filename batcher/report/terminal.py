"""The only place that draws: a live line on a terminal, a line every 30 s in a log, the summary, a few rows.

Everything human goes to stderr. A terminal that went away ends nothing: drawing simply stops.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from batcher.report.progress import log_line, terminal_line
from batcher.report.wording import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.report.progress import Standing

LOG_EVERY_S = 30.0
CELL_CHARS = 60


class TerminalDisplay:
    """One line that is drawn anew (implements `batcher.verbs.session.Display`)."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._live: Live | None = None

    def begin(self, rows_total: int) -> None:  # noqa: ARG002 - every standing tells it
        self._live = Live(
            Text(""),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # a start that fails half-way would leave the process's streams replaced
            redirect_stderr=False,
        )
        self._quietly(self._live.start)

    def show(self, standing: Standing) -> None:
        if self._live is not None:
            line = Text(terminal_line(standing), no_wrap=True, overflow="ellipsis")
            self._live.update(line)
            self._quietly(self._live.refresh)

    def say(self, line: str) -> None:
        self._quietly(lambda: self._console.print(Text(harmless(line))))

    def end(self) -> None:
        if self._live is not None:
            self._quietly(self._live.stop)
            self._live = None

    def _quietly(self, draw: Callable[[], object]) -> None:
        try:
            draw()
        except (OSError, ValueError):  # a terminal that hung up; a stream that was closed
            self._live = None


class LogDisplay:
    """One ``key=value`` line every 30 s, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = time.monotonic() + LOG_EVERY_S

    def begin(self, rows_total: int) -> None: ...

    def show(self, standing: Standing) -> None:
        now = time.monotonic()
        if now >= self._next:
            # A machine that slept for an hour has missed 120 lines; it says one.
            self._next += LOG_EVERY_S * (1 + (now - self._next) // LOG_EVERY_S)
            self.say("  " + log_line(standing, now=time.time()))

    def say(self, line: str) -> None:
        try:
            self._stream.write(f"{harmless(line)}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._next = float("inf")

    def end(self) -> None: ...


def display_for(stream: TextIO | None, *, quiet: bool) -> TerminalDisplay | LogDisplay | None:
    """What fits the stream; None where nothing should be shown."""
    if quiet or stream is None or stream.closed:
        return None
    return TerminalDisplay(stream) if stream.isatty() else LogDisplay(stream)


def print_lines(lines: Sequence[str], stream: TextIO | None = None) -> None:
    """Write lines to stderr, harmless; a stream that is gone swallows them."""
    target = stream if stream is not None else sys.stderr
    try:
        for line in lines:
            target.write(f"{harmless(line)}\n")
        target.flush()
    except (OSError, ValueError, AttributeError):
        return


def print_rows(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], stream: TextIO | None = None
) -> None:
    """A few rows as a table, long texts shortened."""
    target = stream if stream is not None else sys.stderr
    if not rows or target is None:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for column in columns:
        table.add_column(Text(harmless(column)), overflow="ellipsis", no_wrap=True, max_width=CELL_CHARS)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    console = Console(file=target, highlight=False, width=None if target.isatty() else 118)
    try:
        console.print()
        console.print(table)
    except (OSError, ValueError):
        return


def _cell(value: object) -> str:
    text = "" if value is None else harmless(str(value))
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"
