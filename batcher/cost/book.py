"""Which price holds for a reply: the job's own table, then the gateway's word, then the built-in list.

The own table first, because its writer knows of discounts that nobody else knows. The gateway before the list,
because it says what was charged and a list says what is usual. Unknown stays None: a sum that counts it as 0 would
be a wrong bill.

A model's rates are looked up once and remembered, so a row costs one dictionary look-up.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from batcher.cost.prices import PRICE_NAMES, PriceTable, Rates, cost_usd
from batcher.records import Cost, CostSource, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.cost.library import PriceList

MOST_REMEMBERED = 4_096
"""Model names looked up in the list; a server that invents a new name for every reply must not fill the memory."""


class PriceBook:
    """Prices of one session.

    Args:
        own: the job's table; names match exactly.
        listed: the built-in list; None: only the own table and the gateway.
    """

    def __init__(self, own: Mapping[str, Rates] | None = None, listed: PriceList | None = None) -> None:
        self._own = PriceTable(own or {})
        self._listed = listed
        self._found: dict[str, Rates | None] = {}
        self._held: dict[tuple[str | None, str | None], tuple[Rates | None, bool]] = {}

    @property
    def version(self) -> str | None:
        """What an output's metadata say of the prices: a hash of the own table, name and version of the list."""
        words = [] if not self._own else [f"job {_digest(self._own)}"]
        return " + ".join([*words, *([] if self._listed is None else [self._listed.name])]) or None

    def rates_for(self, *models: str | None) -> Rates | None:
        """The rates of the first of these names that has a price: the own table for all of them, then the list.

        Args:
            models: in order of preference, say response model, then request model; None is skipped.
        """
        return self._own.rates_for(*models) or self._listed_rates(models)

    def worst_rates_for(self, *models: str | None) -> Rates | None:
        """Flat rates that no reply of the model exceeds, tiers and cache writes included: for a hard budget."""
        rates = self.rates_for(*models)
        return None if rates is None else rates.dearest()

    def __call__(self, request_model: str | None, response_model: str | None, usage: Usage) -> Cost | None:
        """What a reply cost, and who says so; None when nobody knows."""
        rates, is_own = self._held.get((response_model, request_model)) or self._holding(
            response_model, request_model
        )
        said = usage.cost_usd
        if said is None or is_own:
            usd = cost_usd(usage, rates)
            if usd is not None:
                return Cost(usd, CostSource.PRICES)
        return None if said is None else Cost(said, CostSource.GATEWAY)

    def _holding(self, *models: str | None) -> tuple[Rates | None, bool]:
        """(rates, whether they are of the own table), remembered."""
        own = self._own.rates_for(*models)
        found = (own, True) if own is not None else (self._listed_rates(models), False)
        if len(self._held) < MOST_REMEMBERED:
            self._held[models[0], models[1]] = found
        return found

    def _listed_rates(self, models: tuple[str | None, ...]) -> Rates | None:
        if self._listed is None:
            return None
        for model in models:
            if model is None:
                continue
            if model not in self._found and len(self._found) < MOST_REMEMBERED:
                self._found[model] = self._listed.rates_of(model)
            if (rates := self._found.get(model)) is not None:
                return rates
        return None


def _digest(own: PriceTable) -> str:
    lines = (f"{model} {[getattr(own[model], name) for name in PRICE_NAMES]}" for model in sorted(own))
    return blake2b("\n".join(lines).encode(), digest_size=4).hexdigest()
