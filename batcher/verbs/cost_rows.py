"""A usage file as cells of spending, in batches of rows and whole columns: no Python runs per row.

Parquet is read row group by row group and in slices of one, only the columns that say something, so memory depends
on neither rows nor row groups. JSON lines are parsed in blocks into the same columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from batcher.cost.cells import Cells, Key, Kind, Sums, add_cells
from batcher.errors import DatasetError, JobError
from batcher.verbs.cost_layout import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batcher.verbs.cost_layout import Layout

SLICE_ROWS = 131_072
"""Rows looked at together: 15 columns of 8 bytes are 16 MiB, and 76 slices make 10 million rows."""
JSON_BLOCK = 16 * 1024 * 1024
"""Bytes of JSON parsed together; no line may be longer."""
MOST_GROUPS = 100_000
"""Cells of one `cost`; more are no overview but the rows themselves, and would fill the memory."""

_ZERO = pa.scalar(0, pa.int64())
_SUMMED = ("rows", "prompt", "cached", "written", "output", "reasoning", "unknown", "usd")
_KEYS = ("run_id", "day", "request_model", "response_model", "outcome", "tier", "is_told")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What cells are told apart by, beside what prices need.

    Attributes:
        by: further columns.
        bounds: of tiers, ascending.
    """

    by: tuple[str, ...] = ()
    bounds: tuple[int, ...] = ()


def cells_of(path: Path, layout: Layout, wanted: Wanted) -> Cells:
    """Add up a file.

    Raises:
        DatasetError: it cannot be read to the end.
        JobError: more than `MOST_GROUPS` cells.
    """
    cells: Cells = {}
    try:
        for batch in _batches(path, layout):
            add_cells(cells, _cells_of_batch(batch, layout, wanted))
            if len(cells) > MOST_GROUPS:
                raise JobError(
                    f"{path} falls into more than {MOST_GROUPS:,} groups by {', '.join(wanted.by)}",
                    hint="choose another --by",
                )
    except (pa.ArrowException, OSError) as err:
        raise DatasetError(f"{path} cannot be read to the end: {err}") from err
    return cells


def schema_of(path: Path) -> pa.Schema | None:
    """The columns of a usage file; None when it is neither Parquet nor JSON lines. Raises OSError."""
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            try:
                return pq.read_schema(path)
            except pa.ArrowException as err:
                raise DatasetError(f"{path} is damaged: {err}") from err
    if not any(suffix in {".jsonl", ".ndjson", ".json"} for suffix in path.suffixes):
        return None
    try:
        with pj.open_json(
            pa.input_stream(path), read_options=pj.ReadOptions(block_size=JSON_BLOCK)
        ) as reader:
            return reader.schema
    except (pa.ArrowException, OSError):
        return None


def _batches(path: Path, layout: Layout) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    yield from _parquet(path, layout) if is_parquet else _json(path, layout)


def _parquet(path: Path, layout: Layout) -> Iterator[pa.RecordBatch]:
    columns = sorted({".".join(way) for way in layout.columns.values()})
    with pq.ParquetFile(path, pre_buffer=False, memory_map=False) as file:
        for number in range(file.metadata.num_row_groups):
            yield from file.iter_batches(SLICE_ROWS, row_groups=[number], columns=columns, use_threads=True)


def _json(path: Path, layout: Layout) -> Iterator[pa.RecordBatch]:
    """Only the columns that are wanted, with their types fixed: a later block must not find others."""
    kinds = _json_schema(path, layout)
    options = pj.ParseOptions(explicit_schema=kinds, unexpected_field_behavior="ignore")
    reading = pj.ReadOptions(block_size=JSON_BLOCK)
    with pj.open_json(pa.input_stream(path), read_options=reading, parse_options=options) as reader:
        yield from reader


_COUNTS = frozenset(
    {
        *(meaning for meaning in KNOWN if meaning.endswith(("_tokens", "_beside", "_attempts"))),
        "final_prompt",
        "final_completion",
    }
)


def _json_schema(path: Path, layout: Layout) -> pa.Schema:
    inferred = schema_of(path)
    assert inferred is not None, "a file without a schema has no layout"
    tree: dict[str, object] = {}
    for meaning, way in layout.columns.items():
        kind = inferred.field(way[0]).type
        for step in way[1:]:
            kind = kind.field(step).type
        if meaning in _COUNTS or meaning == "cost_usd":
            kind = pa.int64() if meaning in _COUNTS else pa.float64()
        elif pa.types.is_null(kind):
            kind = pa.string()
        here = tree
        for step in way[:-1]:
            here = here.setdefault(step, {})  # type: ignore[assignment]
        here[way[-1]] = kind
    return pa.schema(list(_fields(tree)))


