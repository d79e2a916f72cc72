"""Columns counted without being held: each counter takes one row group's column after the other, in Arrow's kernels.

Memory is bounded by the number of different values, which every counter caps, never by rows.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from batcher.report.findings import LabelColumn, LabelValue
from batcher.report.sketch import GROWTH, Sketch

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_DISTINCT: Final = 10_000
"""Different values of a label that are counted; further ones are only counted together."""
SHOWN_VALUES: Final = 20
_BIN: Final = math.log(GROWTH)


def counted(column: pa.ChunkedArray) -> Iterator[tuple[object, int]]:
    """Each different value of a column, null as None, and how often it stands there."""
    counts = pc.value_counts(column)
    yield from zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)


def measure(sketch: Sketch, column: pa.ChunkedArray) -> None:
    """Add a column of numbers; nulls, infinities, NaN and negative ones are left out."""
    numbers = column.cast(pa.float64())
    numbers = numbers.filter(pc.and_(pc.is_finite(numbers), pc.greater_equal(numbers, 0.0)))
    if len(numbers) == 0:
        return
    positive = numbers.filter(pc.greater(numbers, 0.0))
    bins = pc.floor(pc.divide(pc.ln(positive), _BIN)).cast(pa.int32())
    ends = pc.min_max(numbers).as_py()
    is_whole = pa.types.is_integer(column.type)
    sketch.add(
        {int(str(number)): count for number, count in counted(bins)},
        zeros=len(numbers) - len(positive),
        total=pc.sum(numbers).as_py(),
        least=ends["min"],
        most=ends["max"],
        whole={int(str(number)): count for number, count in counted(positive.cast(pa.int64()))}
        if is_whole
        else None,
    )


class LabelCounter:
    """One label column: how often each value stands there, and the spread of numbers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._values: Counter[object] = Counter()
        self._nulls = 0
        self._beyond = 0
        self._sketch = Sketch()
        self._is_number = False

    @staticmethod
    def can_count(type_: pa.DataType) -> bool:
        """Text, truth values and numbers; what is nested has no distribution."""
        return bool(
            pa.types.is_string(type_)
            or pa.types.is_large_string(type_)
            or pa.types.is_boolean(type_)
            or pa.types.is_integer(type_)
            or pa.types.is_floating(type_)
        )

    def add(self, column: pa.ChunkedArray) -> None:
        self._nulls += column.null_count
        for value, count in counted(column.drop_null()):
            if value in self._values or len(self._values) < MOST_DISTINCT:
                self._values[value] += count
            else:
                self._beyond += count
        if not pa.types.is_boolean(column.type) and not _is_text(column.type):
            self._is_number = True
            measure(self._sketch, column)

    def column(self) -> LabelColumn:
        # By number of rows, then by text, so that equal counts stand in the same order every time.
        ordered = sorted(self._values.items(), key=lambda item: (-item[1], label_text(item[0])))
        shown = tuple(LabelValue(label_text(value), rows) for value, rows in ordered[:SHOWN_VALUES])
        many = self._is_number and len(ordered) > SHOWN_VALUES
        return LabelColumn(
            name=self.name,
            counts=shown,
            distinct=len(ordered),
            is_capped=self._beyond > 0,
            rest=self._beyond + sum(rows for _, rows in ordered[SHOWN_VALUES:]),
            nulls=self._nulls,
            spread=self._sketch.distribution("number") if many else None,
        )


def label_text(value: object) -> str:
    """A label's value as people write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))
