"""Looking at a published output: what is not ok and why, and what repeated attempts cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.compute as pc

from batcher.records import CostSource, Outcome, Usage
from batcher.store.columns import from_batch, our_columns
from batcher.store.part import open_part

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from batcher.records import PriceUsd

_REASON = ("outcome", "error_type", "error_code", "error_message")
_MONEY = (
    "request_model",
    "response_model",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "billed_prompt_tokens",
    "billed_completion_tokens",
    "paid_attempts",
    "cost_usd",
    "cost_source",
)


class Group(NamedTuple):
    """Rows that are not ok for one reason; `example` is one of their messages."""

    outcome: str
    error_type: str | None
    error_code: str | None
    rows: int
    example: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What stands in an output.

    Attributes:
        groups: largest first.
        repeated_cost_usd: spent on attempts that did not become the row's answer; None when no price is known.
        unpriced_model: one model that was paid for and has no price, or None.
    """

    groups: tuple[Group, ...]
    repeated_cost_usd: float | None
    unpriced_model: str | None


def survey(path: Path, price: PriceUsd) -> Survey:
    """Read an output of ours. Raises StorageError through its caller's guard, pyarrow errors if it is damaged."""
    counts: Counter[tuple[str, str | None, str | None]] = Counter()
    examples: dict[tuple[str, str | None, str | None], str] = {}
    repeated: float | None = None
    unpriced: str | None = None
    with open_part(path) as file:
        at = our_columns(file.schema_arrow)
        names = {name: file.schema_arrow.names[at[name]] for name in {*_REASON, *_MONEY}}
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=list(names.values()), use_threads=False)
            for row in _rows(table, names, pc.not_equal(table.column(names["outcome"]), Outcome.OK.value)):
                key = (str(row["outcome"]), _text(row, "error_type"), _text(row, "error_code"))
                counts[key] += 1
                examples.setdefault(key, _text(row, "error_message") or "")
            paid = pc.fill_null(pc.greater(table.column(names["paid_attempts"]), 0), fill_value=False)
            if repeated is None and pc.any(pc.is_valid(table.column(names["cost_usd"]))).as_py():
                repeated = 0.0
            more = pc.fill_null(pc.greater(table.column(names["paid_attempts"]), 1), fill_value=False)
            for row in _rows(table, names, more):
                repeated = (repeated or 0.0) + _repeated(row, price)
            if unpriced is None:
                without = pc.and_(paid, pc.is_null(table.column(names["cost_usd"])))
                unpriced = next((_text(row, "request_model") for row in _rows(table, names, without)), None)
    groups = (Group(*key, rows=rows, example=examples[key]) for key, rows in counts.most_common())
    return Survey(tuple(groups), repeated, unpriced)


def _rows(table: pa.Table, names: Mapping[str, str], mask: pa.ChunkedArray) -> list[dict[str, object]]:
    chosen = table.filter(mask)
    return from_batch(chosen, {name: chosen.schema.get_field_index(column) for name, column in names.items()})


def _repeated(row: Mapping[str, object], price: PriceUsd) -> float:
    """What the row's other attempts cost; a gateway's word for the last one is lost, so it has its part by tokens."""
    spent = row.get("cost_usd")
    if not isinstance(spent, float):
        return 0.0
    usage = Usage(
        prompt_tokens=_count(row, "prompt_tokens"),
        completion_tokens=_count(row, "completion_tokens"),
        total_tokens=_count(row, "total_tokens"),
        cached_tokens=_count(row, "cached_tokens"),
        reasoning_tokens=_count(row, "reasoning_tokens"),
    )
    if row.get("cost_source") == CostSource.GATEWAY.value:
        last = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        billed = (_count(row, "billed_prompt_tokens") or 0) + (_count(row, "billed_completion_tokens") or 0)
        return spent * max(0.0, 1 - last / billed) if billed else 0.0
    final = price(_text(row, "request_model"), _text(row, "response_model"), usage)
    return max(0.0, spent - (final or 0.0))


def _text(row: Mapping[str, object], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _count(row: Mapping[str, object], name: str) -> int | None:
    value = row.get(name)
    return value if isinstance(value, int) else None