def _fields(tree: Mapping[str, object]) -> Iterator[pa.Field]:
    for name, kind in tree.items():
        yield pa.field(name, pa.struct(list(_fields(kind))) if isinstance(kind, dict) else kind)


class _Columns:
    """A batch's columns by meaning; what is not there is null."""

    def __init__(self, batch: pa.RecordBatch, layout: Layout) -> None:
        self._batch = batch
        self._ways = layout.columns

    def __len__(self) -> int:
        rows: int = self._batch.num_rows
        return rows

    def find(self, meaning: str) -> pa.Array | None:
        way = self._ways.get(meaning)
        if way is None:
            return None
        column = self._batch.column(way[0])
        return column if len(way) == 1 else pc.struct_field(column, list(way[1:]))

    def counts(self, meaning: str) -> pa.Array:
        """Whole numbers, 0 or more; what is none is null."""
        column = self.find(meaning)
        if column is None:
            return pa.nulls(len(self), pa.int64())
        if not pa.types.is_int64(column.type):
            column = pc.cast(column, pa.int64(), safe=False)
        return pc.if_else(pc.greater_equal(column, _ZERO), column, None)

    def dollars(self) -> pa.Array:
        column = self.find("cost_usd")
        if column is None:
            return pa.nulls(len(self), pa.float64())
        column = pc.cast(column, pa.float64(), safe=False)
        return pc.if_else(pc.and_(pc.greater_equal(column, 0.0), pc.is_finite(column)), column, None)

    def texts(self, meaning: str) -> pa.Array:
        """Dictionary-encoded: grouping by integers takes a third of the time that texts take."""
        column = self.find(meaning)
        if column is None:
            return pa.nulls(len(self), pa.string())
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        return column if pa.types.is_string(column.type) else pc.cast(column, pa.string(), safe=False)

    def days(self) -> pa.Array:
        column = self.find("time")
        if column is None:
            return pa.nulls(len(self), pa.date32())
        return _days(column)


def _days(column: pa.Array) -> pa.Array:
    """The UTC day of times, dates, seconds or milliseconds since the epoch, or ISO texts; else null."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz not in (None, "UTC"):
            column = column.cast(pa.timestamp(kind.unit, "UTC"))
        return _floored(column.view(pa.int64()), {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit])
    if pa.types.is_date(kind):
        return pc.cast(column, pa.date32())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        seconds = pc.cast(column, pa.float64(), safe=False)
        seconds = pc.if_else(pc.greater(seconds, 1e11), pc.divide(seconds, 1e3), seconds)
        return _floored(pc.cast(pc.floor(seconds), pa.int64(), safe=False), 1)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        head = pc.utf8_slice_codeunits(column, 0, 10)
        return pc.cast(pc.strptime(head, "%Y-%m-%d", "s", error_is_null=True), pa.date32())
    return pa.nulls(len(column), pa.date32())


def _floored(instants: pa.Array, per_second: int) -> pa.Array:
    """Days of instants after 1970; pyarrow's own cast to a date refuses times that are no midnight."""
    return pc.cast(pc.divide(instants, 86_400 * per_second), pa.int32(), safe=False).view(pa.date32())


def _cells_of_batch(batch: pa.RecordBatch, layout: Layout, wanted: Wanted) -> Cells:
    columns = _Columns(batch, layout)
    usd = columns.dollars()
    values = _tokens(columns)
    is_paid = _is_paid(columns)
    is_counted = pc.and_(pc.is_valid(values["prompt"]), pc.is_valid(values["output"]))
    is_told = pc.is_valid(usd)
    if values["prompt"].null_count or values["output"].null_count:  # half a count has no price
        is_usable = pc.or_(is_told, is_counted)
        values = {name: pc.if_else(is_usable, column, _ZERO) for name, column in values.items()}
    values |= {
        "rows": pa.repeat(pa.scalar(1, pa.int64()), len(columns)),
        "unknown": pc.cast(pc.and_(is_paid, pc.invert(pc.or_(is_told, is_counted))), pa.int64()),
        "usd": pc.fill_null(usd, 0.0),
        "dearest": _per_attempt(columns, usd),
    }
    tier_prompt = (
        columns.counts("final_prompt") if columns.find("final_prompt") is not None else values["prompt"]
    )
    keys = {
        "run_id": columns.texts("run_id"),
        "day": columns.days(),
        "request_model": columns.texts("request_model"),
        "response_model": columns.texts("response_model"),
        "outcome": columns.texts("outcome"),
        "tier": _tiers(tier_prompt, wanted.bounds),
        "is_told": is_told,
    } | {f"by:{name}": columns.texts(f"by:{name}") for name in wanted.by}
    table = pa.table({**keys, **{name: _filled(column) for name, column in values.items()}})
    sums = [(name, "sum") for name in _SUMMED]
    grouped = table.group_by(list(keys), use_threads=False).aggregate([*sums, ("dearest", "max")])
    return dict(_cells(grouped.to_pydict(), wanted.by, is_batch=layout.is_batch))


