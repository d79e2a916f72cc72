"""Every row rendered again and its request's hash compared; input columns compared with the input where it stands.

Rows come from the original input while that is unchanged, else from the output's own input columns. A row that was
invalid must be invalid still; from the output alone that cannot be told of every row, because a line that could not be
read is null there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.dataset import python_rows
from batcher.records import Outcome, Problem
from batcher.store.columns import our_columns
from batcher.store.output_rows import OutputRows
from batcher.verbs.verification import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from batcher.ports import RequestBuilder, RowSource, Slice
    from batcher.records import InputRow

SHOWN_ROWS = 8


@dataclass(slots=True)
class RequestAudit:
    """Compares an output with what its job asks for.

    Attributes:
        builders: of the job, then of the job as its retries changed it.
        carried: positions, in the input, of the output's first columns.
        is_original: the rows come from the input itself.
        reads_files: rows name files, which may have been changed since: then a request that differs is a changed input.
        other: rows whose request is not the one that was sent, the first few.
        uncertain: invalid rows of which only the input could tell.
    """

    output: Path
    builders: Sequence[RequestBuilder]
    carried: Sequence[int]
    is_original: bool
    reads_files: bool = False
    rows: int = 0
    compared: int = 0
    other: list[int] = field(default_factory=list)
    others: int = 0
    altered: list[str] = field(default_factory=list)
    uncertain: int = 0

    def compare(self, source: RowSource, *, rows: int) -> None:
        """Go through the first `rows` rows. Raises what the source and the file raise: DatasetError, Conflict,
        OSError, pyarrow's.
        """
        reader = OutputRows(self.output)
        if not rows:
            return
        for piece in source.slices(first_row=0):
            wanted = min(piece.batch.num_rows, rows - self.rows)
            table = reader.table(self.rows, wanted)
            self._compare_requests(piece, wanted, table)
            if self.is_original and not self.altered:
                self._compare_inputs(piece.batch.slice(0, wanted), table)
            self.rows += wanted
            if self.rows >= rows:
                return

    def _compare_requests(self, piece: Slice, wanted: int, table: pa.Table) -> None:
        at = our_columns(table.schema)
        hashes = table.column(at["request_hash"]).to_pylist()
        outcomes = table.column(at["outcome"]).to_pylist()
        columns = frozenset().union(*(builder.columns for builder in self.builders))
        raw = frozenset().union(*(builder.raw_columns for builder in self.builders))
        problems = dict(piece.problems) if self.is_original else {}
        rows = python_rows(
            piece.batch.slice(0, wanted),
            first_row=piece.first_row,
            columns=columns,
            problems=problems,
            raw=raw,
        )
        for row, sent, outcome in zip(rows, hashes, outcomes, strict=True):
            self._compare(row, sent, is_invalid=outcome == Outcome.INVALID)

    def _compare(self, row: InputRow, sent: str | None, *, is_invalid: bool) -> None:
        for builder in self.builders:
            built = builder.build(row)
            if isinstance(built, Problem):
                if is_invalid:
                    break
            elif not is_invalid and built.request_hash == sent:
                break
        else:
            if is_invalid and not self.is_original:
                self.uncertain += 1
                return
            self.others += 1
            if len(self.other) < SHOWN_ROWS:
                self.other.append(row.row_index)
            return
        self.compared += 1

    def _compare_inputs(self, batch: pa.RecordBatch, table: pa.Table) -> None:
        for index, position in enumerate(self.carried):
            one, other = batch.column(position), table.column(index).combine_chunks()
            # By their words where Arrow says they differ: NaN, or the same texts in another dictionary.
            if not (one.equals(other) or repr(one.to_pylist()) == repr(other.to_pylist())):
                self.altered.append(table.schema.names[index])

    def checks(self) -> list[Check]:
        """What was found, once `compare` went through."""
        where = "the input" if self.is_original else "the output's own input columns"
        found = []
        if self.others:
            some = ", ".join(map(str, self.other)) + (", …" if self.others > len(self.other) else "")
            said = (
                f"{self.others:,} rows were not sent as the job renders them from {where}: row_index {some}"
            )
            if self.reads_files:
                said += "; image files below [request.images] root may have been changed or removed since"
            found.append(Check("requests", Verdict.CHANGED if self.reads_files else Verdict.FAILED, said))
        else:
            said = f"{self.compared:,} rows rendered again from {where}: the requests that were sent"
            found.append(Check("requests", Verdict.OK, said))
        if self.uncertain:
            said = f"{self.uncertain:,} invalid rows: only the unchanged input could tell"
            found.append(Check("invalid_rows", Verdict.NOT_CHECKED, said))
        if self.is_original and self.altered:
            names = ", ".join(dict.fromkeys(self.altered))
            found.append(Check("input_columns", Verdict.FAILED, f"not as in the input: {names}"))
        elif self.is_original:
            found.append(Check("input_columns", Verdict.OK, "untouched, value by value"))
        return found
