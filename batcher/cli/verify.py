"""`batcher verify`: an output held against its input, its job and itself. Its text is its data: it goes to stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batcher.cli.reading import STATE, write_json, write_lines
from batcher.verbs.verification import Verdict
from batcher.verbs.verify import verify as verify_output

if TYPE_CHECKING:
    from batcher.verbs.verification import Verification

_WORDS = {Verdict.FAILED: "FAILED", Verdict.CHANGED: "CHANGED"}
SHOWN_ROWS = 20


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@STATE
@click.option("--json", "as_json", is_flag=True, help="A JSON object on stdout instead of lines.")
def verify(out: Path, *, state: Path | None, as_json: bool) -> int:
    """Check OUT row by row: render every request again, compare hashes, sums, columns and checksums.

    Nothing is sent or changed. Exit code 0 when all is well, 8 when the file is damaged or does not fit its records, 4
    when the job or the input changed since, 2 when it is no output of batcher.
    """
    found = verify_output(out, state=state)
    if as_json:
        write_json(found.to_json())
    else:
        write_lines(_lines(found))
    return found.exit_code


def _lines(found: Verification) -> list[str]:
    rows = f"{found.rows:,} rows" if found.rows is not None else "unreadable"
    lines = [f"  {found.output}  {rows}"]
    lines += [
        f"    {_WORDS.get(check.verdict, check.verdict.value):<11}  {check.name:<13}  {check.said}"
        for check in found.checks
    ]
    if found.possibly_paid:
        some = ", ".join(map(str, found.possibly_paid[:SHOWN_ROWS]))
        more = ", …" if len(found.possibly_paid) > SHOWN_ROWS else ""
        lines.append(f"    possibly paid twice: row_index {some}{more}")
    return lines
