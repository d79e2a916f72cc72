"""Two outputs held against each other: outcomes, cost, and how far their labels agree.

Rows are matched by position where both files hold the same rows in the same order, in one pass over both that holds a
slice of each. Where they do not (other rows, another order), they are joined by ``custom_id``, or else by
``row_index``; that holds the compared columns of both files in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batcher.errors import StorageError
from batcher.report.comparison import Agreement, Comparison, Pair
from batcher.store.columns import our_columns
from batcher.store.output_rows import OutputRows
from batcher.store.part import open_part
from batcher.verbs.report import findings_of
from batcher.verbs.report_counts import label_text
from batcher.verbs.report_rows import label_columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLICE_ROWS: Final = 8_192
SHOWN_PAIRS: Final = 12
MOST_PAIRS: Final = 100_000
"""Different pairs of one column's values that are counted; agreement is counted beyond it as well."""
_WHERE: Final = ("row_index", "custom_id")


def comparison_of(out: Path, other: Path, *, state: Path | None = None) -> Comparison:
    """Compare two outputs.

    Raises:
        JobError: one of them is no output of ours.
        StorageError: one of them is damaged.
    """
    left, right = findings_of(out, state=state), findings_of(other, state=state)
    try:
        columns = _columns(out, other)
        matched = _by_position(out, other, columns) or _joined(out, other, columns)
    except (OSError, pa.ArrowException) as err:
        raise StorageError(f"{out} or {other} is damaged: {err}") from err
    outcomes, agreements = matched.counts["outcome"], list(matched.counts.items())[1:]
    return Comparison(
        left=left,
        right=right,
        matched_by=matched.key,
        matched=matched.rows,
        only_left=left.rows - matched.rows,
        only_right=right.rows - matched.rows,
        outcomes=outcomes.shown(different=False),
        agreements=tuple(counts.agreement(name) for name, counts in agreements),
    )


class _Columns(NamedTuple):
    """What is compared: (name, column in the left file, column in the right one), `outcome` first."""

    compared: tuple[tuple[str, str, str], ...]
    has_ids: bool


def _columns(out: Path, other: Path) -> _Columns:
    with open_part(out) as one, open_part(other) as two:
        schemas = one.schema_arrow, two.schema_arrow
    at = [our_columns(schema) for schema in schemas]
    labels = [label_columns(schema) for schema in schemas]
    shared = [name for name in labels[0] if name in labels[1]] or ["completion"]
    return _Columns(
        tuple(
            (name, schemas[0].names[at[0][name]], schemas[1].names[at[1][name]])
            for name in ("outcome", *shared)
        ),
        has_ids=all("custom_id" in names for names in at),
    )


@dataclass(slots=True)
class _Counts:
    """Pairs of values of one column."""

    pairs: Counter[tuple[object, object]] = field(default_factory=Counter)
    compared: int = 0
    equal: int = 0
    is_capped: bool = False

    def add(self, left: pa.ChunkedArray, right: pa.ChunkedArray) -> None:
        grouped = (
            pa.table({"left": left, "right": right})
            .group_by(["left", "right"], use_threads=False)
            .aggregate([([], "count_all")])
        )
        for row in grouped.to_pylist():
            mine, theirs, rows = row["left"], row["right"], row["count_all"]
            if mine is not None and theirs is not None:
                self.compared += rows
                self.equal += rows if _same(mine, theirs) else 0
            if (mine, theirs) in self.pairs or len(self.pairs) < MOST_PAIRS:
                self.pairs[mine, theirs] += rows
            else:
                self.is_capped = True

    def shown(self, *, different: bool) -> tuple[Pair, ...]:
        """The most frequent pairs, or only those that differ."""
        told = (
            Pair(_told(mine), _told(theirs), rows)
            for (mine, theirs), rows in self.pairs.items()
            if not (different and _same(mine, theirs))
        )
        return tuple(sorted(told, key=lambda pair: (-pair.rows, str(pair)))[:SHOWN_PAIRS])

    def agreement(self, name: str) -> Agreement:
        is_text = name == "completion"
        return Agreement(
            name=name,
            compared=self.compared,
            equal=self.equal,
            kappa=None if self.is_capped or is_text else self._kappa(),
            pairs=() if is_text else self.shown(different=True),
        )

    def _kappa(self) -> float | None:
        """Cohen's kappa over rows where both have a value: (observed - by chance) / (1 - by chance)."""
        mine: Counter[str] = Counter()
        theirs: Counter[str] = Counter()
        for (left, right), rows in self.pairs.items():
            if left is not None and right is not None:
                mine[label_text(left)] += rows
                theirs[label_text(right)] += rows
        if not self.compared:
            return None
        chance = sum(rows * theirs[value] for value, rows in mine.items()) / self.compared**2
        return (self.equal / self.compared - chance) / (1 - chance) if chance < 1 else None


