"""`batcher cost`: what was spent. Its text is its data, so it goes to stdout."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batcher.cli.reading import STATE, write_json, write_lines
from batcher.report.bill_words import bill_lines
from batcher.verbs.cost import DEFAULT_BY, CostWish, refuse_if_over
from batcher.verbs.cost import cost as cost_of


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path))
@click.option(
    "--by",
    default=",".join(DEFAULT_BY),
    show_default=True,
    metavar="NAMES",
    help="Split by request_model, response_model, outcome, day, month, run_id, kind, or any column, such as tag_team.",
)
@click.option("--month", metavar="YYYY-MM", help="Only this month (UTC).")
@click.option(
    "--map", "named", metavar="MEANING=COLUMN,…", help="Columns of files that name them differently."
)
@click.option(
    "--prices",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML with [prices], such as a job file: wins over the built-in list.",
)
@click.option("--what-if", metavar="MODEL", help="Other prices: a model, batch, or a share such as 50%.")
@click.option("--forecast", is_flag=True, help="The month at its end, linear from the days so far.")
@click.option(
    "--max", "max_usd", type=click.FloatRange(min=0), metavar="USD", help="Exit 6 if more was spent."
)
@STATE
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def cost(
    paths: tuple[Path, ...],
    *,
    by: str,
    month: str | None,
    named: str | None,
    prices: Path | None,
    what_if: str | None,
    forecast: bool,
    max_usd: float | None,
    state: Path | None,
    as_json: bool,
) -> int:
    """Add up what was spent: outputs (ours or not), folders of them, ledgers.

    Tokens and dollars come from usage columns, and from the ledger for what no file shows: trials, stopped runs, lost
    attempts. A run counts once, however many files and ledgers tell of it. Exit code 2 when nothing is found, 6 when
    more was spent than --max.
    """
    wish = CostWish(
        by=tuple(name.strip() for name in by.split(",") if name.strip()) or DEFAULT_BY,
        month=month,
        named=named,
        prices=prices,
        what_if=what_if,
        forecast=forecast,
        max_usd=max_usd,
        state=state,
    )
    bill = cost_of(paths, wish, now=time.time())
    if as_json:
        write_json(bill.to_json())
    else:
        write_lines(bill_lines(bill))
    refuse_if_over(bill)
    return 0
