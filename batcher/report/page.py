"""One HTML page of findings: self-contained, no script, light and dark, printable.

The page loads nothing and runs nothing (its Content-Security-Policy says so as well). Every text goes through one door,
`_shown`, which takes control characters out, and is escaped after it; only the plots, which are built as trees, are
markup.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from batcher.report import pictures
from batcher.report.figures import DASH, amount, clock, compact, milliseconds, percent
from batcher.report.side_by_side import compared
from batcher.report.verdict import class_words, tone, verdict
from batcher.report.wording import duration, harmless, money

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.report.comparison import Comparison
    from batcher.report.findings import Example, Findings
    from batcher.report.plots import Plot

GENERATOR: Final = "batcher report"
"""Named in the page's head; a file that names it may be replaced by a newer report."""


class Tile(NamedTuple):
    """One figure at the top."""

    name: str
    figure: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The plots of a page; None where there is nothing to draw."""

    outcomes: Plot | None
    throughput: Plot | None
    window: Plot | None
    latency: Plot | None
    latency_over_time: Plot | None
    ttft: Plot | None
    prompt: Plot | None
    completion: Plot | None
    tokens: Plot | None
    cost: Plot | None
    labels: Mapping[str, Plot]

    @classmethod
    def of(cls, found: Findings) -> Pictures:
        spread = pictures.spread
        return cls(
            outcomes=pictures.outcomes(found),
            throughput=pictures.throughput(found),
            window=pictures.window(found),
            latency=spread("latency", "Latency per row", found.latency, "c0"),
            latency_over_time=pictures.latency_over_time(found),
            ttft=spread("ttft", "Time to first token", found.ttft, "c0"),
            prompt=spread("prompt", "Tokens in, per row", found.tokens.prompt_spread, "c0", is_half=True),
            completion=spread(
                "completion", "Tokens out, per row", found.tokens.completion_spread, "c2", is_half=True
            ),
            tokens=pictures.tokens(found),
            cost=pictures.cost(found),
            labels=_label_plots(found),
        )


def _label_plots(found: Findings) -> dict[str, Plot]:
    """A histogram for each label that is a number of many values."""
    plots = {
        each.name: pictures.spread(f"label-{place}", each.name, each.spread, "c0", is_half=True)
        for place, each in enumerate(found.labels)
    }
    return {name: plot for name, plot in plots.items() if plot is not None}


def report_page(found: Findings, *, now: float) -> str:
    """The page of one output; `now` in seconds since the epoch."""
    return _rendered(
        "report.html",
        title=f"{found.output} · report",
        found=found,
        verdict=verdict(found),
        tone=tone(found),
        tiles=tiles(found),
        plots=Pictures.of(found),
        made_at=now,
    )


def comparison_page(found: Comparison, *, now: float) -> str:
    """The page of two outputs side by side."""
    return _rendered(
        "comparison.html",
        title=f"{found.left.output} and {found.right.output} · report",
        found=found,
        figures=compared(found),
        sides=[(side, verdict(side), tone(side)) for side in (found.left, found.right)],
        made_at=now,
    )


def _rendered(template: str, **values: object) -> str:
    return _environment().get_template(template).render(generator=GENERATOR, **values)


def tiles(found: Findings) -> list[Tile]:
    """The figures that a person looks for first."""
    done = found.ok + found.not_ok
    shown = [Tile("ok", percent(found.ok, done), f"{found.ok:,} of {done:,} rows")]
    shown.append(_cost_tile(found))
    if found.rows_per_s is not None and found.working_s is not None:
        shown.append(Tile("rows per second", compact(found.rows_per_s), duration(found.working_s)))
    billed = found.tokens.billed_prompt + found.tokens.billed_completion
    if billed:
        parts = f"{compact(found.tokens.billed_prompt)} in, {compact(found.tokens.billed_completion)} out"
        shown.append(Tile("tokens billed", compact(billed), parts))
    if found.latency is not None:
        p99 = milliseconds(found.latency.p99)
        shown.append(Tile("median latency", milliseconds(found.latency.p50), f"99% within {p99}"))
    return shown


def _cost_tile(found: Findings) -> Tile:
    if found.cost.usd is None:
        return Tile("cost", "unknown", "no price is known")
    per = found.usd_per_1000_ok
    return Tile("cost", money(found.cost.usd), f"{money(per)} per 1,000 ok" if per else "")


def _shown(value: object) -> object:
    """What is about to be printed: texts without control characters (line breaks stay), None as a dash."""
    if value is None:
        return DASH
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return "\n".join(harmless(line) for line in value.split("\n"))
    return value


def _alike(examples: Sequence[Example]) -> list[tuple[Example, ...]]:
    """Rows that say the same, together, so that one message is not printed three times."""
    groups: dict[tuple[str | None, str | None], list[Example]] = {}
    for each in examples:
        groups.setdefault((each.message, each.answer), []).append(each)
    return [tuple(group) for group in groups.values()]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("batcher.report", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "count": lambda number: f"{number:,}",
        "money": lambda usd: "unknown" if usd is None else money(usd),
        "ms": milliseconds,
        "clock": clock,
        "duration": duration,
        "amount": amount,
        "compact": compact,
        "reason": class_words,
        "alike": _alike,
        "iso": lambda ts: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ts)),
    }
    environment.filters.update(filters)
    environment.globals["percent"] = percent
    return environment
