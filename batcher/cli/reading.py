"""What verbs that only look share: where shared run directories are, JSON for machines, lines for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from batcher.cli import streams
from batcher.report import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

STATE = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="BATCHER_STATE",
    show_envvar=True,
    metavar="DIR",
    help="Folder with runs in the making, instead of .batcher beside the output.",
)


def write_json(content: object) -> None:
    """One JSON value and a newline to stdout."""
    streams.write(orjson.dumps(content).decode() + "\n")


def write_lines(lines: Sequence[str], *, to_stderr: bool = False) -> None:
    """Lines for a person, control characters taken out."""
    streams.write("".join(f"{harmless(line)}\n" for line in lines), to_stderr=to_stderr)
