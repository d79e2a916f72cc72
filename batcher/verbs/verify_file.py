"""An output held against itself: every page decoded, every row in its place, sums added up. One row group in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from batcher.records import Outcome
from batcher.store.columns import our_columns
from batcher.store.part import Totals, row_groups
from batcher.verbs.verification import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OUTCOMES = frozenset(Outcome)
_NOT_MORE = (("cached_tokens", "prompt_tokens"), ("reasoning_tokens", "completion_tokens"))
"""Counts of a part and of its whole."""


@dataclass(slots=True)
class FileAudit:
    """What one pass over the file found.

    Attributes:
        rows: read so far.
        misplaced: rows whose row_index is not their place; `first_misplaced` the first of them.
        repeated: rows whose row_index is not above that of the row before.
        strangers: rows that say they are another run's.
        odd_usage: rows whose tokens do not add up, by what is odd.
        damage: why the file could not be read to its end, or None.
    """

    run_id: str
    rows: int = 0
    totals: Totals = field(default_factory=Totals)
    misplaced: int = 0
    first_misplaced: int | None = None
    repeated: int = 0
    strangers: int = 0
    odd_usage: dict[str, int] = field(default_factory=dict)
    damage: str | None = None
    _last: int = -1

    def read(self, path: Path) -> None:
        """Read the whole file; what cannot be read is told in `damage`."""
        try:
            for table in row_groups(path):
                self._add(table)
        except (OSError, pa.ArrowException) as err:
            self.damage = f"unreadable after row {self.rows:,}: {err}"

    def _add(self, table: pa.Table) -> None:
        at = our_columns(table.schema)
        self._count_places(table.column(at["row_index"]).combine_chunks())
        same = pc.fill_null(pc.equal(table.column(at["run_id"]), self.run_id), fill_value=False)
        self.strangers += table.num_rows - (pc.sum(same).as_py() or 0)
        self._count_usage(table, at)
        self.totals += Totals.of(table)
        self.rows += table.num_rows

    def _count_places(self, column: pa.Array) -> None:
        wanted = pa.array(range(self.rows, self.rows + len(column)), pa.int64())
        fits = pc.fill_null(pc.equal(column, wanted), fill_value=False)
        wrong = len(column) - (pc.sum(fits).as_py() or 0)
        if wrong and self.first_misplaced is None:
            self.first_misplaced = self.rows + pc.index(fits, pa.scalar(value=False)).as_py()
        self.misplaced += wrong
        for place in column.drop_null().to_pylist() if wrong else ():
            self.repeated += place <= self._last
            self._last = place
        if not wrong and len(column):
            self._last = column[-1].as_py()

    def _count_usage(self, table: pa.Table, at: Mapping[str, int]) -> None:
        tokens = {name: table.column(index) for name, index in at.items() if name.endswith("_tokens")}
        whole = pc.add(tokens["prompt_tokens"], tokens["completion_tokens"])
        self._note("total_tokens is not prompt + completion", pc.not_equal(tokens["total_tokens"], whole))
        for part, of in _NOT_MORE:
            self._note(f"{part} above {of}", pc.greater(tokens[part], tokens[of]))

    def _note(self, what: str, rows: pa.ChunkedArray) -> None:
        count = pc.sum(rows).as_py() or 0
        if count:
            self.odd_usage[what] = self.odd_usage.get(what, 0) + count

    def checks(self) -> list[Check]:
        """What the file says about itself."""
        found = [_judged("pages", self.damage, f"{self.rows:,} rows read, every page as its checksum says")]
        if self.damage is not None:
            return found
        order = None
        if self.misplaced:
            order = (
                f"{self.misplaced:,} rows are not in their place, {self.repeated:,} of them twice or backwards,"
                f" the first at row {self.first_misplaced:,}"
            )
        found.append(_judged("order", order, "row_index counts up from 0, none missing, none twice"))
        strangers = f"{self.strangers:,} rows are not of run {self.run_id}" if self.strangers else None
        found.append(_judged("run_id", strangers, f"every row is of run {self.run_id}"))
        unknown = sorted(set(self.totals.outcomes) - _OUTCOMES)
        counts = " · ".join(f"{name} {rows:,}" for name, rows in sorted(self.totals.outcomes.items()))
        found.append(
            _judged(
                "outcomes",
                f"unknown outcomes: {', '.join(unknown)}" if unknown else None,
                counts or "no rows",
            )
        )
        found += [
            Check("usage", Verdict.NOTE, f"{rows:,} rows: {what} (as the server said)")
            for what, rows in self.odd_usage.items()
        ]
        return found


def _judged(name: str, wrong: str | None, right: str) -> Check:
    return Check(name, Verdict.OK if wrong is None else Verdict.FAILED, right if wrong is None else wrong)


def missing_columns(schema: pa.Schema) -> list[str]:
    """Columns that every output of ours has, and this file lacks; sorted."""
    needed = set(Totals().to_json()) - {"rows", "outcomes", "cost_unknown", "reused"}
    needed |= {"row_index", "run_id", "request_hash", "reused_from", "outcome", "error_message"}
    return sorted(needed - set(our_columns(schema)))