def _cells(
    found: Mapping[str, Sequence[object]], by: tuple[str, ...], *, is_batch: bool
) -> Iterator[tuple[Key, Sums]]:
    names = [*_KEYS, *(f"by:{name}" for name in by)]
    keys = zip(*(found[name] for name in names), strict=True)
    sums = zip(*(found[f"{name}_sum"] for name in _SUMMED), found["dearest_max"], strict=True)
    for key, values in zip(keys, sums, strict=True):
        known = dict(zip(names, key, strict=True))
        further = tuple(known.pop(f"by:{name}") for name in by)
        yield Key(Kind.ROWS, **known, is_batch=is_batch, by=further), Sums(*values)


def _tokens(columns: _Columns) -> dict[str, pa.Array]:
    """Prompt, its parts, and output with the reasoning that a server counted beside it (see `cost.prices`)."""
    prompt, output = columns.counts("prompt_tokens"), columns.counts("completion_tokens")
    cached, written = columns.counts("cached_tokens"), columns.counts("cache_write_tokens")
    for meaning in ("cache_read_beside", "cache_write_beside"):
        if columns.find(meaning) is not None:
            beside = _filled(columns.counts(meaning))
            prompt = pc.add(prompt, beside)
            cached, written = (beside, written) if meaning == "cache_read_beside" else (cached, beside)
    cached = pc.min_element_wise(_filled(cached), _filled(prompt))
    written = pc.min_element_wise(_filled(written), pc.subtract(_filled(prompt), cached))
    reasoning = _filled(columns.counts("reasoning_tokens"))
    if columns.find("reasoning_tokens") is not None and columns.find("total_tokens") is not None:
        final = [
            columns.counts(kept) if columns.find(kept) is not None else sums
            for kept, sums in (("final_prompt", prompt), ("final_completion", output))
        ]
        whole = pc.add(pc.add(*final), reasoning)
        is_beside = pc.fill_null(pc.equal(columns.counts("total_tokens"), whole), fill_value=False)
        output = pc.if_else(pc.and_(is_beside, pc.greater(output, _ZERO)), pc.add(output, reasoning), output)
    reasoning = pc.min_element_wise(reasoning, _filled(output))
    return {"prompt": prompt, "cached": cached, "written": written, "output": output, "reasoning": reasoning}


def _is_paid(columns: _Columns) -> pa.Array:
    if columns.find("paid_attempts") is None:
        return pa.repeat(pa.scalar(value=True), len(columns))
    return pc.greater(_filled(columns.counts("paid_attempts")), _ZERO)


def _per_attempt(columns: _Columns, usd: pa.Array) -> pa.Array:
    if columns.find("paid_attempts") is None:
        return pc.fill_null(usd, 0.0)
    attempts = pc.max_element_wise(_filled(columns.counts("paid_attempts")), pa.scalar(1, pa.int64()))
    return pc.divide(pc.fill_null(usd, 0.0), pc.cast(attempts, pa.float64()))


def _tiers(prompt: pa.Array, bounds: Sequence[int]) -> pa.Array:
    tier = pa.repeat(pa.scalar(0, pa.int8()), len(prompt))
    known = _filled(prompt)
    most = pc.max(known).as_py() or 0
    for bound in bounds:
        if bound >= most:
            break
        tier = pc.add(tier, pc.cast(pc.greater(known, pa.scalar(bound, pa.int64())), pa.int8()))
    return tier


def _filled(column: pa.Array) -> pa.Array:
    return column if column.null_count == 0 else pc.fill_null(column, 0)
