"""The built-in price list: rates by model name from genai-prices, which carries its prices in its package.

Nothing is fetched: the list is as new as the installed package, and `version` says how new that is. The library is
imported when a price is first asked for (45 ms and 6 MiB), and asked once per model, never per row: its own
calculation in decimals takes 40 times as long as ours.

What it would get wrong without a word, and what is done about it:
- A model that is only similar is not priced: names match as the list says, vendor prefixes aside.
- Prices by time of day (DeepSeek): the dearest hour stands for all, because a row's cost must not depend on when it
  is settled again.
- Batch prices exist for some models only; where they are missing the full price would stand for them, so `batch`
  returns None there.
- A model that is also billed by request, or has no price for input or output, has no price here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from batcher.cost.prices import Rates, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

_PACKAGE: Final = "genai-prices"
_PRICES: Final = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "output": "output_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}
"""Our name of a price -> the list's, all in USD per million tokens."""
_BATCH: Final = {"processing": "batch"}
_STEPS: Final = 48  # half hours: intervals in the list begin at full or half hours


@dataclass(frozen=True, slots=True)
class PriceList:
    """Rates of the installed list as of a day; `today` decides which of several dated prices holds."""

    today: date

    @property
    def name(self) -> str:
        """Like "genai-prices 0.2.3", without importing it."""
        try:
            return f"{_PACKAGE} {version(_PACKAGE)}"
        except PackageNotFoundError:
            return f"{_PACKAGE} is not installed"

    def newest(self) -> date | None:
        """The day on which the newest price that holds already began: so new is the list at least."""
        days = (day for day in _start_days() if day <= self.today)
        return max(days, default=None)

    def rates_of(self, model: str, *, batch: bool = False) -> Rates | None:
        """What a model costs; None when the list does not know it, or (`batch`) knows no batch price of it."""
        found = _find(model)
        if found is None:
            return None
        provider, known = found
        if batch and not any(
            variant.when == _BATCH for each in provider.models if each is known
            for variant in each.price_variants or ()
        ):  # fmt: skip
            return None
        midnight = datetime.combine(self.today, time(), tzinfo=UTC)
        steps = _STEPS if isinstance(known.prices, list) else 1
        moments = (midnight + timedelta(minutes=30 * step) for step in range(steps))
        context = _BATCH if batch else None
        every = (_rates(known.get_prices(moment, context)) for moment in moments)
        return max((each for each in every if each is not None), key=_weight, default=None)


def tier_bounds() -> tuple[int, ...]:
    """Every prompt length at which a price of the list changes, ascending."""
    found = {
        tier.start
        for price in _every_price()
        for key in _PRICES.values()
        for tier in getattr(getattr(price, key), "tiers", ())
    }
    return tuple(sorted(found))


def names_of(model: str) -> Iterator[tuple[str | None, str]]:
    """(vendor or None, model) to look up, best first: a vendor's prefix names who sells it, and is no part of the name.

    "openrouter/openai/gpt-4o" is asked as OpenRouter's "openai/gpt-4o", then OpenAI's "gpt-4o", then "gpt-4o".
    """
    rest = whole = model.strip()
    while "/" in rest:
        vendor, _, rest = rest.partition("/")
        if vendor and rest:
            yield vendor, rest
    yield None, whole
    if rest != whole:
        yield None, rest


def _weight(rates: Rates) -> float:
    return rates.input + rates.output


def _find(model: str) -> tuple[Provider, ModelInfo] | None:
    snapshot = _snapshot()
    for vendor, name in names_of(model):
        try:
            provider = None if vendor is None else snapshot.find_provider(None, vendor, None)
        except LookupError:  # nobody's name, or our user's proxy
            continue
        try:
            return snapshot.find_provider_model(name, provider, None, None)
        except LookupError:
            if provider is not None:
                return None  # who sells it is known, and its price is not: another seller's would be a guess
    return None


def _rates(price: ModelPrice) -> Rates | None:
    found = {name: getattr(price, key) for name, key in _PRICES.items()}
    if found["input"] is None or found["output"] is None or price.requests_kcount is not None:
        return None
    bounds = sorted({tier.start for value in found.values() for tier in getattr(value, "tiers", ())})

    def at(tokens: int) -> dict[str, float | None]:
        return {name: _at(value, tokens) for name, value in found.items()}

    tiers = tuple(Tier(bound, Rates(**at(bound + 1))) for bound in bounds)  # type: ignore[arg-type]
    return Rates(**at(0), tiers=tiers)  # type: ignore[arg-type]  # input and output are there


def _at(price: Decimal | TieredPrices | None, tokens: int) -> float | None:
    """A price of the list for a prompt of that length."""
    if price is None:
        return None
    if isinstance(price, Decimal):
        return float(price)
    return float([price.base, *(tier.price for tier in price.tiers if tokens > tier.start)][-1])


@cache
def _start_days() -> frozenset[date]:
    found = set()
    for provider in _snapshot().providers:
        for model in provider.models:
            dated = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
            found |= {getattr(each.constraint, "start_date", None) for each in dated}
    return frozenset(day for day in found if day is not None)


def _every_price() -> Iterator[ModelPrice]:
    for provider in _snapshot().providers:
        for model in provider.models:
            dated = model.prices if isinstance(model.prices, list) else ()
            yield from (each.prices for each in dated)
            if not isinstance(model.prices, list):
                yield model.prices


def _snapshot() -> DataSnapshot:
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()
