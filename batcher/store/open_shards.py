"""Shards with rows still to do: which of their rows have their end, and what earlier sessions tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.records import ReplyRecord
    from batcher.store.directory import RunDirectory
    from batcher.store.journal import Journal


@dataclass(slots=True)
class OpenShard:
    """A shard with rows still to do.

    Attributes:
        done: one byte per row, 1 where the row has its end.
        prior: row -> (attempts, paid attempts) of earlier sessions, for rows that are not done.
        answered: row -> whole answers of earlier sessions, for those of them that have any: to be asked again.
    """

    number: int
    first_row: int
    rows: int
    done: bytearray
    remaining: int
    journal: Journal | None = None
    prior: dict[int, tuple[int, int]] = field(default_factory=dict)
    answered: dict[int, tuple[ReplyRecord, ...]] = field(default_factory=dict)


def open_shard(
    number: int, first_row: int, rows: int, selected: Callable[[int, int], bytes] | None
) -> OpenShard:
    """A shard of which nothing is done yet, but the rows that are not selected."""
    done = bytearray(rows)
    if selected is not None:
        done = bytearray(1 - chosen for chosen in selected(first_row, rows))
    return OpenShard(number, first_row, rows, done, remaining=rows - sum(done))


def forget_shard(directory: RunDirectory, number: int) -> None:
    """Delete the journal and the input of a sealed shard."""
    for path in (*directory.journals(number), directory.input(number)):
        path.unlink(missing_ok=True)
