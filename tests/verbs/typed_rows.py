"""Input rows of many types, as a Parquet table whose columns must come out of any verb as they went in."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.simulator.launch import Simulator

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)


def typed_table(rows: int, *, integer_ids: bool = False) -> pa.Table:
    """`rows` rows (at least 3) of every type that passes through; `text` differs in each; nulls in every third row."""

    def each(value: Any) -> list[Any]:
        return [None if number % 3 == 2 else value for number in range(rows)]

    columns: dict[str, pa.Array] = {
        "text": pa.array([f"thing {number}" for number in range(rows)]),
        "i8": pa.array(each(-5), pa.int8()),
        "u64": pa.array(each(2**64 - 1), pa.uint64()),
        "big": pa.array(each(2**53 + 1), pa.int64()),
        "f32": pa.array(each(0.1), pa.float32()),
        "nan": pa.array(each(float("nan")), pa.float64()),
        "flag": pa.array(each(True), pa.bool_()),
        "long": pa.array(each("é👋\x00z"), pa.large_string()),
        "colour": pa.array(each("red")).dictionary_encode(),
        "bytes": pa.array(each(b"\xff\x00"), pa.binary()),
        "day": pa.array(each(date(2026, 2, 28)), pa.date32()),
        "at": pa.array(each(NOON), pa.timestamp("us", "Europe/Berlin")),
        "at_ns": pa.array(each(1_763_800_000_123_456_789), pa.timestamp("ns")),
        "took": pa.array(each(1500), pa.duration("ms")),
        "price": pa.array(each(Decimal("12.3400")), pa.decimal128(12, 4)),
        "tags": pa.array(each(["a", None]), pa.list_(pa.string())),
        "place": pa.array(
            each({"x": 1, "to": {"y": "z"}}),
            pa.struct([("x", pa.int32()), ("to", pa.struct([("y", pa.string())]))]),
        ),
        "people": pa.array(
            each([{"name": "A", "n": 1}]), pa.list_(pa.struct([("name", pa.string()), ("n", pa.int64())]))
        ),
        "counts": pa.array(each([("k", 1)]), pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(rows),
    }  # fmt: skip
    if integer_ids:
        columns["custom_id"] = pa.array([7_000_000_000 + number for number in range(rows)], pa.int64())
    return pa.table(columns)


def write_typed(path: Path, rows: int, *, integer_ids: bool = False) -> Path:
    pq.write_table(typed_table(rows, integer_ids=integer_ids), path, row_group_size=max(1, rows // 2))
    return path


def inputs_of(output: Path, names: list[str]) -> pa.Table:
    """The input columns of an output, without the metadata that writers add."""
    return pq.read_table(output, columns=names).replace_schema_metadata(None)


def same_columns(output: Path, given: pa.Table) -> bool:
    """Whether the output's first columns are `given`'s, values and types (NaN is NaN)."""
    found = pq.read_table(output).select(list(range(given.num_columns)))
    if found.schema.names != given.schema.names or found.schema.types != given.schema.types:
        return False
    ours, theirs = found.to_pydict(), given.to_pydict()
    return repr(ours) == repr(theirs)


def rows_of(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return rows


def sent_to(at: Simulator) -> int:
    """Requests the simulator has received."""
    received: int = at.totals()["received"]
    return received
