"""Spending in cells: a cell is priced as its rows are, and a month is extended as it says."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest

from batcher.cost.cells import Cells, Key, Kind, Sums, add_cells, at_tier, forecast, tier_of
from batcher.cost.library import PriceList, tier_bounds
from batcher.cost.prices import cost_usd
from batcher.records import Usage

LIST = PriceList(date(2026, 11, 20))


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro"])
def test_a_cell_costs_what_its_rows_cost(model: str) -> None:
    rates, dice, bounds = LIST.rates_of(model), random.Random(3), tier_bounds()
    assert rates is not None
    cells: Cells = {}
    by_row = 0.0
    for _ in range(2_000):
        prompt, output = (
            dice.choice((dice.randrange(9_000), dice.randrange(400_000), 200_000)),
            dice.randrange(900),
        )
        cached = dice.randrange(prompt + 1)
        written = dice.randrange(prompt - cached + 1)
        by_row += cost_usd(Usage(prompt, output, None, cached, None, written), rates) or 0.0
        key = Key(Kind.ROWS, tier=tier_of(prompt, bounds))
        add_cells(cells, {key: Sums(1, prompt, cached, written, output)})
    assert len(cells) > 3
    by_cell = sum(sums.at(at_tier(rates, bounds, key.tier)) for key, sums in cells.items())
    assert by_cell == pytest.approx(by_row, rel=1e-12)


def test_a_cache_saves_the_difference_of_its_price() -> None:
    rates = LIST.rates_of("gpt-4o")
    assert rates is not None
    assert Sums(prompt=4_000_000, cached=2_000_000).saved_usd(rates) == pytest.approx(2.5)


FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)


def days(*numbers: int, usd: float = 2.0) -> dict[date, float]:
    return {date(2026, 11, number): usd for number in numbers}


@pytest.mark.parametrize(
    ("by_day", "today", "expected"),
    [
        # (spending, day of November, (usd, days so far, days left))
        (days(*range(1, 11)), 10, (60.0, 10, 20)),
        (days(*range(1, 11)), 11, (60.0, 10, 20)),  # tonight's task has not run yet
        (days(*range(1, 11)), 12, (20 + 20 / 11 * 19, 11, 19)),  # yesterday it cost nothing
        (days(8, 9, 10), 10, (46.0, 3, 20)),  # the mean begins with the spending
        (days(10), 10, (42.0, 1, 20)),
        (days(1, usd=1.0) | days(3, usd=5.0), 3, (60.0, 3, 27)),
        (days(30), 30, (2.0, 1, 0)),
    ],
)
def test_a_month_is_extended_by_the_mean_of_its_days_so_far(
    by_day: dict[date, float], today: int, expected: tuple[float, int, int]
) -> None:
    found = forecast(by_day, first=FIRST, last=LAST, today=date(2026, 11, today))
    assert found is not None
    assert found.usd == pytest.approx(expected[0])
    assert (found.days_so_far, found.days_left) == expected[1:]


def test_a_month_that_is_over_forecasts_itself_and_one_without_spending_nothing() -> None:
    other = {FIRST - timedelta(days=1): 9.0, LAST + timedelta(days=1): 9.0}
    over = forecast(days(3) | other, first=FIRST, last=LAST, today=date(2026, 12, 20))
    assert over is not None
    assert (over.usd, over.spent_usd, over.days_left) == (2.0, 2.0, 0)
    assert forecast(other, first=FIRST, last=LAST, today=date(2026, 11, 20)) is None
