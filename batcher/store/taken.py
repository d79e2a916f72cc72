"""On resume: which answers of the reuse index already serve a row of this run, so that none serves two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.store.columns import our_columns
from batcher.store.history import ShardHistory
from batcher.store.part import open_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.store.directory import RunDirectory
    from batcher.store.reuse import ReuseIndex
    from batcher.store.run_state import RunState

_COLUMNS = ("request_hash", "reused_from", "response_id")


def mark_taken_rows(index: ReuseIndex, directory: RunDirectory, state: RunState) -> None:
    """Mark what the run's sealed parts and its journals took over. Raises StorageError."""
    for number, opened in state.opened.items():
        if number in state.sealed:
            pairs = _of_part(directory.part(number))
        else:
            pairs = _of_journals(directory, number, opened.first_row, opened.rows)
        for request_hash, response_id in pairs:
            index.mark_row(request_hash, response_id)


def _of_part(path: Path) -> Iterator[tuple[str, str | None]]:
    if not path.exists():
        return
    with open_part(path) as file:
        at = our_columns(file.schema_arrow)
        names = [file.schema_arrow.names[at[name]] for name in _COLUMNS]
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=names, use_threads=False)
            for row in table.select(names).to_pylist():
                request_hash, reused_from, response_id = (row[name] for name in names)
                if reused_from is not None and request_hash is not None:
                    yield request_hash, response_id


def _of_journals(
    directory: RunDirectory, number: int, first_row: int, rows: int
) -> Iterator[tuple[str, str | None]]:
    with ShardHistory.open(directory.journals(number), first_row=first_row, rows=rows) as history:
        for row_index in history.rows_seen():
            reuse = history.history(row_index).reuse
            if reuse is not None:
                response_id = reuse.values.get("response_id")
                yield reuse.request_hash, response_id if isinstance(response_id, str) else None
