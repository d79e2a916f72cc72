"""Findings as text for a terminal: the page's story in one screen or two.

Every text goes in as `rich.text.Text` of harmless characters: no markup of rich's is read from what a model or server
wrote, and no escape sequence gets through.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from batcher.report.figures import DASH, amount, clock, compact, percent
from batcher.report.side_by_side import compared
from batcher.report.verdict import class_words, tone, verdict
from batcher.report.wording import OUTCOMES, duration, harmless, money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from batcher.report.comparison import Comparison
    from batcher.report.findings import Distribution, ErrorClass, Findings, LabelColumn

WIDTH: Final = 112
SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARK_CELLS: Final = 60
BAR_CELLS: Final = 24
MOST_CLASSES: Final = 10
MOST_VALUES: Final = 8
FREE_VALUES: Final = 3
EXAMPLE_CHARS: Final = 160
_TONES: Final = {"good": "green", "mixed": "yellow", "bad": "red", "none": "default"}
_COLOURS: Final = {
    "ok": "green",
    "truncated": "yellow",
    "refused": "magenta",
    "failed": "red",
    "invalid": "bright_black",
}


def report_text(found: Findings, *, width: int = WIDTH, colour: bool = False) -> str:
    """The report of one output, ending in a line break.

    Args:
        found: what is told.
        width: columns of the terminal.
        colour: the reader is a terminal that shows colours.
    """
    parts: list[RenderableType] = [_head(found)]
    if found.rows:
        parts += [_outcomes(found), *_failures(found.classes, found), *_effort(found)]
        parts += [_label(each, found) for each in found.labels]
    return _drawn(parts, width=width, colour=colour)


def comparison_text(found: Comparison, *, width: int = WIDTH, colour: bool = False) -> str:
    """Two outputs side by side, as `report_text`."""
    parts = [_head(found.left), _head(found.right), _side_by_side(found), *_agreements(found)]
    return _drawn(parts, width=width, colour=colour)


def _drawn(parts: Iterable[RenderableType], *, width: int, colour: bool) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=min(width, WIDTH),
        highlight=False,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    for part in parts:
        console.print(Padding(part, (0, 0, 1, 2)))
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n")) + "\n"


def _text(words: object, style: str = "") -> Text:
    return Text(harmless(str(words)), style=style)


def _head(found: Findings) -> RenderableType:
    path = Text.assemble((harmless(found.output), "bold"))
    for word in (found.model, found.endpoint):
        path.append(f"  {harmless(word)}" if word else "", "dim")
    if found.simulated:
        path.append("  SIMULATED: nothing was paid", "yellow")
    if not found.complete:
        path.append("  NOT COMPLETE", "yellow")
    return Group(path, _text(verdict(found), f"bold {_TONES[tone(found)]}"))


def _table(*columns: str, right: Sequence[int] = ()) -> Table:
    """A plain table; columns numbered in `right` are numbers."""
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns), header_style="dim"
    )
    for place, name in enumerate(columns):
        justify = "right" if place in right else "left"
        table.add_column(_text(name), justify=justify, no_wrap=place in right, overflow="fold")  # type: ignore[arg-type]
    return table


def _bar(rows: int, most: int) -> str:
    """At least one cell for what is there at all."""
    return "█" * max(1, round(BAR_CELLS * rows / most)) if rows else ""


def _outcomes(found: Findings) -> RenderableType:
    table = _table("outcome", "rows", "share", "", right=(1, 2))
    counts = [(name, found.outcomes.get(name, 0)) for name in OUTCOMES]
    counts.append(("not done yet", found.waiting))
    for name, rows in counts:
        if rows:
            bar = _text(_bar(rows, found.rows), _COLOURS.get(name, "bright_black"))
            table.add_row(_text(name), f"{rows:,}", percent(rows, found.rows), bar)
    if not found.reused:
        return table
    return Group(table, _text(f"{found.reused:,} answers were taken over from earlier runs", "dim"))


def _failures(classes: Sequence[ErrorClass], found: Findings) -> list[RenderableType]:
    if not classes:
        return []
    table = _table("rows", "not ok because", right=(0,))
    for each in classes[:MOST_CLASSES]:
        table.add_row(f"{each.rows:,}", _class_words(each))
    rest = sum(each.rows for each in classes[MOST_CLASSES:]) + found.more_rows
    if rest:
        table.add_row(f"{rest:,}", _text("for further reasons", "dim"))
    return [table]


def _class_words(each: ErrorClass) -> RenderableType:
    words = Text.assemble((each.outcome, _COLOURS.get(each.outcome, "")), f": {harmless(class_words(each))}")
    told = [f"HTTP {each.status_code}" if each.status_code is not None else "", each.error_code or ""]
    words.append("".join(f" · {harmless(word)}" for word in told if word), "dim")
    lines = [words]
    example = next((row for row in each.examples if row.message or row.answer), None)
    if example is not None:
        said = harmless(example.message or example.answer or "")
        said = said if len(said) <= EXAMPLE_CHARS else said[: EXAMPLE_CHARS - 1] + "…"
        lines.append(_text(f"row {example.row_index:,}: {said}", "dim"))
    if each.advice:
        lines.append(_text(each.advice, "cyan"))
    return Group(*lines)


def _effort(found: Findings) -> list[RenderableType]:
    """Time, tokens and money."""
    table = _table("", "")
    spark = _spark(found)
    if found.rows_per_s is not None and found.working_s is not None and found.timeline is not None:
        began = clock(found.timeline.stretches[0].start)
        table.add_row("time", _text(f"{duration(found.working_s)} at work, from {began} UTC"))
        table.add_row("rows/s", _text(f"{compact(found.rows_per_s)} on average  {spark}"))
    if found.held is not None:
        table.add_row("held by", _text(found.held.removeprefix("held: ")))
    if found.latency is not None:
        table.add_row("latency", _text(_spread(found.latency)))
    if found.ttft is not None:
        table.add_row("first token", _text(_spread(found.ttft)))
    tokens = found.tokens
    words = f"{tokens.billed_prompt:,} in, {tokens.billed_completion:,} out billed"
    words += f"; {tokens.cached:,} in from a cache" if tokens.cached else ""
    words += f"; {tokens.reasoning:,} out for reasoning" if tokens.reasoning else ""
    table.add_row("tokens", _text(words))
    table.add_row("cost", _text(_cost_words(found)))
    models = _models(found)
    return [table, models] if models is not None else [table]


def _cost_words(found: Findings) -> str:
    if found.cost.usd is None:
        return f'unknown: no price (add [prices."{found.model or "MODEL"}"] to the job)'
    words = [money(found.cost.usd)]
    if found.usd_per_1000_ok:
        words.append(f"{money(found.usd_per_1000_ok)} per 1,000 ok rows")
    if found.cost.not_ok_usd:
        words.append(f"{money(found.cost.not_ok_usd)} of it for rows that are not ok")
    if found.cost.unknown:
        words.append(f"{found.cost.unknown:,} paid rows of unknown cost")
    return " · ".join(words)


def _models(found: Findings) -> RenderableType | None:
    """Cost by model; None when there is one."""
    if len(found.models) < 2:
        return None
    table = _table("model", "rows", "ok", "tokens in", "tokens out", "cost", right=(1, 2, 3, 4, 5))
    for use in found.models:
        cost = "unknown" if use.cost_usd is None else money(use.cost_usd)
        table.add_row(
            _text(use.model),
            f"{use.rows:,}",
            f"{use.ok:,}",
            f"{use.prompt_tokens:,}",
            f"{use.completion_tokens:,}",
            cost,
        )
    return table


def _spread(found: Distribution) -> str:
    return " · ".join(
        f"{name} {amount(value, found.unit)}"
        for name, value in (
            ("median", found.p50),
            ("p95", found.p95),
            ("p99", found.p99),
            ("largest", found.most),
        )
    )


def _spark(found: Findings) -> str:
    """Rows per second over time, in one line."""
    if found.timeline is None or len(found.timeline.slices) < 2:
        return ""
    slices = found.timeline.slices
    every = -(-len(slices) // SPARK_CELLS)
    rates = []
    for first in range(0, len(slices), every):
        pieces = slices[first : first + every]
        seconds = sum(each.at_work_s for each in pieces) or 1.0
        rates.append(sum(each.all.ok + each.all.not_ok for each in pieces) / seconds)
    highest = max(rates) or 1.0
    return "".join(SPARKS[min(7, int(8 * rate / highest))] for rate in rates)


def _label(label: LabelColumn, found: Findings) -> RenderableType:
    done = found.ok + found.not_ok
    if label.spread is not None:
        return Group(_text(label.name, "dim"), _text(_spread(label.spread)))
    table = _table(label.name, "rows", "share", "", right=(1, 2))
    most = label.counts[0].rows if label.counts else 1
    shown = FREE_VALUES if label.is_free else MOST_VALUES
    for value, rows in label.counts[:shown]:
        table.add_row(_text(value), f"{rows:,}", percent(rows, done), _text(_bar(rows, most), "blue"))
    rest = label.rest + sum(each.rows for each in label.counts[shown:])
    for name, rows in (("further values", rest), ("no label", label.nulls)):
        if rows:
            table.add_row(_text(name, "dim"), f"{rows:,}", percent(rows, done), "")
    if rest and label.is_free:
        more = "more than " if label.is_capped else ""
        return Group(table, _text(f"{more}{label.distinct:,} different values", "dim"))
    return table


def _side_by_side(found: Comparison) -> RenderableType:
    table = _table("", "this", "the other", right=(1, 2))
    for name, left, right in compared(found):
        table.add_row(_text(name), _text(left), _text(right))
    return table


def _agreements(found: Comparison) -> list[RenderableType]:
    matched = f"{found.matched:,} rows stand in both, matched by {found.matched_by}"
    if found.only_left or found.only_right:
        matched += f"; {found.only_left:,} only here, {found.only_right:,} only in the other"
    parts: list[RenderableType] = [_text(matched)]
    if found.agreements:
        table = _table("column", "equal", "compared", "agreement", "kappa", right=(1, 2, 3, 4))
        for each in found.agreements:
            kappa = DASH if each.kappa is None else f"{each.kappa:.3f}"
            share = percent(each.equal, each.compared)
            table.add_row(_text(each.name), f"{each.equal:,}", f"{each.compared:,}", share, kappa)
        parts.append(table)
    for each in found.agreements:
        if each.pairs:
            table = _table(f"{each.name}, this", "the other", "rows", right=(2,))
            for pair in each.pairs[:MOST_VALUES]:
                table.add_row(_text(pair.left or DASH), _text(pair.right or DASH), f"{pair.rows:,}")
            parts.append(table)
    return parts
