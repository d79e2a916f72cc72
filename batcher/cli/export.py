"""`batcher export`: what is done so far, or a finished output in another form."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from batcher.cli.reading import STATE, write_json, write_lines
from batcher.verbs.export import FORMS
from batcher.verbs.export import export as export_rows

if TYPE_CHECKING:
    from batcher.verbs.export import Exported, Form


@click.command()
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "to",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The new file.",
)
@click.option("--format", "form", type=click.Choice(FORMS), default="parquet", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Also rows that are not done yet, with nulls.")
@STATE
@click.option("--json", "as_json", is_flag=True, help="A JSON summary on stdout.")
def export(
    out: Path | None, *, to: Path, form: str, everything: bool, state: Path | None, as_json: bool
) -> int:
    """Write what is done so far of OUT (an output, finished or in the making) to a new file.

    The run may go on meanwhile: nothing is locked or changed, and no file is replaced. Rows stand in input order. Exit
    code 2 when there is no such run, 4 when something stands at PATH, 8 when the disk fails.
    """
    found = export_rows(out, to=to, form=cast("Form", form), everything=everything, state=state)
    if as_json:
        write_json(asdict(found))
    write_lines([_line(found)], to_stderr=True)
    return 0


def _line(found: Exported) -> str:
    of_all = f" of {found.rows_total:,}" if found.rows_total is not None else ""
    done = f"{found.rows_done:,}{of_all} rows done"
    waiting = found.rows - found.rows_done
    words = [f"  {found.path}  {done}", f"{waiting:,} waiting" if waiting else "", found.form]
    words += ["complete" if found.is_complete else "not complete", "simulated" if found.simulated else ""]
    return " · ".join(word for word in words if word)
