"""`estimate`: what a job will come to, before a cent is spent. Sends nothing, takes no lock, changes nothing.

Job and data are checked in full, every row is rendered as the run would render it, and its hash is looked up where
the run would look. Only the index for that look-up is a copy of its own, in a temporary folder: a run at work keeps
using the one in its directory.
"""

from __future__ import annotations

import random
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batcher.dataset import check_columns
from batcher.endpoint.address import key_variable, parse_address
from batcher.endpoint.key import read_key
from batcher.errors import AccountError, StorageError
from batcher.store.directory import RunDirectory, run_directory, state_folder
from batcher.store.reuse import ReuseIndex, parquet_answers
from batcher.verbs.answering import schema_warnings
from batcher.verbs.carrying import reuse_files
from batcher.verbs.decide import Step, Wish, decide
from batcher.verbs.estimate_from import usage_of
from batcher.verbs.estimate_reckoning import Known, Reckoned, reckon
from batcher.verbs.estimate_rows import Scale
from batcher.verbs.intake import take_in
from batcher.verbs.limits import refuse_without_bound
from batcher.verbs.opening import Site, answer_sources, look, standing_sources
from batcher.verbs.wiring import (
    SIMULATED_IDENTITY,
    job_mark,
    output_schema,
    price_book,
    published_path,
    request_builder,
    settler,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.job import Job
    from batcher.ports import RequestBuilder
    from batcher.store.reuse import AnswerSource
    from batcher.store.run_facts import RunFacts
    from batcher.verbs.decide import Place
    from batcher.verbs.estimate_rows import Weighed
    from batcher.verbs.intake import Intake
    from batcher.verbs.options import RunOptions

_SEED: Final = 20_260_104
_TIMES: Final = 3
"""Looks at a run directory whose files may move under the reader's hands."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What an estimate stands on."""

    job: Job
    options: RunOptions
    site: Site
    place: Place
    intake: Intake
    builder: RequestBuilder

    @property
    def rows(self) -> int:
        return self.intake.wanted_rows(self.job)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What `estimate` found.

    Attributes:
        step: what `run` would do at the output's place.
        weighed: the rows.
        reckoned: what those left to send come to.
        notes: sentences for a person.
    """

    output: Path
    simulated: bool
    model: str | None
    step: Step
    weighed: Weighed
    reckoned: Reckoned
    notes: tuple[str, ...] = ()


def estimate(job: Job, options: RunOptions, *, earlier: Path | None = None, show: int = 0) -> Estimate:
    """Check a job and its data, and say what the rest of it will cost.

    Args:
        job: of the run.
        options: as the run would be given.
        earlier: an output whose usage columns tell how long answers are.
        show: bodies of so many first requests are kept.

    Raises:
        BatcherError: job or data are not usable, as `run` would say it.
    """
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batcher-")))
        identity, notes = _identity(job, options)
        site = _site(job, options)
        place = look(site)
        intake = take_in(job, options, _reading(job, site, temporary), known=_known(job, place))
        builder = request_builder(job, intake.shape, identity=identity, simulated=options.simulate)
        check_columns(intake.scan, builder.columns)
        output_schema(job, intake.shape)
        refuse_without_bound(job, intake.shape.format)
        ground = Ground(job, options, site, place, intake, builder)
        mark = job_mark(job, intake.scan, identity=identity, simulated=options.simulate)
        wish = Wish(mark.digest, ground.rows, replace=options.replace, fresh=options.fresh)
        step = decide(place, wish).step
        weighed = weigh(ground, show=show)
        if step is Step.FINISHED:
            weighed.loads.clear()
        known = _usage(ground, weighed, earlier)
        reckoned = reckon(job, weighed, known, price_book(job))
        notes += [*schema_warnings(job), *_step_notes(step, site)]
        return Estimate(
            site.output, options.simulate, job.request.model, step, weighed, reckoned, tuple(notes)
        )


def weigh(ground: Ground, *, show: int = 0, most_rows: int | None = None, is_whole: bool = False) -> Weighed:
    """Render the rows of a job.

    Args:
        ground: the job, and what it meets.
        show: bodies to keep.
        most_rows: render about so many, evenly spread; None: all.
        is_whole: as if no row were answered.
    """
    with tempfile.TemporaryDirectory(prefix="batcher-") as name:
        folder = Path(name)
        spill = folder / "hashes"
        spill.mkdir()
        with _index(ground, folder / "reuse", is_whole=is_whole) as index:
            scale = Scale(
                ground.builder,
                index,
                spill,
                random.Random(_SEED),  # noqa: S311 - a sample, not a secret
                dedupe=ground.job.request.dedupe,
                show=show,
                most_rows=most_rows,
            )
            return scale.weigh(ground.intake.source(), rows=ground.rows)


@contextmanager
def _index(ground: Ground, folder: Path, *, is_whole: bool) -> Iterator[ReuseIndex | None]:
    if is_whole or ground.options.fresh:
        yield None
        return
    with _built(ground, folder) as index:
        yield index if len(index) else None


def _built(ground: Ground, folder: Path, *, times: int = 1) -> ReuseIndex:
    try:
        return ReuseIndex.build(folder, _sources(ground))
    except StorageError:  # a run at work sealed a shard meanwhile, and its journal is gone
        if times == _TIMES:
            raise
        return _built(ground, folder, times=times + 1)


def _sources(ground: Ground) -> list[AnswerSource]:
    """What the run would take answers over from."""
    settle = settler(ground.job, run_id="")
    extra = reuse_files(ground.options.reuse, besides=ground.site.output)
    facts = ground.place.facts
    if facts is not None:
        named = answer_sources(ground.site.directory, facts, extra=extra, settle=settle)
    else:
        named = [parquet_answers(path) for path in extra if path.is_file()]
    return [*standing_sources(ground.site, ground.place, settle=settle), *named]


def _usage(ground: Ground, weighed: Weighed, earlier: Path | None) -> Known:
    if earlier is None:
        return Known(weighed.sample, told=f"the usage of {weighed.answered:,} answered rows")
    found = usage_of(earlier, ground.builder, ground.intake.scan.schema)
    told = f"the usage of {len(found.sample):,} rows of {earlier.name}"
    if not found.same:
        told += ", whose requests are others"
    return Known(found.sample, told=told, rows_per_s=found.rows_per_s)


def _identity(job: Job, options: RunOptions) -> tuple[str, list[str]]:
    """(the endpoint in hashes, what a run would miss). A key is not needed to send nothing."""
    if options.simulate:
        return SIMULATED_IDENTITY, []
    address = parse_address(job.endpoint.base_url, allow_http=options.allow_http)
    variable = key_variable(address, job.endpoint.api_key_env)
    notes = []
    if variable is not None:
        try:
            read_key(options.environ, variable)
        except AccountError as err:
            notes.append(f"run needs a key: {err}")
    return address.identity, notes


def _site(job: Job, options: RunOptions) -> Site:
    """The output's place; nothing is made there."""
    output = published_path(job.output_path, simulated=options.simulate)
    return Site(output, state_folder(output, options.state), run_directory(output, options.state))


def _reading(job: Job, site: Site, temporary: Path) -> Site:
    """Where standard input is copied to: not into the run's own directory."""
    return replace(site, directory=RunDirectory(temporary)) if job.input.path == "-" else site


def _known(job: Job, place: Place) -> RunFacts | None:
    return None if job.input.path == "-" else place.facts


def _step_notes(step: Step, site: Site) -> list[str]:
    told = {
        Step.FINISHED: f"{site.output.name} is finished: run sends nothing",
        Step.REFUSE_CHANGED: f"{site.output.name} was made by a different request: run wants --replace, or another -o",
        Step.REFUSE_FOREIGN: f"something else stands at {site.output.name}: run would refuse",
    }
    return [told[step]] if step in told else []
