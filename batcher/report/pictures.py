"""Which plots a report has, and what each says: findings in, plots out. Pure.

A plot that would show nothing (no times, one row, no price) is None, and the page says why instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from batcher.report.figures import DASH, clock, compact, milliseconds, percent
from batcher.report.plots import (
    About,
    Grid,
    Plot,
    Points,
    Series,
    areas,
    histogram,
    lines,
    said_distribution,
    shares,
)
from batcher.report.timeline import UNNAMED, Counts
from batcher.report.wording import OUTCOMES, money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.report.findings import Distribution, Findings
    from batcher.report.timeline import Slice, Timeline

_T = TypeVar("_T")
MOST_POINTS: Final = 400
MOST_NUMBERS: Final = 40
"""Rows of the table behind a plot over time; finer slices are added up."""
SHOWN_MODELS: Final = 5
LEAST_ROWS: Final = 5
"""A distribution of fewer values is told in words."""


def outcomes(found: Findings) -> Plot | None:
    """Rows by outcome; None without rows."""
    if not found.rows:
        return None
    parts = [Series(name, name, (found.outcomes.get(name, 0),)) for name in OUTCOMES]
    parts.append(Series("not done yet", "waiting", (found.waiting,)))
    there = [part for part in parts if part.values[0]]
    said = ", ".join(f"{part.name} {part.values[0]:,}" for part in there)
    rows = tuple((part.name, f"{part.values[0]:,}", percent(part.values[0], found.rows)) for part in there)
    about = About("outcomes", "Rows by outcome", f"{said}.", "rows")
    return shares(about, there, Grid(("outcome", "rows", "share"), rows))


def throughput(found: Findings) -> Plot | None:
    """Rows per second over time; None when no row has a time, or all came in at once."""
    timeline = _drawable(found.timeline)
    if timeline is None:
        return None
    ok = [_rate(each.all.ok, each) for each in timeline.slices]
    rest = [_rate(each.all.not_ok, each) for each in timeline.slices]
    highest = max(map(sum, zip(ok, rest, strict=True)))
    mean = timeline.rows / timeline.at_work_s
    said = f"{compact(mean)} rows per second on average, {compact(highest)} at the most."
    numbers = Grid(
        ("from, UTC", "ok", "not ok", "rows/s"),
        tuple(
            (clock(start), f"{total.ok:,}", f"{total.not_ok:,}", compact((total.ok + total.not_ok) / span))
            for start, span, total in _thinned(timeline)
        ),
    )
    series = [Series("ok", "ok", ok), Series("not ok", "failed", rest)]
    about = About("throughput", "Throughput", said, "rows per second")
    return areas(about, timeline, series, numbers)


def _rate(rows: int, piece: Slice) -> float:
    return rows / piece.at_work_s if piece.at_work_s > 0 else 0.0


def _drawable(timeline: Timeline | None) -> Timeline | None:
    """The timeline, unless it has too little to draw."""
    if timeline is None or timeline.rows < LEAST_ROWS or len(timeline.slices) < 2:
        return None
    return timeline


def _thinned(timeline: Timeline) -> Iterable[tuple[float, float, Counts]]:
    """(start, seconds at work, counts) of at most `MOST_NUMBERS` spans in a row."""
    every = -(-len(timeline.slices) // MOST_NUMBERS)
    for first in range(0, len(timeline.slices), every):
        pieces = timeline.slices[first : first + every]
        total = Counts()
        for piece in pieces:
            total = total.plus(piece.all)
        yield pieces[0].start, sum(piece.at_work_s for piece in pieces) or 1.0, total


def window(found: Findings) -> Plot | None:
    """The window and the requests in flight over time; None when the run kept no such events."""
    timeline = _drawable(found.timeline)
    samples = found.samples
    if timeline is None or len(samples) < 2:
        return None
    sizes = [(each.ts, each.window) for each in samples if each.window is not None]
    flying = [(each.ts, each.in_flight) for each in samples if each.in_flight is not None]
    series = []
    if len(sizes) > 1:
        series.append(Points("window", "c0", _few(sizes), is_step=True))
    if len(flying) > 1:
        series.append(Points("in flight", "c2", _few(flying)))
    if not series:
        return None
    told = [value for _, value in sizes or flying]
    low, high = min(told), max(told)
    said = f"Between {compact(low)} and {compact(high)} requests at once were allowed."
    numbers = Grid(
        ("at, UTC", "window", "in flight"),
        tuple(
            (clock(each.ts), _maybe(each.window), _maybe(each.in_flight))
            for each in _few(samples, MOST_NUMBERS)
        ),
    )
    about = About("window", "Requests at once", said, "requests")
    return lines(about, timeline.stretches, series, numbers)


def latency_over_time(found: Findings) -> Plot | None:
    """The median latency over time; None when the run kept no samples of it."""
    timeline = _drawable(found.timeline)
    points = [(each.ts, each.latency_ms / 1000) for each in found.samples if each.latency_ms is not None]
    if timeline is None or len(points) < 3:
        return None
    told = [value * 1000 for _, value in points]
    said = f"Between {milliseconds(min(told))} and {milliseconds(max(told))}, over the latest replies each."
    numbers = Grid(
        ("at, UTC", "median"),
        tuple((clock(ts), milliseconds(value * 1000)) for ts, value in _few(points, MOST_NUMBERS)),
    )
    about = About("latency-over-time", "Median latency over time", said, "seconds")
    return lines(about, timeline.stretches, [Points("median", "c0", _few(points))], numbers)


def _few(values: Sequence[_T], most: int = MOST_POINTS) -> Sequence[_T]:
    return values[:: -(-len(values) // most)]


def _maybe(value: float | None) -> str:
    return DASH if value is None else compact(value)


def cost(found: Findings) -> Plot | None:
    """Dollars over time, added up, by model; None when nothing was spent or no price is known."""
    timeline = _drawable(found.timeline)
    if timeline is None or not found.cost.usd:
        return None
    names = [use.model for use in found.models if use.cost_usd][:SHOWN_MODELS]
    others = {name for each in timeline.slices for name in each.by_model} - set(names)
    series = [Series(name, f"c{place}", _added_up(timeline, {name})) for place, name in enumerate(names)]
    rest = _added_up(timeline, others)
    if rest and rest[-1] > 0:
        series.append(Series("others" if others != {UNNAMED} else UNNAMED, "c5", rest))
    if not series:
        return None
    said = f"{money(found.cost.usd)} in all" + (f", from {len(names)} models." if len(names) > 1 else ".")
    so_far, rows = 0.0, []
    for start, _, total in _thinned(timeline):
        so_far += total.cost_usd
        rows.append((clock(start), money(total.cost_usd), money(so_far)))
    about = About("cost-over-time", "Cost, added up", said, "US dollars", "USD")
    numbers = Grid(("from, UTC", "spent", "so far"), tuple(rows))
    return areas(about, timeline, series, numbers)


def _added_up(timeline: Timeline, models: set[str]) -> list[float]:
    total, found = 0.0, []
    for piece in timeline.slices:
        total += sum(counts.cost_usd for name, counts in piece.by_model.items() if name in models)
        found.append(total)
    return found


def tokens(found: Findings) -> Plot | None:
    """Billed tokens per second over time."""
    timeline = _drawable(found.timeline)
    if timeline is None or not found.tokens.billed_prompt + found.tokens.billed_completion:
        return None
    prompt = [_rate(each.all.prompt_tokens, each) for each in timeline.slices]
    completion = [_rate(each.all.completion_tokens, each) for each in timeline.slices]
    billed = found.tokens.billed_prompt, found.tokens.billed_completion
    said = f"{compact(billed[0])} tokens in and {compact(billed[1])} out were billed."
    numbers = Grid(
        ("from, UTC", "in", "out"),
        tuple(
            (clock(start), f"{total.prompt_tokens:,}", f"{total.completion_tokens:,}")
            for start, _, total in _thinned(timeline)
        ),
    )
    about = About("tokens-over-time", "Tokens over time", said, "tokens per second")
    series = [Series("in", "c0", prompt), Series("out", "c2", completion)]
    return areas(about, timeline, series, numbers)


def spread(
    key: str, title: str, found: Distribution | None, css: str, *, is_half: bool = False
) -> Plot | None:
    """A histogram; None where a few words say as much."""
    if found is None or found.count < LEAST_ROWS or len(found.bins) < 2:
        return None
    return histogram(About(key, title, said_distribution(found), "rows"), found, css, is_half=is_half)
