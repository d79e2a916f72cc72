"""Rows of JSONL into Arrow columns of the scanned types, and the check that the columns a job reads are
there.

Must never guess: the types come from the scan, which saw every value, so what does not fit is a bug and
raises.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import pyarrow as pa

from batcher.dataset.jsonline import DUMP_DEPTH_LIMIT, dump_text, scalar_text
from batcher.dataset.scanned import JSON_TEXT_KEY
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.dataset.jsonline import Row
    from batcher.dataset.scanned import Scan


def is_json_text(field: pa.Field) -> bool:
    """Whether every value of the column is JSON text."""
    return bool(field.metadata) and JSON_TEXT_KEY in field.metadata


def record_batch(rows: list[Row], schema: pa.Schema, problems: dict[int, str]) -> pa.RecordBatch:
    """Rows as Arrow; a missing key is null.

    Args:
        rows: one dict per row.
        schema: of the scan.
        problems: position -> reason; gains the rows whose JSON is nested too deep to be written again.
    """
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if is_json_text(field):
            arrays.append(pa.array(_json_texts(values, field.name, problems), field.type))
        else:
            arrays.append(_array(values, field.type))
    if not arrays:  # no column at all: the row count would be lost
        return pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def check_columns(scan: Scan, used: Iterable[str]) -> None:
    """Make sure that every column a job reads is there and holds something.

    Raises:
        DatasetError: naming the first that is absent, ambiguous, or null or empty in every row.
    """
    names = scan.schema.names
    facts = {fact.name: fact for fact in scan.columns}
    for name in sorted(set(used)):
        if name not in names:
            raise DatasetError(
                f"the input has no column {name!r}; it has {_listed(names)}", hint=_did_you_mean(name, names)
            )
        if names.count(name) > 1:
            raise DatasetError(
                f"the input has {names.count(name)} columns named {name!r}, so it is unclear which to read"
            )
        fact = facts.get(name)
        is_void = pa.types.is_null(scan.schema.field(name).type) or (fact is not None and not fact.usable)
        if scan.rows and is_void:
            raise DatasetError(
                f"the column {name!r} is null or empty in all {scan.rows:,} rows; "
                f"the columns are {_listed(names)}"
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:50])
    return f"{shown} and {len(names) - 50} more" if len(names) > 50 else shown or "no columns"


def _did_you_mean(name: str, names: list[str]) -> str | None:
    folded = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"did you mean {folded[close[0]]!r}? Names are case-sensitive." if close else None


def _json_texts(values: list[object], name: str, problems: dict[int, str]) -> list[bytes | None]:
    texts: list[bytes | None] = []
    for at, value in enumerate(values):
        try:
            texts.append(None if value is None else dump_text(value))
        except TypeError:  # orjson's word for too deep; every other type came out of a JSON parser
            texts.append(None)
            problems[at] = f"the column {name!r} is nested deeper than {DUMP_DEPTH_LIMIT} levels"
    return texts


def _array(values: list[object], type_: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type_)
    except pa.ArrowTypeError:
        return pa.array([_as_text(value, type_) for value in values], type_)


def _as_text(value: object, type_: pa.DataType) -> object:
    """The value with every scalar that lands in a string column as its JSON text, inside structs too."""
    if pa.types.is_string(type_):
        return scalar_text(value)
    if isinstance(value, dict):
        return {field.name: _as_text(value.get(field.name), field.type) for field in type_}
    return value
