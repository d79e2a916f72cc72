"""Whose price holds for a reply: the job's own, the gateway's word, the list."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from batcher.cost.book import MOST_REMEMBERED, PriceBook
from batcher.cost.library import PriceList
from batcher.cost.prices import Rates, Tier
from batcher.records import Cost, CostSource, Usage

OWN = Rates(input=1.0, cached_input=None, output=0.0)
LISTED = PriceList(date(2026, 11, 20))
MILLION = Usage(1_000_000, 0)
SAID = Usage(1_000_000, 0, cost_usd=0.125)


@dataclass(frozen=True)
class Counted(PriceList):
    """A list that remembers what it was asked."""

    today: date = date(2026, 11, 20)
    asked: list[str] = field(default_factory=list)

    def rates_of(self, model: str, *, batch: bool = False) -> Rates | None:
        self.asked.append(model)
        return OWN if model == "known" else None


def test_the_jobs_table_wins_over_the_gateway_and_the_gateway_over_the_list() -> None:
    book = PriceBook({"gpt-4o": OWN}, LISTED)
    assert book("gpt-4o", "gpt-4o-2024-08-06", SAID) == Cost(1.0, CostSource.PRICES)
    assert book("gpt-4.1", None, SAID) == Cost(0.125, CostSource.GATEWAY)
    assert book("gpt-4.1", None, MILLION) == Cost(2.0, CostSource.PRICES)
    assert book("openai/gpt-4.1", None, MILLION) == Cost(2.0, CostSource.PRICES)


def test_what_nobody_knows_has_no_cost() -> None:
    book = PriceBook({"own": OWN}, LISTED)
    assert book("m", "m-2", MILLION) is None
    assert book("own", None, Usage(None, 5)) is None
    assert book(None, None, MILLION) is None
    assert PriceBook()("gpt-4o", None, MILLION) is None


def test_the_gateway_speaks_for_usage_that_cannot_be_read() -> None:
    assert PriceBook({"own": OWN})("own", None, Usage(cost_usd=0.5)) == Cost(0.5, CostSource.GATEWAY)


def test_a_free_reply_costs_nothing_and_is_known() -> None:
    assert PriceBook(None, LISTED)("gpt-4o", None, Usage(9, 9, cost_usd=0.0)) == Cost(0.0, CostSource.GATEWAY)


def test_the_model_that_answered_is_priced_before_the_one_that_was_asked() -> None:
    found = PriceBook(None, LISTED).rates_for("gpt-4o-mini", "gpt-4o")
    assert found is not None
    assert found.input == 0.15


def test_a_name_is_looked_up_once_and_invented_names_do_not_fill_the_memory() -> None:
    counted = Counted()
    book = PriceBook(None, counted)
    for number in range(3 * MOST_REMEMBERED):
        assert book("known", f"invented-{number}", MILLION) is not None
        assert book("known", None, MILLION) is not None
    assert counted.asked.count("known") == 1
    assert len(counted.asked) == MOST_REMEMBERED


def test_a_budget_gets_rates_that_no_reply_exceeds() -> None:
    longer = Rates(input=6.0, cached_input=0.6, output=22.5, cache_write=7.5)
    rates = Rates(3.0, 0.3, 15.0, cache_write=3.75, reasoning=20.0, tiers=(Tier(200_000, longer),))
    worst = PriceBook({"m": rates}).worst_rates_for("m")
    assert worst == Rates(input=7.5, cached_input=None, output=22.5)
    assert PriceBook().worst_rates_for("m") is None


def test_the_version_names_the_list_and_tells_tables_apart() -> None:
    one, other = PriceBook({"m": OWN}, LISTED).version, PriceBook({"m": OWN.times(2)}, LISTED).version
    assert one != other
    assert one is not None
    assert one.endswith(LISTED.name)
    assert (PriceBook(None, LISTED).version, PriceBook().version) == (LISTED.name, None)