def _same(left: object, right: object) -> bool:
    return left == right or (left is not None and right is not None and label_text(left) == label_text(right))


def _told(value: object) -> str | None:
    return None if value is None else label_text(value)


@dataclass(slots=True)
class _Matched:
    """Rows that stand in both, column by column."""

    key: str
    counts: dict[str, _Counts]
    rows: int = 0

    @classmethod
    def of(cls, key: str, columns: _Columns) -> _Matched:
        return cls(key, {name: _Counts() for name, _, _ in columns.compared})

    def add(self, left: pa.Table, right: pa.Table) -> None:
        self.rows += left.num_rows
        for name, counts in self.counts.items():
            if name == "completion":
                _add_texts(counts, left.column(name), right.column(name))
            else:
                counts.add(left.column(name), right.column(name))


def _add_texts(counts: _Counts, left: pa.ChunkedArray, right: pa.ChunkedArray) -> None:
    """Long texts are equal or not; no pairs of them are kept."""
    same = pc.equal(left.cast(pa.large_string()), right.cast(pa.large_string()))
    counts.compared += len(same) - same.null_count
    counts.equal += pc.sum(same).as_py() or 0


def _by_position(out: Path, other: Path, columns: _Columns) -> _Matched | None:
    """None when the files do not hold the same rows in the same order."""
    matched = _Matched.of("row_index", columns)
    for left, right in zip(_slices(out, columns, 0), _slices(other, columns, 1), strict=False):
        rows = min(left.num_rows, right.num_rows)
        pair = left.slice(0, rows), right.slice(0, rows)
        for name in _WHERE if columns.has_ids else _WHERE[:1]:
            if not pair[0].column(name).equals(pair[1].column(name)):
                return None
        matched.add(*pair)
    return matched


def _slices(path: Path, columns: _Columns, side: int) -> Iterator[pa.Table]:
    """The compared columns under their own names, slice by slice."""
    with open_part(path) as file:
        names, rows = _names(file.schema_arrow, columns, side), file.metadata.num_rows
    reader = OutputRows(path, columns=list(names.values()))
    for first in range(0, rows, SLICE_ROWS):
        table = reader.table(first, min(SLICE_ROWS, rows - first))
        yield table.select(list(names.values())).rename_columns(list(names)).combine_chunks()


def _names(schema: pa.Schema, columns: _Columns, side: int) -> dict[str, str]:
    at = our_columns(schema)
    where = _WHERE if columns.has_ids else _WHERE[:1]
    found = {name: schema.names[at[name]] for name in where}
    return found | {each[0]: each[1 + side] for each in columns.compared}


def _joined(out: Path, other: Path, columns: _Columns) -> _Matched:
    sides = [
        pa.concat_tables(_slices(path, columns, side)) if open_rows(path) else _empty(path, columns, side)
        for side, path in enumerate((out, other))
    ]
    key = "custom_id" if columns.has_ids and all(_is_key(each.column("custom_id")) for each in sides) else ""
    key = key or "row_index"
    matched = _Matched.of(key, columns)
    places = [
        pa.table({"key": each.column(key), f"at{side}": pa.array(range(each.num_rows), pa.int64())})
        for side, each in enumerate(sides)
    ]
    both = places[0].join(places[1], keys="key", join_type="inner", use_threads=False)
    for first in range(0, both.num_rows, SLICE_ROWS):
        piece = both.slice(first, SLICE_ROWS)
        matched.add(sides[0].take(piece.column("at0")), sides[1].take(piece.column("at1")))
    return matched


def open_rows(path: Path) -> int:
    """Rows of a file."""
    with open_part(path) as file:
        return int(file.metadata.num_rows)


def _empty(path: Path, columns: _Columns, side: int) -> pa.Table:
    with open_part(path) as file:
        names, table = _names(file.schema_arrow, columns, side), file.schema_arrow.empty_table()
    return table.select(list(names.values())).rename_columns(list(names))


def _is_key(ids: pa.ChunkedArray) -> bool:
    """Whether every row has an id of its own."""
    return bool(ids.null_count == 0 and pc.count_distinct(ids).as_py() == len(ids))
