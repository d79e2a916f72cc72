"""Prices per model, and what one reply's usage costs at them.

Never guesses: a model that has no exact entry has no price, and usage without both counts has no cost (0
dollars would add up to a wrong bill). Price tables with vendor prefixes and dates are not this module's: it
takes names as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.records import Usage

TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """A model's prices in USD per million tokens; finite, not negative.

    Attributes:
        cached_input: for prompt tokens that were read from a cache; None means the same as `input`.
    """

    input: float
    cached_input: float | None
    output: float

    def __post_init__(self) -> None:
        """Raises ValueError, naming the price."""
        for name, price in (
            ("input", self.input),
            ("cached_input", self.cached_input),
            ("output", self.output),
        ):
            if price is not None and not (isfinite(price) and price >= 0):
                raise ValueError(f"price {name} is {price}; expected dollars per million tokens, 0 or more")


class PriceTable(Mapping[str, Rates]):
    """Model name -> rates; names match exactly, letter case included."""

    def __init__(self, rates: Mapping[str, Rates]) -> None:
        self._rates = dict(rates)

    def __getitem__(self, model: str) -> Rates:
        return self._rates[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rates)

    def __len__(self) -> int:
        return len(self._rates)

    def rates_for(self, *models: str | None) -> Rates | None:
        """The rates of the first of these names that has a price; None when none has.

        Args:
            models: in order of preference, say response model, then request model; None is skipped.
        """
        return next((self._rates[model] for model in models if model in self._rates), None)


def cost_usd(usage: Usage, rates: Rates | None) -> float | None:
    """What a reply costs in USD; None when its tokens or its model's prices are unknown.

    Cached tokens are a part of the prompt's (OpenAI's ``prompt_tokens_details.cached_tokens``); unknown
    counts as none cached, and never more are cached than the prompt has, so a cost is never negative.
    """
    if rates is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    cached_input = rates.input if rates.cached_input is None else rates.cached_input
    fresh = usage.prompt_tokens - cached
    return (
        fresh * rates.input + cached * cached_input + usage.completion_tokens * rates.output
    ) / TOKENS_PER_PRICE
