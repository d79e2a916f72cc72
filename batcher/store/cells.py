"""Python values to Arrow cells and back, strictly: what does not fit raises, it is never rounded or cut.

pyarrow alone is not strict: ``pa.array([10.5], int64())`` is 10, ``pa.array([True], float64())`` is 1.0. So
exact types are looked at first (30 ns per cell), and pyarrow's own converters do the rest.
"""

from __future__ import annotations

import math
from types import NoneType
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

_MICROSECONDS = 1_000_000


class CellError(TypeError):
    """A value is not of its column's type; a bug in whoever made it."""


def array_of(cells: Sequence[object], kind: pa.DataType, *, name: str, saturates: bool = False) -> pa.Array:
    """Cells of one column as an Arrow array.

    Args:
        cells: str for text; int for integers; bool for bool; int or float for numbers (not finite becomes
            null) and for timestamps (seconds since the epoch, rounded to microseconds); for a list or struct
            what it holds, converted already; None is null.
        kind: string, large_string, an integer, a float, bool, timestamp[us], a list or a struct.
        name: for the message.
        saturates: an integer beyond the type becomes the type's bound.

    Raises:
        CellError: naming the column and the position, never the value (it may be a prompt).
    """
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text(_checked(cells, str, name), kind)
    if pa.types.is_integer(kind):
        return _integers(_checked(cells, int, name), kind, name=name, saturates=saturates)
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        return _exactly(cells, kind, name)
    numbers = _numbers(cells, name)
    if pa.types.is_timestamp(kind):
        return pa.array([_microseconds(each) for each in numbers], type=kind)
    array = pa.array(numbers, type=kind)
    finite = pc.is_finite(array)
    return array if pc.all(finite, min_count=0).as_py() else pc.if_else(finite, array, None)


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None or not math.isfinite(seconds) else round(seconds * _MICROSECONDS)


def list_of(column: pa.Array | pa.ChunkedArray) -> list[object]:
    """The cells of a column as Python values that `array_of` takes; timestamps (microseconds) become
    seconds.
    """
    if not pa.types.is_timestamp(column.type):
        cells: list[object] = column.to_pylist()
        return cells
    return [
        None if each is None else each / _MICROSECONDS for each in pc.cast(column, pa.int64()).to_pylist()
    ]


def _checked(cells: Sequence[object], wanted: type, name: str) -> Sequence[object]:
    """The cells, all None or of the wanted type (subclasses count, but bool is no int)."""
    if set(map(type, cells)) <= {wanted, NoneType}:
        return cells
    for position, cell in enumerate(cells):
        if cell is not None and (not isinstance(cell, wanted) or isinstance(cell, bool)):
            raise CellError(
                f"column {name!r}, cell {position}: expected {wanted.__name__} or None, "
                f"found {type(cell).__name__}"
            )
    return cells


def _exactly(cells: Sequence[object], kind: pa.DataType, name: str) -> pa.Array:
    """Truth values, lists and structs, as pyarrow takes them."""
    try:
        return pa.array(cells, type=kind)
    except (pa.ArrowException, TypeError) as err:
        raise CellError(f"column {name!r}: a value is not of type {kind}") from err


def _text(cells: Sequence[object], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(cells, type=kind)
    except UnicodeEncodeError:
        return pa.array([None if each is None else mended(str(each)) for each in cells], type=kind)


def mended(text: str) -> str:
    """Text without lone surrogates, which UTF-8 cannot hold: pairs are joined, single ones become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _integers(cells: Sequence[object], kind: pa.DataType, *, name: str, saturates: bool) -> pa.Array:
    try:
        return pa.array(cells, type=kind)
    except (pa.ArrowInvalid, OverflowError) as err:
        if not saturates:
            raise CellError(f"column {name!r}: an integer is too large for {kind}") from err
    top = (1 << (kind.bit_width - 1)) - 1
    clamped = [max(-top - 1, min(top, each)) if isinstance(each, int) else None for each in cells]
    return pa.array(clamped, type=kind)


def _numbers(cells: Sequence[object], name: str) -> Sequence[float | None]:
    """Floats or None. (An int beyond 2**53 loses digits here, as any float of that size has lost them.)"""
    if set(map(type, cells)) <= {float, NoneType}:
        return cast("Sequence[float | None]", cells)
    numbers: list[float | None] = []
    for position, cell in enumerate(cells):
        if cell is not None and (not isinstance(cell, (int, float)) or isinstance(cell, bool)):
            raise CellError(
                f"column {name!r}, cell {position}: expected a number or None, found {type(cell).__name__}"
            )
        numbers.append(None if cell is None else float(cell))
    return numbers
