"""The kinds of plot a report has: areas and lines over time, a histogram, shares of a whole. Pure: values in, SVG out.

Every plot carries its numbers as a table and a sentence that says what it shows, for those who do not see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.report.canvas import BOTTOM, LEFT, MARGIN, RIGHT, TOP, WIDTH, Canvas
from batcher.report.figures import DASH, amount, percent
from batcher.report.scales import Clock, Even, Linear, Logarithmic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.report.findings import Bin, Distribution
    from batcher.report.timeline import Stretch, Timeline

HALF_WIDTH: Final = 400.0
"""Of a plot that stands beside another one."""
_BAR_HEIGHT: Final = 34.0
_LEAST_BAR: Final = 3.0
"""Pixels of a share that is there at all, so that three rows of a million can be seen."""
_LABEL_GAP: Final = 36.0


class Series(NamedTuple):
    """One thing that is drawn.

    Attributes:
        css: class that gives its colour.
        values: one per slice, or (ts, value) points.
    """

    name: str
    css: str
    values: Sequence[float]


class Points(NamedTuple):
    """A line; None breaks it."""

    name: str
    css: str
    points: Sequence[tuple[float, float | None]]
    is_step: bool = False


class Key(NamedTuple):
    """One entry of a legend."""

    css: str
    name: str


class Grid(NamedTuple):
    """The numbers behind a plot; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """A finished plot. `svg` is markup, everything else text."""

    title: str
    said: str
    svg: str
    legend: tuple[Key, ...]
    numbers: Grid


class About(NamedTuple):
    """What a plot is: `key` is unique on the page, `said` a sentence, `axis` names what is counted."""

    key: str
    title: str
    said: str
    axis: str
    unit: str = ""


def areas(
    about: About,
    timeline: Timeline,
    series: Sequence[Series],
    numbers: Grid,
) -> Plot:
    """Stacked areas in steps, one step per slice."""
    canvas = Canvas(about.key, about.title, about.said)
    clock = Clock(timeline.stretches, LEFT, RIGHT)
    tops = [sum(values) for values in zip(*(each.values for each in series), strict=True)]
    scale = Linear.up_to(max(tops, default=0.0), low=BOTTOM, high=TOP)
    canvas.y_axis(scale, name=about.axis, unit=about.unit)
    below = [0.0] * len(tops)
    for each in series:
        above = [low + value for low, value in zip(below, each.values, strict=True)]
        if any(each.values):
            for steps in _steps(timeline, clock):
                over = [(x, scale.at(above[step.number])) for step in steps for x in step[1:]]
                under = [(x, scale.at(below[step.number])) for step in steps for x in step[1:]]
                canvas.path(f"area {each.css}", [*over, *reversed(under)], closed=True)
        below = above
    canvas.time_axis(clock)
    return Plot(about.title, about.said, str(canvas), _legend(series), numbers)


class _Step(NamedTuple):
    """A slice by its number, from pixel to pixel."""

    number: int
    start: float
    end: float


def _steps(timeline: Timeline, clock: Clock) -> list[list[_Step]]:
    """The slices of each stretch in pixels, cut off where it begins and ends."""
    found = []
    for stretch, low, high in clock.places():
        steps = []
        for number, piece in enumerate(timeline.slices):
            start, end = max(piece.start, stretch.start), min(piece.start + timeline.width_s, stretch.end)
            if start < end:
                steps.append(_Step(number, clock.at(start) or low, clock.at(end) or high))
        found.append(steps)
    return found


def lines(about: About, stretches: tuple[Stretch, ...], series: Sequence[Points], numbers: Grid) -> Plot:
    """Lines over time; points outside the stretches are left out."""
    canvas = Canvas(about.key, about.title, about.said)
    clock = Clock(stretches, LEFT, RIGHT)
    highest = max((value for each in series for _, value in each.points if value is not None), default=0.0)
    scale = Linear.up_to(highest, low=BOTTOM, high=TOP)
    canvas.y_axis(scale, name=about.axis, unit=about.unit)
    for each in series:
        for way in _ways(each, clock, scale):
            canvas.path(f"line {each.css}", way)
    canvas.time_axis(clock)
    return Plot(about.title, about.said, str(canvas), _legend(series), numbers)


def _ways(series: Points, clock: Clock, scale: Linear) -> list[list[tuple[float, float]]]:
    """The line's unbroken pieces, in pixels."""
    found: list[list[tuple[float, float]]] = []
    for stretch, _, high in clock.places():
        way: list[tuple[float, float]] = []
        for ts, value in series.points:
            x = clock.at(ts) if stretch.start <= ts <= stretch.end else None
            if x is None:
                continue
            if value is None:
                found.append(way)
                way = []
                continue
            if series.is_step and way:
                way.append((x, way[-1][1]))
            way.append((x, scale.at(value)))
        if series.is_step and way:
            way.append((high, way[-1][1]))
        found.append(way)
    return [way for way in found if len(way) > 1]


