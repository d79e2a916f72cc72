"""What one session is to do with a run's rows; values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from batcher.ports import Audit, Settle
    from batcher.store.columns import OutputSchema
    from batcher.store.footer import FileFacts


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What one session is to do with the run; values only.

    Attributes:
        end_row: row after the last one wanted (the limit, or the input's rows).
        columns: input columns that the request builder reads.
        raw: those of them that it wants as bytes.
        selected: (first_row, rows) -> one byte per row, 1 where the row is to be done; None for all rows.
        base: (first_row, rows) -> the old output's rows, for rows that are not done again; None for a fresh run.
        row_indices: positions in the whole input of rows that are not consecutive (`try`), which the journal counts
            from 0; None where the journal's row_index is the input's.
        audit: makes what adds up a shard's costs as it is sealed; None: nobody asks for them.
    """

    session: int
    end_row: int
    columns: frozenset[str]
    schema: OutputSchema
    facts: FileFacts
    settle: Settle
    raw: frozenset[str] = frozenset()
    strict: bool = False
    selected: Callable[[int, int], bytes] | None = None
    base: Callable[[int, int], pa.Table] | None = None
    row_indices: Sequence[int] | None = None
    audit: Callable[[], Audit] | None = None
