"""What the tried rows say of all rows: tokens, dollars and time as 95 % intervals, and what changed since the last try.

The tried rows are a random sample of the input, so all rows are reckoned from them as `batcher.cost.estimate` says,
with every row's own weight: nothing is guessed but how tokens go with weights, and how long answers are. Inputs beyond
`MOST_WEIGHED` rows are weighed in slices spread over them, which is said. Nothing is sent here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.cost.estimate_tokens import prompt_tokens
from batcher.records import Request, Usage
from batcher.store.columns import from_batch, our_columns
from batcher.store.part import open_part
from batcher.verbs.estimate import weigh
from batcher.verbs.estimate_reckoning import Known, reckon
from batcher.verbs.estimate_rendering import rendered
from batcher.verbs.estimate_rows import Answered, answered_from
from batcher.verbs.report_comparison import comparison_of
from batcher.verbs.wiring import price_book

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from batcher.ports import RowSource
    from batcher.report import Summary
    from batcher.report.comparison import Agreement
    from batcher.verbs.estimate import Ground
    from batcher.verbs.estimate_reckoning import Reckoned

MOST_WEIGHED: Final = 50_000
_COLUMNS: Final = (
    "request_model", "response_model", "latency_ms",
    "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens",
)  # fmt: skip


class Outlook(NamedTuple):
    """What all rows will come to.

    Attributes:
        rows: usable ones, that is without those that are never sent.
        weighed: rows that were rendered for it.
        whole: all usable rows, those included that are tried.
        tried: rows it stands on.
    """

    rows: int
    weighed: int
    whole: Reckoned
    tried: int


def outlook(ground: Ground, tried: RowSource, part: Path, summary: Summary) -> Outlook:
    """Reckon all rows of a job from the tried ones.

    Args:
        ground: the job and its input.
        tried: the rows that were tried, in order.
        part: what they came to, in the same order.
        summary: of the try; how many requests were in flight at its end.
    """
    weighed = weigh(ground, most_rows=MOST_WEIGHED, is_whole=True)
    sample = [
        row or Answered(weight, Usage(0, 0), None, None, None)  # it failed, and cost nothing
        for weight, row in _sample(ground, tried, part)
    ]
    told = f"the {len(sample):,} tried rows"
    known = Known(sample, is_part=True, told=told, at_once=_at_once(summary))
    whole = reckon(ground.job, weighed, known, price_book(ground.job), whole=True)
    usable = round(weighed.to_send.requests * weighed.scale)
    return Outlook(usable, weighed.seen, whole, len(sample))


def changes_since(part: Path, earlier: Path | None) -> tuple[Agreement, ...]:
    """How far the answers agree with those of an earlier try, on the rows that both have; labels, else completions."""
    return comparison_of(part, earlier).agreements if earlier is not None else ()


def with_outlook(summary: Summary, found: Outlook, told: Mapping[str, object]) -> Summary:
    """The summary with what all rows come to, for `--json`."""
    return replace(summary, outlook={"rows": found.rows, "tried": found.tried, **told})


def _sample(ground: Ground, tried: RowSource, part: Path) -> Iterator[tuple[float, Answered | None]]:
    """(weight, usage) of each tried row that makes a request."""
    values = _values(part)
    for built in rendered(tried, ground.builder, rows=tried.rows):
        told = next(values)
        if isinstance(built, Request):
            weight = prompt_tokens(built.body)
            yield weight, answered_from(weight, told)


def _values(part: Path) -> Iterator[Mapping[str, object]]:
    with open_part(part) as file:
        schema: pa.Schema = file.schema_arrow
        ours = our_columns(schema)
        names: dict[str, str] = {name: schema.names[ours[name]] for name in _COLUMNS if name in ours}
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=list(names.values()), use_threads=False)
            at = {name: table.schema.get_field_index(column) for name, column in names.items()}
            yield from from_batch(table, at)


def _at_once(summary: Summary) -> int | None:
    """Requests in flight that the try came to; None where it sent none."""
    if not summary.sent:
        return None
    window = summary.flow.get("window")
    limit = window.get("limit") if isinstance(window, dict) else None
    return int(limit) if isinstance(limit, (int, float)) and limit >= 1 else None
