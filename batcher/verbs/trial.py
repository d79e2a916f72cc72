"""`try`: buy a few rows spread over the input, look at the answers, and see what all of them would cost.

The rows are the same every time (a fixed seed), so two prompts are compared on equal rows; what a try bought is never
bought again, neither by another try nor by the run, as long as the request is the same. A try is a small run of its
own in ``tries/``, so a crash loses nothing of it either.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.dataset import check_columns
from batcher.store.chosen_rows import ChosenRows
from batcher.store.files import storage_errors
from batcher.verbs.bad_rows import refuse_bad_rows
from batcher.verbs.carrying import carry_out
from batcher.verbs.estimate import Ground
from batcher.verbs.estimate_words import reckoned_json
from batcher.verbs.limits import refuse_without_bound
from batcher.verbs.opening import (
    Site,
    standing_sources,
)
from batcher.verbs.round import Round
from batcher.verbs.taking_up import taken_up
from batcher.verbs.trial_outlook import Outlook, outlook, with_outlook
from batcher.verbs.wiring import output_schema, request_builder, settler

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job
    from batcher.report import Summary
    from batcher.store.directory import RunDirectory
    from batcher.verbs.options import RunOptions

ROWS = 50
MOST_ROWS = 10_000
SEED = 20_260_101
"""Any fixed number; it must never change, or the rows of a second try are not those of the first."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a try did.

    Attributes:
        summary: of the tried rows.
        part: the Parquet file with them.
        rows_of_all: rows the full run would have.
        row_indices: positions of the tried rows in the input, ascending.
        outlook: what all rows come to.
        earlier: the part of the try before it, or None.
    """

    summary: Summary
    part: Path
    rows_of_all: int
    row_indices: tuple[int, ...]
    outlook: Outlook
    earlier: Path | None = None

    @property
    def full_cost_usd(self) -> float | None:
        """What all rows come to, those that are bought already included; None when no price is known."""
        return None if self.outlook.whole.usd is None else self.outlook.whole.usd.likely


def chosen(rows: int, count: int) -> tuple[int, ...]:
    """The positions to try: `count` of `rows`, spread by the fixed seed, ascending; all when there are no more."""
    if count >= rows:
        return tuple(range(rows))
    return tuple(sorted(random.Random(SEED).sample(range(rows), count)))  # noqa: S311 - a sample, not a secret


def try_rows(job: Job, options: RunOptions, *, count: int = ROWS) -> Trial:
    """Buy the answers of a few rows.

    Raises:
        BatcherError: what stopped it; what was bought is kept and taken over.
    """
    with taken_up(job, options) as taken:
        site, intake, target = taken.site, taken.intake, taken.target
        builder = request_builder(job, intake.shape, identity=target.identity, simulated=target.simulated)
        check_columns(intake.scan, builder.columns)
        output_schema(job, intake.shape)
        refuse_without_bound(job, intake.shape.format)
        wanted = intake.wanted_rows(job)
        row_indices = chosen(wanted, min(count, MOST_ROWS))
        source = ChosenRows(intake.source(), row_indices)
        if options.stop_on_bad_row:
            refuse_bad_rows(source, builder, rows=len(row_indices))
        number = _next_number(site.directory)
        directory, part = site.directory.try_directory(number), site.directory.try_part(number)
        sources = standing_sources(site, taken.place, settle=settler(job, run_id=""))
        facts = taken.new_facts(part)
        directory.make()
        facts.write(directory.run_json)
        summary = carry_out(
            Round(
                job=job,
                site=Site(part, site.state, directory),
                facts=facts,
                source=source,
                shape=intake.shape,
                rows=len(row_indices),
                target=target,
                options=options,
                lock=taken.lock,
                verb="try",
                row_indices=row_indices,
                sources=sources,
            )
        )
        with storage_errors("tidying a finished try", directory.path):
            shutil.rmtree(directory.path)
        told = replace(summary, tried_for=str(site.output), try_number=number)
        ground = Ground(job, options, site, taken.place, intake, builder)
        found = outlook(ground, source, part, told)
        told = with_outlook(told, found, reckoned_json(found.whole))
        return Trial(told, part, wanted, row_indices, found, _part_before(site.directory, number))


def _part_before(directory: RunDirectory, number: int) -> Path | None:
    """What the last finished try before that one bought."""
    earlier = (directory.try_part(each) for each in range(number - 1, 0, -1))
    return next((path for path in earlier if path.exists()), None)


def _next_number(directory: RunDirectory) -> int:
    numbers = [int(path.stem) for path in directory.tries.glob("*") if path.stem.isdecimal()]
    return max(numbers, default=0) + 1
