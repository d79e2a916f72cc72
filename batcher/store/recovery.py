"""Taking up a run where an earlier session left it: what its journals hold, and what may have been paid and lost.

Runs under the lock, before anything is sent. Order: leftovers of sealed shards go, parts are checked against the
manifest, then every unfinished shard is read: an answer in its journal ends the row, an intent that nothing answers
makes the row possibly paid. Nothing here buys anything.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.errors import StorageError
from batcher.store.files import checksum_of, storage_errors
from batcher.store.history import ShardHistory
from batcher.store.open_shards import OpenShard, forget_shard, open_shard
from batcher.store.shard_input import ShardCutter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batcher.ports import RowSource, Settle
    from batcher.store.directory import RunDirectory
    from batcher.store.manifest import ShardOpen
    from batcher.store.run_state import RunState


@dataclass(slots=True)
class Recovery:
    """What was found.

    Attributes:
        shards: unfinished shards, in order.
        possibly_paid: (session, row_index) whose answer a crash may have lost, not reported before.
        damaged: journal records that could not be read; their rows run again.
        answered: rows of unfinished shards that have their end.
        last_touched: highest row_index that the journal knows, or -1.
    """

    shards: list[OpenShard] = field(default_factory=list)
    possibly_paid: list[tuple[int, int]] = field(default_factory=list)
    damaged: int = 0
    answered: int = 0
    last_touched: int = -1


def check_parts(directory: RunDirectory, state: RunState) -> list[int]:
    """Verify every sealed part against the manifest; leftovers of sealed shards are deleted.

    Returns:
        Shards whose part is damaged or gone; rows of those whose journal no longer stands would be bought again.

    Raises:
        StorageError: a part cannot be read at all.
    """
    lost = []
    for number, seal in state.sealed.items():
        part = directory.part(number)
        with storage_errors("checking a part", part):
            if part.exists() and part.stat().st_size == seal.size and checksum_of(part) == seal.checksum:
                forget_shard(directory, number)
            else:
                lost.append(number)
    return lost


def recover(
    directory: RunDirectory,
    state: RunState,
    *,
    source: RowSource,
    settle: Settle,
    end_row: int,
    selected: Callable[[int, int], bytes] | None,
) -> Recovery:
    """Read every unfinished shard.

    Raises:
        StorageError: a file of the run cannot be read.
        Conflict: the source is needed for a damaged input file, and changed.
    """
    found = Recovery()
    histories = []
    for opened in state.unfinished:
        history = ShardHistory.open(
            directory.journals(opened.shard), first_row=opened.first_row, rows=opened.rows
        )
        histories.append((opened, history))
        found.last_touched = max([found.last_touched, *history.rows_seen()])
    end = max(end_row, found.last_touched + 1)
    known = set(state.possibly_paid)
    for opened, history in histories:
        rows = min(opened.rows, end - opened.first_row)
        if rows <= 0:
            continue
        _restore_input(directory, opened, source)
        shard = open_shard(opened.shard, opened.first_row, rows, selected)
        found.answered += _mark_done(shard, history, settle)
        found.possibly_paid += [
            (session, row) for row, session in history.open_intents() if (session, row) not in known
        ]
        found.damaged += len(history.damaged)
        found.shards.append(shard)
    return found


def _mark_done(shard: OpenShard, history: ShardHistory, settle: Settle) -> int:
    answered = 0
    for row_index in history.rows_seen():
        place = row_index - shard.first_row
        if place >= shard.rows or shard.done[place]:
            continue
        of_row = history.history(row_index)
        if settle(of_row) is not None:
            shard.done[place] = 1
            shard.remaining -= 1
            answered += 1
        elif of_row.replies:
            last = of_row.replies[-1]
            shard.prior[row_index] = (last.attempts, last.paid_attempts)
            whole = tuple(
                each for each in of_row.replies if each.reply.status == 200 and each.reply.fault is None
            )
            if whole:
                shard.answered[row_index] = whole
    return answered


def _restore_input(directory: RunDirectory, opened: ShardOpen, source: RowSource) -> None:
    """Write the shard's input again if its file is not whole: the source still has it.

    Raises:
        StorageError: the source has other rows by now.
    """
    path = directory.input(opened.shard)
    if _is_whole(path, opened):
        return
    end = opened.first_row + opened.rows
    cutter = ShardCutter(source, first_row=opened.first_row, end_row=end)
    with storage_errors("copying the input again", path):
        # Rows bound it, not bytes: slices that begin elsewhere may add up to the byte limit elsewhere.
        cut = cutter.cut(path, most_rows=opened.rows, most_bytes=sys.maxsize)
    if cut is None or cut.rows != opened.rows:
        raise StorageError(f"shard {opened.shard} cannot be read again from the input: {path} is damaged")


def _is_whole(path: Path, opened: ShardOpen) -> bool:
    with storage_errors("reading a shard's input", path):
        return (
            path.exists()
            and path.stat().st_size == opened.input_bytes
            and opened.input_checksum in {"", checksum_of(path)}
        )
