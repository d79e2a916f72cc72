"""The ``pandas`` entry of the schema metadata: how pandas is to read each column.

Without it pandas reads a nullable integer as float64, which turns ids above 2**53 into other ids and counts
into ``12.0``. With it such columns are Int64. It also says that no column is an index, so a frame read from
the output has the columns of the file. The format is
https://pandas.pydata.org/docs/development/developer.html#storing-pandas-dataframe-objects-in-apache-parquet-format
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_INTEGERS = {
    pa.int8(): "Int8",
    pa.int16(): "Int16",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.uint8(): "UInt8",
    pa.uint16(): "UInt16",
    pa.uint32(): "UInt32",
    pa.uint64(): "UInt64",
}


def pandas_metadata(fields: Sequence[pa.Field], *, inputs: pa.Schema, never_null: Collection[str]) -> bytes:
    """The entry for an output.

    Args:
        fields: of the output: input columns, then ours.
        inputs: the input's schema; where its own ``pandas`` entry describes a column, that word stands.
        never_null: names of integer columns of ours that are plain integers.
    """
    known = _known(inputs)
    columns = [
        known.get(each.name) or _described(each, never_null=each.name in never_null, ours=_is_ours(each))
        for each in fields
    ]
    return orjson.dumps(
        {
            "index_columns": [],
            "column_indexes": [],
            "columns": columns,
            "creator": {"library": "batcher", "version": "1"},
            "pandas_version": "2.0.0",
        }
    )


def _is_ours(each: pa.Field) -> bool:
    return b"batcher.name" in (each.metadata or {})


def _known(inputs: pa.Schema) -> Mapping[str, object]:
    """Column name -> its description in the input's own ``pandas`` entry; empty when there is none to be
    read.
    """
    try:
        entry = orjson.loads((inputs.metadata or {}).get(b"pandas", b"null"))
    except orjson.JSONDecodeError:
        return {}
    listed = entry.get("columns") if isinstance(entry, dict) else None
    if not isinstance(listed, list):
        return {}
    described = (
        each for each in listed if isinstance(each, dict) and isinstance(each.get("numpy_type"), str)
    )
    return {each["name"]: each for each in described if isinstance(each.get("name"), str)}


def _described(each: pa.Field, *, never_null: bool, ours: bool) -> dict[str, object]:
    kind, extra = each.type, None
    if kind in _INTEGERS:
        pandas_type = _INTEGERS[kind].lower()
        numpy_type = pandas_type if never_null else _INTEGERS[kind]
    elif pa.types.is_boolean(kind) and ours:
        pandas_type, numpy_type = "bool", "boolean"
    elif pa.types.is_float64(kind):
        pandas_type, numpy_type = "float64", "Float64" if ours else "float64"
    elif pa.types.is_timestamp(kind) and kind.tz:
        pandas_type, numpy_type = "datetimetz", f"datetime64[{kind.unit}]"
        extra = {"timezone": kind.tz}
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        pandas_type, numpy_type = "unicode", "object"
    else:
        pandas_type, numpy_type = "object", "object"
    return {
        "name": each.name,
        "field_name": each.name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": extra,
    }
