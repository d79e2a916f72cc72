"""Spending in cells: what rows and sessions with the same day, model, outcome and so on used and cost together. Pure.

A cost is linear in its tokens as long as model and tier are one, so a cell is priced as a row is: 10 million rows
need no more arithmetic than their few hundred cells. Tiers are therefore part of a cell's key.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from batcher.cost.prices import tokens_usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.cost.prices import Rates


class Kind(StrEnum):
    """Where spending is known from."""

    ROWS = "rows"  # rows of a file
    TRY = "try"  # sessions of `try`
    STOPPED = "stopped"  # runs without a file among those given: stopped, at work, replaced or deleted
    BEYOND = "beyond_rows"  # what a run's sessions spent beyond the rows of its file


class Key(NamedTuple):
    """What spending is told apart by.

    Attributes:
        day: in UTC; None when unknown.
        tier: how many of the tier bounds the prompt exceeds.
        is_told: the source says what it cost; otherwise prices must.
        is_batch: bought through a provider's batch API.
        by: values of further columns, as text.
    """

    kind: Kind
    run_id: str | None = None
    day: date | None = None
    request_model: str | None = None
    response_model: str | None = None
    outcome: str | None = None
    tier: int = 0
    is_told: bool = False
    is_batch: bool = False
    by: tuple[str | None, ...] = ()


@dataclass(slots=True)
class Sums:
    """Of one cell; token counts are of all paid attempts where the source tells them.

    Attributes:
        prompt: all kinds of prompt tokens; `cached` and `written` are parts of it.
        output: completion tokens, `reasoning` included.
        usd: what the source says; 0 in cells where it says nothing.
        unknown: paid rows whose tokens and cost nobody told.
        dearest_usd: the most that one attempt cost, as far as it is told.
    """

    rows: int = 0
    prompt: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    reasoning: int = 0
    unknown: int = 0
    usd: float = 0.0
    dearest_usd: float = 0.0

    def add(self, other: Sums) -> None:
        for name in _ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.dearest_usd = max(self.dearest_usd, other.dearest_usd)

    def at(self, rates: Rates) -> float:
        """Dollars of these tokens at the rates of one tier."""
        return tokens_usd(
            rates,
            fresh=self.prompt - self.cached - self.written,
            cached=self.cached,
            written=self.written,
            output=self.output,
            reasoning=self.reasoning,
        )

    def saved_usd(self, rates: Rates) -> float:
        """What the same prompt would have cost more without a cache."""
        return (
            self.cached
            * (rates.input - (rates.input if rates.cached_input is None else rates.cached_input))
            / 1e6
        )


_ADDED = tuple(each.name for each in fields(Sums) if each.name != "dearest_usd")

Cells = dict[Key, Sums]


def add_cells(into: Cells, others: Mapping[Key, Sums]) -> None:
    """Add cells to cells; sums of one key become one."""
    for key, sums in others.items():
        held = into.get(key)
        if held is None:
            held = into[key] = Sums()
        held.add(sums)


def at_tier(rates: Rates, bounds: Sequence[int], tier: int) -> Rates:
    """The rates of prompts that exceed `tier` of the bounds (ascending); all bounds of the rates are among them."""
    return rates.at(bounds[tier - 1] + 1 if tier else 0)


def tier_of(prompt_tokens: int, bounds: Sequence[int]) -> int:
    """How many of the ascending bounds a prompt exceeds."""
    return bisect_left(bounds, prompt_tokens)


class Forecast(NamedTuple):
    """A month at its end, if every day left costs what the days so far did on average.

    Attributes:
        first_day: of the month's spending; the average begins there.
        days_so_far: from it to the last one that counts; today counts once something was spent today.
        days_left: after that, to the end of the month.
    """

    usd: float
    spent_usd: float
    first_day: date
    days_so_far: int
    days_left: int

    @property
    def per_day_usd(self) -> float:
        return self.spent_usd / self.days_so_far


def forecast(by_day: Mapping[date, float], *, first: date, last: date, today: date) -> Forecast | None:
    """Linear from the days so far; None when nothing was spent in the month.

    Args:
        by_day: dollars, of the month's days only.
        first: day of the month.
        last: day of the month.
        today: in UTC; a month that is over forecasts itself.
    """
    spending = [day for day, usd in by_day.items() if usd > 0 and first <= day <= last]
    if not spending:
        return None
    begun, spent = min(spending), sum(by_day[day] for day in spending)
    yesterday = date.fromordinal(today.toordinal() - 1)
    until = max(*spending, min(yesterday, last))
    so_far = (until - begun).days + 1
    left = (last - until).days
    return Forecast(spent + spent / so_far * left, spent, begun, so_far, left)
