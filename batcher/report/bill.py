"""What was spent, as values: one JSON object for machines, and what `bill_words` words for people.

Dollars are None where nobody knows them, never 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Spending:
    """Of one group, or of all.

    Attributes:
        by: name -> value; None is unknown. Empty for the total.
        rows, ok_rows: of files; `ok_rows` None where no file says what became of its rows.
        prompt_tokens, cached_tokens, completion_tokens: billed; cached is a part of prompt.
        cost_usd: known dollars; None when there are none and something is unknown.
        unknown_rows: rows, or sessions, that were paid and have no known cost.
        what_if_usd: the same tokens at other prices; None when not asked or unknown.
    """

    by: Mapping[str, str | None]
    rows: int
    ok_rows: int | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float | None
    unknown_rows: int
    what_if_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Apart:
    """Parts of the total that bought no `ok` row of a file, and what stands outside of it.

    Attributes:
        not_ok_usd: rows with another outcome.
        tries_usd, tries: sessions of `try`.
        stopped_usd, stopped: runs without a file among those given.
        beyond_rows_usd: what runs spent beyond the rows of their files.
        possibly_paid: attempts whose payment is unknown and whose answer is lost; not in any sum.
        possibly_paid_usd: those at the price of the dearest attempt known; None without one.
    """

    not_ok_usd: float = 0.0
    tries_usd: float = 0.0
    tries: int = 0
    stopped_usd: float = 0.0
    stopped: int = 0
    beyond_rows_usd: float = 0.0
    possibly_paid: int = 0
    possibly_paid_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The month at its end, if every day left costs what the days so far did on average; days as ISO text."""

    month: str
    usd: float
    spent_usd: float
    per_day_usd: float
    first_day: str
    days_so_far: int
    days_left: int


@dataclass(frozen=True, slots=True)
class Bill:
    """Everything `cost` tells.

    Attributes:
        files, ledgers: that were read.
        first_day, last_day: of spending, ISO, UTC; None when no day is known.
        prices: the price list's name, and since when its newest price holds.
        groups: dearest first, or by day.
        ok_usd: cost of rows that are ok.
        per_thousand_ok_usd: everything that was spent for 1,000 ok rows.
        saved_by_cache_usd: against the same prompts uncached, as far as prices are known.
        unpriced_models: models that were paid for and have no price.
        what_if: the other prices asked for.
        what_if_missing: models or rows for which they say nothing.
        is_simulated: nothing was really paid.
        notes: what else a reader must know.
    """

    files: int
    ledgers: int
    first_day: str | None
    last_day: str | None
    prices: str
    groups: tuple[Spending, ...]
    total: Spending
    apart: Apart
    per_thousand_ok_usd: float | None
    saved_by_cache_usd: float
    unpriced_models: tuple[str, ...] = ()
    month: str | None = None
    what_if: str | None = None
    what_if_missing: tuple[str, ...] = ()
    outlook: Outlook | None = None
    max_usd: float | None = None
    is_simulated: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def is_over(self) -> bool:
        """Whether more was spent than `max_usd` allows."""
        return self.max_usd is not None and (self.total.cost_usd or 0.0) > self.max_usd

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "is_over": self.is_over}