def histogram(about: About, found: Distribution, css: str, *, is_half: bool = False) -> Plot:
    """Bars over a logarithmic or even axis, with the median and the 95th and 99th percentile marked."""
    width = HALF_WIDTH if is_half else WIDTH
    right = width - MARGIN
    canvas = Canvas(about.key, about.title, about.said, width=width)
    bins = found.bins
    axis = Even if found.is_even else Logarithmic
    scale = axis(bins[0].low, bins[-1].high, LEFT, right)
    rows = Linear.up_to(max(each.rows for each in bins), low=BOTTOM, high=TOP + 14)
    canvas.y_axis(rows, name=about.axis)
    for each in bins:
        x, end = scale.at(each.low), scale.at(each.high)
        top = min(rows.at(each.rows), BOTTOM - 1) if each.rows else BOTTOM
        canvas.rect(
            f"bar {css}",
            x=x + 0.5,
            y=top,
            width=end - x - 1,
            height=BOTTOM - top,
            tip=f"{_between(each, found)}: {each.rows:,} rows",
        )
    _marks(canvas, scale, found)
    canvas.x_ticks(scale.ticks(unit=found.unit))
    numbers = Grid(
        (_HEADS[found.unit], "rows", "share"),
        tuple(
            (_between(each, found), f"{each.rows:,}", percent(each.rows, found.count))
            for each in bins
            if each.rows
        ),
    )
    return Plot(about.title, about.said, str(canvas), (), numbers)


_HEADS: Final = {"ms": "time", "tokens": "tokens", "number": "value"}


def _between(each: Bin, found: Distribution) -> str:
    if found.is_even:
        first, last = each.low + 0.5, each.high - 0.5
        return f"{first:,.0f}" if first == last else f"{first:,.0f} {DASH} {last:,.0f}"
    unit = found.unit
    return f"{amount(each.low, unit)} {DASH} {amount(each.high, unit)}"


def _marks(canvas: Canvas, scale: Even | Logarithmic, found: Distribution) -> None:
    """Percentiles; names of those that lie too close are left out, or they would print over each other."""
    last = LEFT - _LABEL_GAP
    right = scale.high
    for name, value in (("median", found.p50), ("p95", found.p95), ("p99", found.p99)):
        if not scale.least <= value <= scale.most:
            continue
        x = scale.at(value)
        canvas.line("mark", x, TOP + 2, x, BOTTOM)
        if x - last >= _LABEL_GAP:
            canvas.text(name, x=x, y=TOP - 2, css="marked", anchor="end" if x > right - 20 else "middle")
        elif x - last >= _LABEL_GAP / 2 and x < right - _LABEL_GAP:
            canvas.text(name, x=x - 4, y=TOP - 2, css="marked")
        else:
            continue
        last = x


def shares(about: About, parts: Sequence[Series], numbers: Grid) -> Plot:
    """One bar for a whole, split among its parts; each of them has one value."""
    canvas = Canvas(about.key, about.title, about.said, height=_BAR_HEIGHT)
    canvas.stretch()
    there = [part for part in parts if part.values[0] > 0]
    total = sum(part.values[0] for part in there)
    room = WIDTH - _LEAST_BAR * len(there)
    x = 0.0
    for part in there:
        width = _LEAST_BAR + room * part.values[0] / total
        tip = f"{part.name}: {part.values[0]:,.0f} ({percent(part.values[0], total)})"
        canvas.rect(f"bar {part.css}", x=x, y=0, width=max(width - 1.5, 1.5), height=_BAR_HEIGHT, tip=tip)
        x += width
    return Plot(about.title, about.said, str(canvas), _legend(there), numbers)


def _legend(series: Sequence[Series] | Sequence[Points]) -> tuple[Key, ...]:
    return tuple(Key(each.css, each.name) for each in series)


def said_distribution(found: Distribution) -> str:
    """A distribution as a sentence."""
    unit = " tokens" if found.unit == "tokens" else ""
    words = [
        f"{name} {amount(value, found.unit)}{unit}"
        for name, value in (("median", found.p50), ("95th percentile", found.p95), ("99th", found.p99))
    ]
    return f"{found.count:,} rows; {', '.join(words)}, largest {amount(found.most, found.unit)}{unit}."
