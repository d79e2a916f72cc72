"""Parquet cells that pyarrow hands out unchecked: invalid UTF-8, values out of range, cells too large to
send.

Must never let one bad cell spoil a batch: it becomes null, and its row a problem. Good batches pay one
`validate`.
"""

from __future__ import annotations

import pyarrow as pa

CELL_LIMIT = 64 << 20
"""Bytes; no request with a larger cell could be sent anyway."""


def fitted(column: pa.Array, name: str, type_: pa.DataType, bad: dict[int, str]) -> pa.Array:
    """The column in the given type, its bad cells null.

    Args:
        column: as it was read.
        name: for messages.
        type_: of the scan, equal to the column's or wider.
        bad: position -> reason; gains the rows of bad cells, the first reason of a row stays.
    """
    reasons: dict[int, str] = {}
    if column.nbytes > CELL_LIMIT:
        for at in range(len(column)):
            size = column.slice(at, 1).nbytes
            if size > CELL_LIMIT:
                reasons[at] = (
                    f"the column {name!r} has a cell of {size:,} bytes, more than {CELL_LIMIT >> 20} MiB"
                )
        column = _nulled(column, reasons)
    try:
        return _in_type(column, type_)
    except pa.ArrowException:
        pass  # some cell is bad: find out which
    finally:
        _merge(reasons, bad)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    reasons = {}
    for at in range(len(column)):
        try:
            # Not slice: a sliced struct still validates all of its children.
            _in_type(column.take(pa.array([at], pa.int64())), type_)
        except pa.ArrowException as err:
            reasons[at] = f"the column {name!r} has a bad value: {_in_words(err)}"
    _merge(reasons, bad)
    try:
        return _in_type(_nulled(column, reasons), type_)
    except pa.ArrowException:  # a shared dictionary deep inside is bad: no row of this batch is safe
        _merge(dict.fromkeys(range(len(column)), f"the column {name!r} cannot be read"), bad)
        return pa.nulls(len(column), type_)


def _in_type(column: pa.Array, type_: pa.DataType) -> pa.Array:
    column.validate(full=True)
    if column.type.equals(type_):
        return column
    if pa.types.is_dictionary(type_) and not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.cast(type_)


def _nulled(column: pa.Array, reasons: dict[int, str]) -> pa.Array:
    if not reasons:
        return column
    return column.take(pa.array([None if at in reasons else at for at in range(len(column))], pa.int64()))


def _merge(reasons: dict[int, str], bad: dict[int, str]) -> None:
    for at, reason in reasons.items():
        bad.setdefault(at, reason)


def _in_words(err: Exception) -> str:
    text = str(err)
    return "invalid UTF-8" if "UTF8" in text or "UTF-8" in text else " ".join(text.split())[:200]
