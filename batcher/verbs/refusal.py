"""Saying no, readably: what changed, what of it is bought already, and what going on would send."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from batcher.errors import Conflict
from batcher.job import diff, readable
from batcher.records import Problem
from batcher.report.wording import money
from batcher.store.footer import read_facts
from batcher.store.manifest import read
from batcher.store.part import Totals
from batcher.store.reuse import ReuseIndex
from batcher.store.run_state import replay
from batcher.verbs.estimate_rendering import rendered
from batcher.verbs.opening import standing_sources
from batcher.verbs.wiring import request_builder, settler

if TYPE_CHECKING:
    from batcher.job import Fingerprint, Job
    from batcher.verbs.decide import Place
    from batcher.verbs.intake import Intake
    from batcher.verbs.opening import Site
    from batcher.verbs.target import Target


def refuse_foreign(site: Site) -> NoReturn:
    """Something that no run here made stands at the output's name. Raises Conflict."""
    facts = read_facts(site.output)
    whose = f"another run's output (run {facts.run_id})" if facts is not None else "not an output of batcher"
    raise Conflict(
        f"{site.output} is {whose}; nothing was sent",
        hint=f"move it away, or choose another name: -o {site.output.stem}-v2{site.output.suffix}",
    )


def refuse_changed(  # noqa: PLR0917 - what stands there, and what was wanted
    job: Job, site: Site, place: Place, intake: Intake, mark: Fingerprint, target: Target
) -> NoReturn:
    """The job or its input is not the run's that stands there. Raises Conflict with difference and price."""
    lines = [f"{site.output.name} was made by a different request; nothing was sent."]
    if place.facts is not None:
        lines += readable(diff(place.facts.parts, mark.parts))
    else:
        lines.append("(its run directory is gone, so what changed is not known)")
    reusable, rows = count_reusable(job, site, place, intake, target)
    sent = rows - reusable
    price = _price_per_row(site)
    dollars = f", about {money(price * sent)}" if price is not None else ""
    lines.append(f"Reusable {reusable:,} of {rows:,}; to send {sent:,}{dollars}.")
    raise Conflict(
        "\n".join(lines),
        hint=f"go on: the same command with --replace    keep both: -o {site.output.stem}-v2{site.output.suffix}",
    )


def count_reusable(job: Job, site: Site, place: Place, intake: Intake, target: Target) -> tuple[int, int]:
    """(rows whose answer is bought already, rows wanted), by rendering every row; nothing is sent."""
    settle = settler(job, run_id="")
    rows = intake.wanted_rows(job)
    sources = standing_sources(site, place, settle=settle)
    builder = request_builder(job, intake.shape, identity=target.identity, simulated=target.simulated)
    with ReuseIndex.build(site.directory.reuse, sources) as index:
        requests = rendered(intake.source(), builder, rows=rows) if len(index) else ()
        found = sum(
            not isinstance(each, Problem) and index.take(each.request_hash) is not None for each in requests
        )
    return found, rows


def _price_per_row(site: Site) -> float | None:
    """Dollars per paid row so far; None when nothing priced was bought."""
    state = replay(read(site.directory.manifest).records)
    totals = Totals()
    if state.published is not None:
        totals = Totals.from_json(state.published.totals)
    else:
        for seal in state.sealed.values():
            totals += Totals.from_json(seal.totals)
    paid = totals.rows - totals.reused
    return totals.cost_usd / paid if totals.cost_usd and paid else None
