"""The built-in price list: which names it knows, and that its numbers arrive unchanged."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from batcher.cost.library import PriceList, tier_bounds
from batcher.cost.prices import Rates, cost_usd
from batcher.records import Usage

TODAY = date(2026, 11, 20)
LIST = PriceList(TODAY)
GPT_4O = Rates(input=2.5, cached_input=1.25, output=10.0)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o",
        "GPT-4o",
        " gpt-4o ",
        "gpt-4o-2024-08-06",
        "openai/gpt-4o",
        "azure/gpt-4o",
        "litellm/azure/gpt-4o-2024-08-06",
        "openrouter/openai/gpt-4o",
        "our-proxy/gpt-4o",
    ],
)
def test_a_model_is_found_by_name_date_and_vendor(name: str) -> None:
    assert LIST.rates_of(name) == GPT_4O


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "gpt-4o/",
        "m",
        "my-gpt-4o",
        "gpt-4o-finetuned",
        "gpt-4o:free",
        "gpt-99",
        "ft:gpt-4o:us::1",
        "together/deepseek-ai/DeepSeek-R1",
    ],
)
def test_a_name_that_is_only_similar_has_no_price(name: str) -> None:
    assert LIST.rates_of(name) is None


def test_a_vendor_that_sells_at_a_price_of_its_own_is_asked_first() -> None:
    maker, seller = LIST.rates_of("deepseek/deepseek-r1"), LIST.rates_of("openrouter/deepseek/deepseek-r1")
    assert maker is not None
    assert seller is not None
    assert seller.output > maker.output


def test_the_dearest_hour_stands_for_prices_by_time_of_day() -> None:
    rates = LIST.rates_of("deepseek-chat")
    assert rates is not None
    assert (rates.input, rates.output) == (0.27, 1.1)


def test_the_price_is_that_of_the_day() -> None:
    before, after = PriceList(date(2025, 6, 9)).rates_of("o3"), PriceList(date(2025, 6, 10)).rates_of("o3")
    assert before is not None
    assert after is not None
    assert (before.input, after.input) == (10.0, 2.0)


def test_a_batch_is_never_priced_in_full_without_a_word() -> None:
    batch = LIST.rates_of("gpt-4o", batch=True)
    assert batch is not None
    assert (batch.input, batch.output) == (1.25, 5.0)
    assert LIST.rates_of("grok-2", batch=True) is None, "there is no batch price, and the full one is none"


def test_the_newest_price_that_holds_tells_how_new_the_list_is() -> None:
    newest = LIST.newest()
    assert newest is not None
    assert date(2026, 1, 1) < newest <= TODAY
    assert LIST.name.startswith("genai-prices ")


MODELS = ("gpt-4o", "gpt-4.1", "grok-2", "gemini-2.5-pro", "claude-sonnet-4-5", "gpt-5.4", "o3")


def test_every_cost_is_what_the_library_itself_would_say() -> None:
    """Tiers, cache reads and cache writes included; its own sums are exact decimals."""
    dice = random.Random(5)
    assert {200_000, 272_000} <= set(tier_bounds())
    for model in MODELS:
        rates = LIST.rates_of(model)
        assert rates is not None
        for prompt in (0, 1, 1_000, 199_999, 200_000, 200_001, 272_001, dice.randrange(400_000)):
            cached = dice.randrange(prompt + 1)
            written = dice.randrange(prompt - cached + 1) if rates.cache_write is not None else 0
            output = dice.randrange(50_000)
            ours = cost_usd(Usage(prompt, output, None, cached, None, written), rates)
            theirs = calc_price(
                TheirUsage(
                    input_tokens=prompt,
                    output_tokens=output,
                    cache_read_tokens=cached,
                    cache_write_tokens=written,
                ),
                model,
            )
            assert ours == pytest.approx(float(theirs.total_price), rel=1e-12, abs=1e-15), model


HAND = {
    "gpt-4o": (Decimal("2.50"), Decimal("1.25"), Decimal("10.00")),
    "gpt-4.1": (Decimal("2.00"), Decimal("0.50"), Decimal("8.00")),
    "grok-2": (Decimal("2.00"), Decimal("2.00"), Decimal("10.00")),
}
"""Dollars per million tokens as the vendors published them; grok-2 has no price for cached tokens."""


@pytest.mark.parametrize("model", sorted(HAND))
def test_ten_thousand_rows_cost_what_a_hand_reckons_to_the_cent(model: str) -> None:
    fresh_usd, cached_usd, output_usd = HAND[model]
    rates, dice = LIST.rates_of(model), random.Random(7)
    ours, by_hand = 0.0, Decimal(0)
    for _ in range(10_000):
        prompt, output = dice.randrange(1, 20_000), dice.randrange(1, 2_000)
        cached = dice.choice((0, prompt // 2 // 128 * 128, prompt))
        cost = cost_usd(Usage(prompt, output, prompt + output, cached), rates)
        assert cost is not None
        ours += cost
        by_hand += ((prompt - cached) * fresh_usd + cached * cached_usd + output * output_usd) / 1_000_000
    assert by_hand > 100
    assert round(ours, 2) == float(round(by_hand, 2))
