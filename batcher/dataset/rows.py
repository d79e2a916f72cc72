"""Arrow slices into the Python rows that templates see: only the columns asked for, everything else stays
Arrow.

Must never let a value through that JSON has no word for: NaN and Infinity make the row a problem, as do
bytes that are not UTF-8. Dates and times become ISO 8601 (zoned timestamps in UTC), decimals their digits,
maps and structs dicts, JSON text the value it spells.
"""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from batcher.dataset.columns import is_json_text
from batcher.dataset.jsonline import load_text
from batcher.errors import DatasetError
from batcher.records import InputRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Bad: TypeAlias = dict[int, str]


def python_rows(
    batch: pa.RecordBatch,
    *,
    first_row: int,
    columns: frozenset[str],
    problems: Mapping[int, str],
    raw: frozenset[str] = frozenset(),
) -> list[InputRow]:
    """One `InputRow` per row, with the asked columns only.

    Args:
        batch: of a slice.
        first_row: row_index of its first row.
        columns: names that templates read.
        problems: row_index -> reason, of the slice; a value that cannot be decoded adds to them.
        raw: those of the columns whose binary values, nested ones too, are handed out as bytes.

    Raises:
        DatasetError: an asked column is absent, or there are several of that name.
    """
    names = [name for name in dict.fromkeys(batch.schema.names) if name in columns]
    _refuse_ambiguous(batch.schema, columns)
    bad: _Bad = {}
    lists = [
        _raw(batch.column(name), batch.schema.field(name), bad)
        if name in raw
        else _values(batch.column(name), batch.schema.field(name), bad)
        for name in names
    ]
    reasons = {first_row + at: reason for at, reason in bad.items()} | dict(problems)
    if len(names) == 1:
        name = names[0]
        rows = [{name: value} for value in lists[0]]
    elif names:
        rows = [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]
    else:
        rows = [{} for _ in range(batch.num_rows)]
    if not reasons:
        return [InputRow(row_index, row) for row_index, row in enumerate(rows, first_row)]
    return [InputRow(row_index, row, reasons.get(row_index)) for row_index, row in enumerate(rows, first_row)]


def _refuse_ambiguous(schema: pa.Schema, columns: frozenset[str]) -> None:
    for name in sorted(columns):
        count = schema.names.count(name)
        if count != 1:
            found = "no column" if not count else f"{count} columns"
            raise DatasetError(f"the input has {found} named {name!r}")


def _raw(column: pa.Array, field: pa.Field, bad: _Bad) -> list[object]:
    """The column as Python values, bytes as they are."""
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    if is_json_text(field):
        return _values(storage, field, bad)
    return list(storage.to_pylist())


def _values(column: pa.Array, field: pa.Field, bad: _Bad) -> list[object]:  # noqa: PLR0911 - a table of types
    """The column as Python values; one without a JSON form is None, and its position stands in `bad`."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return _values(
            column.dictionary_decode(), pa.field(field.name, type_.value_type, metadata=field.metadata), bad
        )
    if is_json_text(field):
        return _each(column.to_pylist(), load_text, field.name, bad)
    if pa.types.is_timestamp(type_):
        utc = column.cast(pa.timestamp(type_.unit, "UTC")) if type_.tz else column
        return [None if text is None else _iso(text) for text in utc.cast(pa.string()).to_pylist()]
    if pa.types.is_date(type_) or pa.types.is_time(type_):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_duration(type_):
        return list(column.cast(pa.int64()).to_pylist())
    values: list[object] = (
        column.to_pylist(maps_as_pydicts="lossy") if pa.types.is_nested(type_) else column.to_pylist()
    )
    if _is_plain(type_):
        return values
    return _each(values, _plain, field.name, bad)


def _each(values: list[object], decode: Callable[..., object], name: str, bad: _Bad) -> list[object]:
    decoded: list[object] = []
    for at, value in enumerate(values):
        try:
            decoded.append(None if value is None else decode(value))
        except ValueError as err:  # includes orjson's and Unicode's errors
            decoded.append(None)
            bad.setdefault(at, f"the column {name!r}: {err}")
    return decoded


def _is_plain(type_: pa.DataType) -> bool:
    """Whether `to_pylist` of the type gives only what JSON has words for."""
    if pa.types.is_struct(type_):
        return all(_is_plain(field.type) for field in type_)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return _is_plain(type_.value_type)
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_boolean(type_)
        or pa.types.is_null(type_)
    )


def _plain(value: object) -> object:  # noqa: PLR0911 - a table of types
    """A nested, binary, decimal or floating value in JSON's words. Raises ValueError if it has none."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a value that JSON has")
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    return value


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as err:
        raise ValueError(f"invalid UTF-8 at byte {err.start}") from err


def _iso(text: str) -> str:
    """Arrow's "2024-05-01 10:00:00.000000Z" as "2024-05-01T10:00:00Z"."""
    zone = "Z" if text.endswith("Z") else ""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    fraction = fraction.rstrip("0")
    return whole.replace(" ", "T", 1) + (f".{fraction}" if fraction else "") + zone
