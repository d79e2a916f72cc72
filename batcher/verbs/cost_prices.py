"""Prices for what no source priced, and for what-ifs: the user's own table, then the list as of the day of spending."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.cost.cells import Key, Kind, Sums, at_tier
from batcher.cost.library import PriceList, tier_bounds
from batcher.cost.prices import PriceTable, Rates
from batcher.errors import JobError

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

BATCH = "batch"


@dataclass(slots=True)
class Pricing:
    """Prices cells; remembers every look-up.

    Attributes:
        own: wins over the list; it has no batch prices.
        today: for spending whose day is unknown.
        bounds: of tiers, ascending: those of the list.
    """

    own: PriceTable
    today: date
    bounds: tuple[int, ...] = field(default_factory=tier_bounds)
    _found: dict[tuple[str, date, bool], Rates | None] = field(default_factory=dict)

    def rates(self, key: Key, *, batch: bool | None = None) -> Rates | None:
        """What the cell's model costs at its tier; the model that answered before the one that was asked."""
        is_batch = key.is_batch if batch is None else batch
        day = key.day or self.today
        if not is_batch and (own := self.own.rates_for(key.response_model, key.request_model)) is not None:
            return own
        for model in (key.response_model, key.request_model):
            if model is not None and (rates := self._listed(model, day, batch=is_batch)) is not None:
                return at_tier(rates, self.bounds, key.tier)
        return None

    def rates_of(self, model: str, key: Key) -> Rates | None:
        """What another model costs today at the cell's tier."""
        rates = self.own.rates_for(model) or self._listed(model, self.today, batch=False)
        return None if rates is None else at_tier(rates, self.bounds, key.tier)

    def usd(self, key: Key, sums: Sums) -> float | None:
        """What a cell cost: as told, else its tokens at prices; None when nobody knows."""
        if key.is_told:
            return sums.usd
        if not sums.prompt and not sums.output:
            return None if sums.unknown or not sums.rows else 0.0
        rates = self.rates(key)
        return None if rates is None else sums.at(rates)

    def _listed(self, model: str, day: date, *, batch: bool) -> Rates | None:
        asked = (model, day, batch)
        if asked not in self._found:
            self._found[asked] = PriceList(day).rates_of(model, batch=batch)
        return self._found[asked]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Other prices: of a model, of batches, or a share of what was paid.

    Attributes:
        text: as asked.
        share: of the actual dollars, 0 or more; None for prices of a model or of batches.
    """

    text: str
    share: float | None = None

    @classmethod
    def parse(cls, text: str, pricing: Pricing) -> WhatIf:
        """MODEL, "batch" or "50%".

        Raises:
            JobError: no price is known for the model, or a share below 0.
        """
        if text.endswith("%"):
            try:
                share = float(text[:-1]) / 100
            except ValueError:
                share = -1.0
            if not 0 <= share < float("inf"):
                raise JobError(f"--what-if {text}: expected a share such as 50%")
            return cls(text, share)
        if text != BATCH and pricing.rates_of(text, _ANY) is None:
            raise JobError(
                f"--what-if {text}: no price is known for this model",
                hint=f'give one with --prices FILE: [prices."{text}"] with input = and output =',
            )
        return cls(text)

    def usd(self, key: Key, sums: Sums, pricing: Pricing) -> float | None:
        """What the cell would have cost; None when its tokens or the price are unknown."""
        if self.share is not None:
            told = pricing.usd(key, sums)
            return None if told is None else told * self.share
        if sums.unknown or (sums.usd > 0 and not sums.prompt and not sums.output):
            return None
        rates = pricing.rates(key, batch=True) if self.text == BATCH else pricing.rates_of(self.text, key)
        if rates is None:
            return None if sums.prompt or sums.output else 0.0
        return sums.at(rates)


_ANY = Key(Kind.ROWS)  # the base tier of any cell


def own_prices(path: Path | None) -> PriceTable:
    """The `[prices]` of a TOML file; a job file is one.

    Raises:
        JobError: it cannot be read, or a price is none.
    """
    if path is None:
        return PriceTable({})
    try:
        tables = tomllib.loads(path.read_text()).get("prices")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise JobError(f"{path} cannot be read as TOML: {err}") from err
    if not isinstance(tables, dict):
        raise JobError(f"{path} has no [prices]", hint='[prices."MODEL"] with input = and output =')
    return PriceTable({model: _rates(path, model, table) for model, table in tables.items()})


def _rates(path: Path, model: str, table: object) -> Rates:
    found = table if isinstance(table, dict) else {}
    numbers = {
        name: found.get(name) for name in ("input", "cached_input", "output") if found.get(name) is not None
    }
    if not {"input", "output"} <= numbers.keys() or not all(_is_number(each) for each in numbers.values()):
        raise JobError(f'{path} [prices."{model}"]: expected input and output, USD per million tokens')
    try:
        return Rates(numbers["input"], numbers.get("cached_input"), numbers["output"])  # type: ignore[arg-type]
    except ValueError as err:
        raise JobError(f'{path} [prices."{model}"]: {err}') from err


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
