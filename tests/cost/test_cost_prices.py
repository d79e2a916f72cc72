"""Prices and the cost of one reply."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.cost.prices import PriceTable, Rates, Tier, cost_usd
from batcher.records import Usage

PRICES = st.floats(0, 1_000, allow_nan=False)
COUNTS = st.integers(0, 10_000_000)
RATES = st.builds(Rates, input=PRICES, cached_input=st.none() | PRICES, output=PRICES)
GPT = Rates(input=2.5, cached_input=1.25, output=10.0)


def test_a_reply_costs_its_tokens_times_the_price_per_million() -> None:
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=500_000, cached_tokens=400_000)
    assert cost_usd(usage, GPT) == pytest.approx(0.6 * 2.5 + 0.4 * 1.25 + 0.5 * 10.0)


def test_cached_tokens_cost_as_much_as_others_when_no_cached_price_is_known() -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=0, cached_tokens=900)
    assert cost_usd(usage, Rates(input=2.0, cached_input=None, output=1.0)) == pytest.approx(0.002)


def test_a_cached_price_of_zero_is_a_price() -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=0, cached_tokens=1000)
    assert cost_usd(usage, Rates(input=2.0, cached_input=0.0, output=1.0)) == 0.0


@pytest.mark.parametrize(
    "usage",
    [Usage(), Usage(prompt_tokens=5), Usage(completion_tokens=5), Usage(total_tokens=10)],
)
def test_unknown_tokens_have_no_cost_rather_than_none_at_all(usage: Usage) -> None:
    assert cost_usd(usage, GPT) is None


def test_a_model_without_a_price_has_no_cost() -> None:
    assert cost_usd(Usage(prompt_tokens=5, completion_tokens=5), None) is None


@given(RATES, COUNTS, COUNTS, st.none() | COUNTS)
def test_a_cost_is_exact_to_a_float_and_never_negative(
    rates: Rates, prompt: int, completion: int, cached: int | None
) -> None:
    cost = cost_usd(Usage(prompt, completion, None, cached), rates)
    hit = min(cached or 0, prompt)
    cached_input = rates.input if rates.cached_input is None else rates.cached_input
    exact = (
        Fraction(rates.input) * (prompt - hit)
        + Fraction(cached_input) * hit
        + Fraction(rates.output) * completion
    ) / 1_000_000
    assert cost is not None
    assert cost >= 0
    assert cost == pytest.approx(float(exact), rel=1e-12, abs=1e-300)


@given(RATES, COUNTS, COUNTS, st.integers(0, 1000))
def test_more_tokens_never_cost_less(rates: Rates, prompt: int, completion: int, more: int) -> None:
    less = cost_usd(Usage(prompt, completion), rates)
    longer = cost_usd(Usage(prompt + more, completion + more), rates)
    assert less is not None
    assert longer is not None
    assert longer >= less


LONG = Rates(input=6.0, cached_input=0.6, output=22.5, cache_write=7.5)
TIERED = Rates(3.0, 0.3, 15.0, cache_write=3.75, tiers=(Tier(200_000, LONG),))


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(200_000, 1000), 200_000 * 3.0 + 1000 * 15.0),
        (Usage(200_001, 1000), 200_001 * 6.0 + 1000 * 22.5),
        (Usage(1000, 0, cache_write_tokens=400), 600 * 3.0 + 400 * 3.75),
        (Usage(1000, 0, None, 500, None, 400), 100 * 3.0 + 500 * 0.3 + 400 * 3.75),
        (Usage(1000, 0, None, 900, None, 400), 900 * 0.3 + 100 * 3.75),
        (Usage(100, 50, 150, None, 40), 100 * 3.0 + 50 * 15.0),
        (Usage(100, 50, 190, None, 40), 100 * 3.0 + 90 * 15.0),
        (Usage(100, 50, None, None, 40), 100 * 3.0 + 50 * 15.0),
    ],
)
def test_tiers_cache_writes_and_reasoning_are_priced_as_they_are_billed(usage: Usage, dollars: float) -> None:
    assert cost_usd(usage, TIERED) == pytest.approx(dollars / 1_000_000)


def test_reasoning_may_have_a_price_of_its_own() -> None:
    rates = Rates(0.0, None, 8.0, reasoning=3.0)
    assert cost_usd(Usage(1, 100, 101, None, 40), rates) == pytest.approx((60 * 8 + 40 * 3) / 1_000_000)


def test_a_discount_reaches_every_price() -> None:
    half = TIERED.times(0.5)
    assert (half.input, half.cached_input, half.cache_write, half.reasoning) == (1.5, 0.15, 1.875, None)
    assert half.tiers[0].rates.output == 11.25


@pytest.mark.parametrize("bounds", [(5, 5), (7, 5)])
def test_tiers_must_ascend(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Rates(1.0, None, 1.0, tiers=tuple(Tier(bound, LONG) for bound in bounds))


@pytest.mark.parametrize("price", [-0.01, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["input", "cached_input", "output"])
def test_a_price_that_is_no_price_is_refused_by_name(field: str, price: float) -> None:
    prices = {"input": 1.0, "cached_input": 1.0, "output": 1.0, field: price}
    with pytest.raises(ValueError, match=f"price {field} is"):
        Rates(**prices)  # type: ignore[arg-type]


def test_a_table_is_asked_for_exact_names_in_the_order_given() -> None:
    mini = Rates(0.1, None, 0.4)
    table = PriceTable({"gpt-4o": GPT, "gpt-4o-mini": mini})
    assert table.rates_for("gpt-4o-2024-08-06", "gpt-4o") is GPT
    assert table.rates_for("gpt-4o-mini", "gpt-4o") is mini
    assert table.rates_for(None, "gpt-4o") is GPT
    assert table.rates_for("openai/gpt-4o", "GPT-4o", None) is None
    assert table.rates_for() is None


def test_a_table_does_not_change_with_the_mapping_it_came_from() -> None:
    source = {"m": GPT}
    table = PriceTable(source)
    source["other"] = GPT
    assert dict(table) == {"m": GPT}
    assert len(table) == 1
