"""`batcher report`: what came of a run, or of two side by side. Its text is its data, so it goes to stdout."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batcher.cli import streams
from batcher.cli.reading import STATE, write_json, write_lines
from batcher.report.brief import WIDTH, comparison_text, report_text
from batcher.report.findings import Findings
from batcher.verbs.report import default_page, findings_of, write_page
from batcher.verbs.report_comparison import comparison_of

if TYPE_CHECKING:
    from batcher.report.comparison import Comparison

BESIDE = "beside OUT"
"""What `--html` without a path stands for."""


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option(
    "--html",
    is_flag=False,
    flag_value=BESIDE,
    metavar="[PATH]",
    help="Write one self-contained page instead; without PATH to OUT.report.html, beside OUT.",
)
@STATE
@click.option("--json", "as_json", is_flag=True, help="A JSON object on stdout instead of text.")
def report(out: Path, other: Path | None, *, html: str | None, state: Path | None, as_json: bool) -> int:
    """Tell what came of OUT: outcomes, errors, speed, tokens, cost, labels; with OTHER, how the two differ.

    OUT is a published output, or an export of a run that is not finished. Nothing is changed. Exit code 2 when there is
    no such output, 4 when something that is no report stands at PATH, 8 when a file is damaged.
    """
    if html is not None and html.endswith(".parquet"):
        raise click.UsageError(f"--html would write a page to {html}; name the page after it, or nothing")
    found: Findings | Comparison
    found = findings_of(out, state=state) if other is None else comparison_of(out, other, state=state)
    if html is not None:
        path = default_page(out, other) if html == BESIDE else Path(html)
        write_page(found, path)
        write_lines([f"  {path}  {path.stat().st_size / 1000:,.0f} kB, opens offline"], to_stderr=True)
    if as_json:
        write_json(found.to_json())
    elif html is None:
        streams.write(_text(found))
    return 0


def _text(found: Findings | Comparison) -> str:
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((WIDTH, 24)).columns if is_terminal else WIDTH
    colour = is_terminal and not os.environ.get("NO_COLOR")
    if isinstance(found, Findings):
        return report_text(found, width=width, colour=colour)
    return comparison_text(found, width=width, colour=colour)
