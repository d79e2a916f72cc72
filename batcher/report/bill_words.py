"""Pure: a bill as a table and the lines below it; rich lays the columns out."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from batcher.report.wording import harmless, money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.report.bill import Bill, Spending

NAME_CHARS = 48
MOST_GROUPS = 60
"""Lines of the table; the rest is one line, and all of it is in the JSON."""
_NONE = "-"
_WIDE = 400  # never wrapped: a terminal may, a file must not


def bill_lines(bill: Bill) -> list[str]:
    """The bill for a person: table, total, what stands apart, outlook."""
    lines = _table(bill)
    lines.append("")
    lines += [f"  {line}" for line in (*_totals(bill), *_apart(bill), *_cache(bill), *_unknown(bill))]
    lines += [f"  {line}" for line in (*_what_if(bill), *_outlook(bill))]
    lines += [f"  note: {harmless(note)}" for note in bill.notes]
    lines.append(f"  prices, where a file or the gateway told none: {harmless(bill.prices)}")
    if bill.is_simulated:
        lines.insert(0, "  SIMULATED: nothing of this was really paid.")
    return lines


def _table(bill: Bill) -> list[str]:
    shown, rest = bill.groups[:MOST_GROUPS], bill.groups[MOST_GROUPS:]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_edge=False)
    for name in bill.total.by or (bill.groups[0].by if bill.groups else ()):
        table.add_column(Text(harmless(name)), no_wrap=True)
    numbers = ["rows", "ok", "prompt tokens", "cached", "completion", "cost"]
    if bill.what_if is not None:
        numbers.append(f"if {harmless(bill.what_if)}")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for group in shown:
        table.add_row(*(_name(value) for value in group.by.values()), *_numbers(group, bill))
    if rest:
        dollars = sum(group.cost_usd or 0.0 for group in rest)
        width = len(shown[0].by)
        table.add_row(f"{len(rest):,} more", *[""] * (width - 1), *[""] * 5, money(dollars))
    if bill.groups:
        width = len(bill.groups[0].by)
        table.add_row("total", *[""] * (width - 1), *_numbers(bill.total, bill))
    return [f"  {line}".rstrip() for line in _drawn(table)]


def _drawn(table: Table) -> Sequence[str]:
    text = io.StringIO()
    Console(file=text, width=_WIDE, highlight=False, color_system=None).print(table)
    return text.getvalue().splitlines()


def _name(value: str | None) -> Text:
    text = _NONE if value is None else harmless(value)
    return Text(text if len(text) <= NAME_CHARS else text[: NAME_CHARS - 1] + "…")


def _numbers(group: Spending, bill: Bill) -> Iterable[str]:
    yield f"{group.rows:,}"
    yield _NONE if group.ok_rows is None else f"{group.ok_rows:,}"
    yield f"{group.prompt_tokens:,}"
    yield f"{group.cached_tokens:,}"
    yield f"{group.completion_tokens:,}"
    yield _cost(group)
    if bill.what_if is not None:
        yield "unknown" if group.what_if_usd is None else money(group.what_if_usd)


def _cost(group: Spending) -> str:
    if group.cost_usd is None:
        return "unknown"
    return money(group.cost_usd) + ("+?" if group.unknown_rows else "")


def _totals(bill: Bill) -> Iterable[str]:
    total = bill.total
    days = f", {bill.first_day} to {bill.last_day}" if bill.first_day is not None else ""
    sources = f"{_count(bill.files, 'file')}, {_count(bill.ledgers, 'ledger')}{days}"
    if total.cost_usd is None:
        yield f"cost unknown ({sources})"
        return
    each = ""
    if bill.per_thousand_ok_usd is not None:
        rows = "rows" if total.ok_rows is None else "ok rows"
        each = f", {money(bill.per_thousand_ok_usd)} per 1,000 {rows}"
    yield f"{money(total.cost_usd)} spent{each} ({sources})"


def _apart(bill: Bill) -> Iterable[str]:
    apart = bill.apart
    if apart.not_ok_usd:
        yield f"  {money(apart.not_ok_usd)} of it for rows that are not ok"
    if apart.tries:
        yield f"  {money(apart.tries_usd)} of it for {_count(apart.tries, 'trial')}"
    if apart.stopped:
        runs = _count(apart.stopped, "run")
        yield f"  {money(apart.stopped_usd)} of it for {runs} without a file here (stopped, at work, or replaced)"
    if apart.beyond_rows_usd:
        yield f"  {money(apart.beyond_rows_usd)} of it for attempts that no row shows"
    if apart.possibly_paid:
        attempts = _count(apart.possibly_paid, "attempt")
        dollars = (
            "" if apart.possibly_paid_usd is None else f", at most about {money(apart.possibly_paid_usd)}"
        )
        yield f"not in any sum: {attempts} possibly paid and lost{dollars}"


def _cache(bill: Bill) -> Iterable[str]:
    total = bill.total
    if total.cached_tokens and total.prompt_tokens:
        share = total.cached_tokens / total.prompt_tokens
        saved = f", which saved {money(bill.saved_by_cache_usd)}" if bill.saved_by_cache_usd else ""
        yield f"{share:.0%} of the prompt tokens came from a cache{saved}"


def _unknown(bill: Bill) -> Iterable[str]:
    if bill.unpriced_models:
        models = harmless(", ".join(bill.unpriced_models))
        yield f"no price is known for {models}: give one with --prices FILE"
    elif bill.total.unknown_rows:
        yield f"the cost of {_count(bill.total.unknown_rows, 'row')} is unknown: nobody told tokens or dollars"


def _what_if(bill: Bill) -> Iterable[str]:
    if bill.what_if is None or bill.total.what_if_usd is None:
        return
    change = ""
    if bill.total.cost_usd:
        change = f" ({bill.total.what_if_usd / bill.total.cost_usd - 1:+.0%})"
    yield f"what if {harmless(bill.what_if)}: {money(bill.total.what_if_usd)}{change}"
    if bill.what_if_missing:
        yield f"  without {harmless(', '.join(bill.what_if_missing))}: tokens or the other price are unknown"


def _outlook(bill: Bill) -> Iterable[str]:
    seen = bill.outlook
    if seen is None:
        return
    if not seen.days_left:
        yield f"{seen.month} is over: {money(seen.usd)}"
        return
    left = "the day left costs" if seen.days_left == 1 else f"each of the {seen.days_left} days left costs"
    yield (
        f"forecast for {seen.month}: {money(seen.usd)}, if {left} {money(seen.per_day_usd)},"
        f" the mean of the {_count(seen.days_so_far, 'day')} since {seen.first_day}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
