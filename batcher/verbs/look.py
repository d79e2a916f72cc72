"""A look into an output: its first rows and the columns worth seeing. Reads one row group at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.store.columns import our_columns
from batcher.store.part import open_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ROWS = 5


def first_rows_of(
    path: Path, labels: Sequence[str], *, input_columns: int, rows: int = ROWS
) -> tuple[list[Mapping[str, object]], list[str]]:
    """(rows, columns): the first input columns, outcome, tokens, and the labels or else the completion."""
    with open_part(path) as file:
        schema = file.schema_arrow
        at = our_columns(schema)
        ours = set(at.values())
        inputs = [name for index, name in enumerate(schema.names) if index not in ours][:input_columns]
        wanted = ["outcome", "prompt_tokens", "completion_tokens", *(labels or ("completion",))]
        columns = [*inputs, *(schema.names[at[name]] for name in wanted if name in at)]
        if file.num_row_groups == 0:
            return [], columns
        batch = next(file.iter_batches(batch_size=rows, row_groups=[0], columns=columns), None)
        return ([] if batch is None else batch.to_pylist()), columns
