"""Rates of a model, and what one reply's usage costs at them.

Never guesses: a model that has no entry has no price, and usage without both counts has no cost (0 dollars would
add up to a wrong bill). A table takes names as they are; `batcher.cost.book` decides which names to ask.

Rules of a cost, in this order:

1. A prompt beyond a tier's bound is priced at that tier, all of it: providers bill by cliff, not by slice.
2. Cached and newly cached tokens are parts of the prompt; what is left of it costs the input price.
3. Reasoning tokens are a part of the completion, except where prompt + completion + reasoning make up the total:
   that server (xAI) counts them beside it, and bills them as output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.records import Usage

TOKENS_PER_PRICE = 1_000_000


class Tier(NamedTuple):
    """Rates of prompts with more than `above` tokens (all kinds of prompt tokens counted)."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Rates:
    """A model's prices in USD per million tokens; finite, not negative.

    Attributes:
        cached_input: for prompt tokens that were read from a cache; None means the same as `input`.
        cache_write: for prompt tokens that were written to a cache; None means the same as `input`.
        reasoning: for reasoning tokens; None means the same as `output`.
        tiers: of longer prompts, ascending; their rates have no tiers of their own.
    """

    input: float
    cached_input: float | None
    output: float
    cache_write: float | None = None
    reasoning: float | None = None
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError, naming the price."""
        for name in PRICE_NAMES:
            price = getattr(self, name)
            if price is not None and not (isfinite(price) and price >= 0):
                raise ValueError(f"price {name} is {price}; expected dollars per million tokens, 0 or more")
        bounds = [tier.above for tier in self.tiers]
        if bounds != sorted(set(bounds)) or any(tier.rates.tiers for tier in self.tiers):
            raise ValueError("tiers must ascend, and have no tiers of their own")

    def at(self, prompt_tokens: int) -> Rates:
        """The rates of a prompt of that length."""
        found = self
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                found = tier.rates
        return found

    def dearest(self) -> Rates:
        """Flat rates that no reply can exceed, for a budget that must hold whatever comes."""
        every = (self, *(tier.rates for tier in self.tiers))
        return Rates(
            input=max(max(each.input, each.cached_input or 0, each.cache_write or 0) for each in every),
            cached_input=None,
            output=max(max(each.output, each.reasoning or 0) for each in every),
        )

    def times(self, factor: float) -> Rates:
        """The same, all prices multiplied, say by 0.5 for a batch discount."""

        def changed(price: float | None) -> float | None:
            return None if price is None else price * factor

        return Rates(
            input=self.input * factor,
            cached_input=changed(self.cached_input),
            output=self.output * factor,
            cache_write=changed(self.cache_write),
            reasoning=changed(self.reasoning),
            tiers=tuple(Tier(above, rates.times(factor)) for above, rates in self.tiers),
        )


PRICE_NAMES = tuple(each.name for each in fields(Rates) if each.name != "tiers")


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
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if rates is None or prompt is None or completion is None:
        return None
    cached = min(usage.cached_tokens or 0, prompt)
    written = min(usage.cache_write_tokens or 0, prompt - cached)
    reasoning = usage.reasoning_tokens or 0
    if reasoning and usage.total_tokens == prompt + completion + reasoning:
        completion += reasoning
    return tokens_usd(
        rates.at(prompt) if rates.tiers else rates,
        fresh=prompt - cached - written,
        cached=cached,
        written=written,
        output=completion,
        reasoning=min(reasoning, completion),
    )


def tokens_usd(rates: Rates, *, fresh: int, cached: int, written: int, output: int, reasoning: int) -> float:
    """Dollars of token counts at the rates of one tier; `reasoning` is a part of `output`."""
    usd = fresh * rates.input + output * rates.output
    if cached:
        usd += cached * (rates.input if rates.cached_input is None else rates.cached_input)
    if written:
        usd += written * (rates.input if rates.cache_write is None else rates.cache_write)
    if reasoning and rates.reasoning is not None:
        usd += reasoning * (rates.reasoning - rates.output)
    return usd / TOKENS_PER_PRICE
