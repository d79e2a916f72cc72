"""The answers of a run directory that was never published: its parts and its journals, as a source for reuse.

A run that was set aside by `--replace`, or a `try` that a crash cut short, has paid answers in it; they are read here
without a lock and without changing anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.records import ANSWERED
from batcher.store.history import ShardHistory
from batcher.store.manifest import read
from batcher.store.reuse import REUSED_COLUMNS, StoredAnswer, parquet_answers
from batcher.store.run_state import replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.ports import Settle, Settled
    from batcher.store.directory import RunDirectory


class DirectoryAnswers:
    """Answers of an unpublished run directory (`batcher.store.reuse.AnswerSource`).

    Args:
        directory: of the run; its manifest may be absent.
        settle: gives a journalled history its meaning; its own run id is not used.
        run_id: of the run that bought the answers.
    """

    def __init__(self, directory: RunDirectory, *, settle: Settle, run_id: str) -> None:
        self._directory = directory
        self._settle = settle
        self._run_id = run_id

    @property
    def description(self) -> Mapping[str, object]:
        sizes = {
            path.name: path.stat().st_size
            for folder in ("journal", "parts")
            for path in sorted((self._directory.path / folder).glob("*"))
        }
        return {"directory": str(self._directory.path), "run_id": self._run_id, "files": sizes}

    @property
    def note(self) -> str | None:
        return None

    def __iter__(self) -> Iterator[StoredAnswer]:
        state = replay(read(self._directory.manifest).records)
        for number in state.opened:
            part = self._directory.part(number)
            if number in state.sealed and part.exists():
                yield from parquet_answers(part)
            else:
                opened = state.opened[number]
                journals = self._directory.journals(number)
                with ShardHistory.open(journals, first_row=opened.first_row, rows=opened.rows) as history:
                    yield from self._of_shard(history)

    def _of_shard(self, history: ShardHistory) -> Iterator[StoredAnswer]:
        for row_index in history.rows_seen():
            settled = self._settle(history.history(row_index))
            if settled is not None and settled.outcome in ANSWERED:
                yield self._answer(settled)

    def _answer(self, settled: Settled) -> StoredAnswer:
        values = {
            name: settled.values[name] for name in REUSED_COLUMNS if settled.values.get(name) is not None
        }
        bought_by = settled.values.get("reused_from") or self._run_id
        return StoredAnswer(str(settled.values["request_hash"]), str(bought_by), values)
