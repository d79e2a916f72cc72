"""The type of every JSONL column, found by looking at every value once.

The lattice, per column: nothing but null -> null; only bools -> bool; only integers that fit -> int64;
numbers -> double; anything else that is scalar -> string, where strings stand as they are and other scalars
as their JSON text (true, 12, 1.5); only objects -> struct; everything else -> JSON text, marked by the field
metadata ``batcher.json``, where every value, strings too, is JSON.

Where a step up the lattice would change a value, it goes to string instead: bools among numbers (true is not
1), integers beyond 2^53 among floats, integers beyond int64. A struct is taken only when its fields are
scalars or such structs all the way down, at most `STRUCT_FIELDS` of them: objects used as maps, or holding
lists, are JSON text.

Fast because rows of one shape (the same keys in the same order with the same types) share one cache entry: a
row costs two tuples and a dictionary look-up, and only values that can still change the answer are looked
at. Memory is bounded by `SHAPES` and `COLUMNS`, never by rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import pyarrow as pa

from batcher.dataset.jsonline import INT64_MAX, INT64_MIN, Digits, Row
from batcher.dataset.scanned import JSON_TEXT_KEY, ColumnFact
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable

SHAPES: Final = 4_096  # cached row shapes; then they are counted out and forgotten
COLUMNS: Final = 10_000  # more different keys than this are not columns
STRUCT_FIELDS: Final = 256
STRUCT_DEPTH: Final = 16
EXACT_IN_DOUBLE: Final = 2**53


class Kind(IntFlag):
    """What a column has been seen to hold, besides null."""

    NOTHING = 0
    BOOL = 1
    INT = 2
    WIDE = 4  # an integer that a double cannot hold exactly, but int64 can
    HUGE = 8  # beyond int64
    FLOAT = 16
    TEXT = 32
    OBJECT = 64
    JSON = 128  # a list, or by decree
    ALWAYS_TEXT = 256  # by decree: plain text whatever comes


_KINDS: Final[dict[type, Kind]] = {
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.TEXT,
    dict: Kind.OBJECT,
    list: Kind.JSON,
    Digits: Kind.HUGE,
    type(None): Kind.NOTHING,
}
_ShapeKey: TypeAlias = tuple[tuple[str, ...], tuple[type, ...]]


@dataclass(slots=True)
class _Column:
    kinds: Kind = Kind.NOTHING
    non_null: int = 0
    usable: bool = False
    fields: Observer | None = None


@dataclass(slots=True)
class _Shape:
    count: int = 0
    ints: list[tuple[str, _Column]] = field(default_factory=list)
    objects: list[tuple[str, Observer]] = field(default_factory=list)
    unproven: list[tuple[str, _Column]] = field(default_factory=list)
    """Columns not yet known to be usable, whose values can be empty: strings, lists, objects."""
    is_flat: bool = True


class Observer:
    """Sees every row (or every object of one column) and answers with the columns' types.

    Attributes:
        is_flat: no value seen so far was a list or an object.
    """

    def __init__(self, *, depth: int = 0) -> None:
        self.is_flat = True
        self._depth = depth
        self._decreed: dict[str, Kind] = {}
        self._columns: dict[str, _Column] = {}
        self._shapes: dict[_ShapeKey, _Shape] = {}
        self._is_map = False

    def decree(self, name: str, kind: Kind) -> None:
        """Give a column, once it appears, a kind that its values alone would not: JSON text, or text."""
        self._decreed[name] = kind

    def observe(self, rows: Iterable[Row]) -> None:
        """Look at rows.

        Raises:
            DatasetError: more than `COLUMNS` different keys.
        """
        for row in rows:
            key = (tuple(row), tuple(map(type, row.values())))
            shape = self._shapes.get(key)
            if shape is None:
                if self._is_map:
                    return
                shape = self._new_shape(key)
            shape.count += 1
            if shape.unproven:
                self._prove(shape, row)
            if shape.ints:
                _widen(shape.ints, row)
            for name, fields in shape.objects:
                fields.observe((cast("Row", row[name]),))

    def schema(self) -> pa.Schema:
        """The columns in order of first appearance."""
        self._count_out()
        return pa.schema([_top_field(name, column) for name, column in self._columns.items()])

    def facts(self) -> tuple[ColumnFact, ...]:
        self._count_out()
        return tuple(ColumnFact(name, c.non_null, c.usable) for name, c in self._columns.items())

    def struct_type(self) -> pa.DataType | None:
        """These objects as a struct, or None when they are better JSON text."""
        if self._is_map or not self._columns:
            return None
        types = {name: _scalar_or_struct(column) for name, column in self._columns.items()}
        if None in types.values():
            return None
        return pa.struct([pa.field(name, type_) for name, type_ in types.items()])

    def _column(self, name: str) -> _Column:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = _Column(self._decreed.get(name, Kind.NOTHING))
        return column

    def _new_shape(self, key: _ShapeKey) -> _Shape:
        if len(self._shapes) >= SHAPES:
            self._count_out()
        shape = self._shapes[key] = _Shape()
        for name, type_ in zip(*key, strict=True):
            column = self._column(name)
            column.kinds |= _KINDS[type_]
            if type_ is int:
                shape.ints.append((name, column))
            if type_ is dict and not column.kinds & Kind.JSON and self._depth < STRUCT_DEPTH:
                column.fields = column.fields or Observer(depth=self._depth + 1)
                shape.objects.append((name, column.fields))
            if type_ in (str, list, dict) and not column.usable:
                shape.unproven.append((name, column))
            elif type_ is not type(None):
                column.usable = True
            self.is_flat = self.is_flat and type_ not in (list, dict)
        self._refuse_too_many()
        return shape

    def _refuse_too_many(self) -> None:
        if self._depth and len(self._columns) > STRUCT_FIELDS:
            self._is_map = True
            self._shapes.clear()
        if len(self._columns) > COLUMNS:
            raise DatasetError(
                f"the rows have more than {COLUMNS:,} different keys; keys are column names here",
                hint='put varying keys into one object, as {"id": …, "fields": {…}}',
            )

    def _prove(self, shape: _Shape, row: Row) -> None:
        for name, column in shape.unproven:
            if row[name]:
                column.usable = True
        shape.unproven = [(name, column) for name, column in shape.unproven if not column.usable]

    def _count_out(self) -> None:
        for (names, types), shape in self._shapes.items():
            for name, type_ in zip(names, types, strict=True):
                if type_ is not type(None):
                    self._columns[name].non_null += shape.count
        self._shapes.clear()


def _widen(ints: list[tuple[str, _Column]], row: Row) -> None:
    for name, column in ints:
        value = row[name]
        assert isinstance(value, int)
        if not -EXACT_IN_DOUBLE <= value <= EXACT_IN_DOUBLE:
            column.kinds |= Kind.WIDE if INT64_MIN <= value <= INT64_MAX else Kind.HUGE


def _top_field(name: str, column: _Column) -> pa.Field:
    type_ = _scalar_or_struct(column)
    if type_ is None:
        return pa.field(name, pa.string(), metadata={JSON_TEXT_KEY: b"1"})
    return pa.field(name, type_)


def _scalar_or_struct(column: _Column) -> pa.DataType | None:  # noqa: PLR0911 - the lattice, rung by rung
    """The Arrow type by the rules of the module docstring, None for JSON text."""
    kinds = column.kinds
    if kinds & Kind.ALWAYS_TEXT:
        return pa.string()
    if kinds & Kind.JSON:
        return None
    if kinds & Kind.OBJECT:
        fits = kinds == Kind.OBJECT and column.fields is not None
        return column.fields.struct_type() if fits and column.fields is not None else None
    if kinds == Kind.NOTHING:
        return pa.null()
    if kinds == Kind.BOOL:
        return pa.bool_()
    if not kinds & ~(Kind.INT | Kind.WIDE):
        return pa.int64()
    if not kinds & ~(Kind.INT | Kind.FLOAT):
        return pa.float64()
    return pa.string()
