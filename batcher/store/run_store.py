"""The store of one session of one run: rows out to the engine, answers in, shards sealed behind it.

What is durable when: an intent and a reply are with the operating system when `intend` and `keep` return, and on the
disk by the next group commit (or on return, in strict mode); a shard is sealed only after its journal was synced; its
journal and input are deleted only after the manifest says so, on disk. Nothing here assumes that it is alone with
the run beyond holding its lock: all state is in files that another session can replay.

Background tasks (`run_background`): group commit, the cutter that keeps one shard ready ahead, the sealer. They report
failures to the engine and never raise, so that what is in flight can still be stored.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from batcher.records import ReopenRecord, ReuseRecord
from batcher.store.chosen_rows import by_input_row
from batcher.store.commit import GroupCommit
from batcher.store.files import storage_errors
from batcher.store.history import ShardHistory
from batcher.store.journal import Journal
from batcher.store.manifest import ShardOpen, ShardSeal
from batcher.store.memory import give_back
from batcher.store.open_shards import OpenShard, forget_shard, open_shard
from batcher.store.part import Totals
from batcher.store.seal import seal_shard
from batcher.store.shard_input import ShardCutter, ShardRows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from batcher.ports import RowSource
    from batcher.records import (
        EndRecord,
        InputRow,
        IntentRecord,
        JournalRecord,
        Outcome,
        ReplyRecord,
        Request,
        VoidRecord,
    )
    from batcher.store.directory import RunDirectory
    from batcher.store.journal import Ballast
    from batcher.store.manifest import Manifest, ManifestRecord
    from batcher.store.reuse import ReuseIndex
    from batcher.store.run_state import RunState
    from batcher.store.store_plan import StorePlan

MOST_OPEN_SHARDS = 16
LONG_SYNC_S = 0.1
"""A sync takes a few ms on an SSD and up to 30 on a disk that turns."""


class RunStore:
    """Implements `batcher.ports.Store` on a run directory whose lock the caller holds."""

    def __init__(
        self,
        *,
        directory: RunDirectory,
        manifest: Manifest,
        state: RunState,
        source: RowSource,
        plan: StorePlan,
        ballast: Ballast | None = None,
        reuse: ReuseIndex | None = None,
    ) -> None:
        self._directory = directory
        self._manifest = manifest
        self._manifest_lock = threading.Lock()
        self._state = state
        self._source = source
        self._plan = plan
        self._ballast = ballast
        self._reuse = reuse
        self._resumed: list[OpenShard] = []
        self._shards: list[OpenShard] = []
        self._last_shard: OpenShard | None = None  # asked for again and again: five times per row
        self._reading: tuple[OpenShard, ShardRows] | None = None
        self._failure: BaseException | None = None
        self._totals = Totals()
        for seal in state.sealed.values():
            self._totals += Totals.from_json(seal.totals)
        self._to_seal = 0
        self._is_asked = False

    # --- opening ---

    def adopt(self, shards: Sequence[OpenShard]) -> None:
        """Take over shards that an earlier session left unfinished (see `recovery`)."""
        self._resumed = list(shards)

    async def start(self) -> None:
        """Make the streams between the background tasks; call inside the event loop, once."""
        self._commit = GroupCommit()
        self._open_slots = anyio.Semaphore(max(1, MOST_OPEN_SHARDS - len(self._resumed)))
        self._cut_in, self._cut_out = anyio.create_memory_object_stream[OpenShard](0)
        self._seal_in, self._seal_out = anyio.create_memory_object_stream[OpenShard](math.inf)
        self._sealed_all = anyio.Event()
        self._no_more_shards = False
        for shard in self._resumed:
            self._shards.append(shard)
            if shard.remaining == 0:
                self._queue_seal(shard)

    async def run_background(self, on_failure: Callable[[BaseException], None]) -> None:
        """Commit, cut and seal until cancelled; a failure is told to `on_failure`, and the others go on."""
        try:
            async with anyio.create_task_group() as tasks:
                for job in (self._commit.run, self._cut_shards, self._seal_shards):
                    tasks.start_soon(self._guarded, job, on_failure)
        finally:
            for stream in (self._cut_in, self._cut_out, self._seal_in, self._seal_out):
                stream.close()

    async def _guarded(
        self, job: Callable[[], Awaitable[None]], on_failure: Callable[[BaseException], None]
    ) -> None:
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - told to the engine, which drains and raises it
            on_failure(error)
            self.stop(error)

    # --- rows out ---

    async def next_rows(self) -> Sequence[InputRow] | None:
        self._is_asked = True
        try:
            return await self._next_rows()
        finally:
            self._is_asked = False

    def waits_for(self) -> str | None:
        """What keeps the rows that somebody asks for: "disk" while shards wait to be sealed and no further one may be
        opened, else "dataset"; None while nobody asks, or while only rows on their way would open one.
        """
        if not self._is_asked:
            return None
        if self._open_slots.statistics().tasks_waiting and not self._resumed:
            return "disk" if self._to_seal else None
        return "dataset"

    def is_syncing(self) -> bool:
        """Whether answers wait for a sync that takes long: only with strict durability does anybody wait for one."""
        return self._plan.strict and self._commit.syncing_s(anyio.current_time()) >= LONG_SYNC_S

    async def _next_rows(self) -> Sequence[InputRow] | None:
        while True:
            if self._reading is None:
                shard = await self._next_shard()
                if shard is None:
                    return None
                rows = ShardRows(
                    self._directory.input(shard.number), first_row=shard.first_row, rows=shard.rows
                )
                self._reading = shard, rows
            shard, reader = self._reading
            batch = await anyio.to_thread.run_sync(reader.next_rows, self._plan.columns, self._plan.raw)
            if batch is None:
                reader.close()
                self._reading = None
                continue
            todo = [row for row in batch if not shard.done[row.row_index - shard.first_row]]
            if todo:
                return todo

    async def _next_shard(self) -> OpenShard | None:
        while self._resumed:
            shard = self._resumed.pop(0)
            if shard.remaining:
                return shard
        try:
            return await self._cut_out.receive()
        except anyio.EndOfStream:
            return None

    def prior(self, row_index: int) -> tuple[int, int]:
        """(attempts, paid attempts) of the row in earlier sessions, as far as the journal knows."""
        return self._shard_of(row_index).prior.get(row_index, (0, 0))

    def replies(self, row_index: int) -> Sequence[ReplyRecord]:
        return self._shard_of(row_index).answered.pop(row_index, ())

    def find_answer(self, request: Request) -> ReuseRecord | None:
        if self._reuse is None:
            return None
        taken = self._reuse.take(request.request_hash)
        if taken is None:
            return None
        return ReuseRecord(
            request.row_index,
            request.request_hash,
            reused_from=taken.run_id,
            values=taken.values,
            custom_id=request.custom_id,
        )

    # --- answers in ---

    def intend(self, record: IntentRecord) -> None:
        self._journal_of(record.row_index).append(record)

    def void(self, record: VoidRecord) -> None:
        self._journal_of(record.row_index).append(record)

    async def keep(self, record: ReplyRecord) -> None:
        await self._append(record.row_index, record)

    async def finish(self, row_index: int, outcome: Outcome, end: EndRecord | ReuseRecord | None) -> None:  # noqa: ARG002
        if end is not None:
            await self._append(row_index, end)
        shard = self._shard_of(row_index)
        place = row_index - shard.first_row
        assert not shard.done[place], f"row {row_index} ended twice"
        shard.done[place] = 1
        shard.remaining -= 1
        if shard.remaining == 0:
            self._queue_seal(shard)

    def reopen(self, row_index: int) -> None:
        """Make an ended row pending again, in the journal; does nothing once its shard is being sealed."""
        shard = self._shard_of(row_index)
        place = row_index - shard.first_row
        if shard.remaining and shard.done[place]:
            self._journal_of(row_index).append(ReopenRecord(row_index))
            shard.done[place] = 0
            shard.remaining += 1

    async def _append(self, row_index: int, record: JournalRecord) -> None:
        journal = self._journal_of(row_index)
        journal.append(record)
        if self._plan.strict:
            await self._commit.committed(journal)

    def _journal_of(self, row_index: int) -> Journal:
        shard = self._shard_of(row_index)
        if shard.journal is None:
            path = self._directory.journal(shard.number, self._plan.session)
            shard.journal = Journal.create(path, ballast=self._ballast)
            self._commit.add(shard.journal)
        return shard.journal

    def _shard_of(self, row_index: int) -> OpenShard:
        last = self._last_shard
        if last is None or not 0 <= row_index - last.first_row < last.rows:
            at = bisect_right(self._shards, row_index, key=lambda shard: shard.first_row) - 1
            self._last_shard = last = self._shards[at]
        return last

    # --- behind the engine ---

    async def _cut_shards(self) -> None:
        """Keep one shard cut ahead of the engine, at most 16 open."""
        cutter = ShardCutter(self._source, first_row=self._state.next_row, end_row=self._plan.end_row)
        async with self._cut_in:
            number = self._state.next_shard
            while True:
                await self._open_slots.acquire()
                shard = await anyio.to_thread.run_sync(self._cut_one, cutter, number)
                if shard is None:
                    break
                self._shards.append(shard)
                if shard.remaining:
                    await self._cut_in.send(shard)
                else:
                    self._queue_seal(shard)
                number += 1
        self._no_more_shards = True
        self._check_sealed_all()

    def _cut_one(self, cutter: ShardCutter, number: int) -> OpenShard | None:
        with storage_errors("copying the input", self._directory.input(number)):
            cut = cutter.cut(self._directory.input(number))
        if cut is None:
            return None
        self._record(
            ShardOpen(
                number,
                first_row=cut.first_row,
                rows=cut.rows,
                input_bytes=cut.size,
                input_checksum=cut.checksum,
            )
        )
        return open_shard(number, cut.first_row, cut.rows, self._plan.selected)

    def _queue_seal(self, shard: OpenShard) -> None:
        self._to_seal += 1
        self._seal_in.send_nowait(shard)

    async def _seal_shards(self) -> None:
        async for shard in self._seal_out:
            await self._seal(shard)
            self._to_seal -= 1
            self._check_sealed_all()

    async def _seal(self, shard: OpenShard) -> None:
        if shard.journal is not None:
            await self._commit.retire(shard.journal)
        await anyio.to_thread.run_sync(self._seal_blocking, shard)
        self._shards.remove(shard)
        self._open_slots.release()

    def _seal_blocking(self, shard: OpenShard) -> None:
        journals = self._directory.journals(shard.number)
        plan = self._plan
        audit = plan.audit() if plan.audit is not None else None
        with ShardHistory.open(journals, first_row=shard.first_row, rows=shard.rows) as history:
            sealed = seal_shard(
                shard=shard.number,
                input_path=self._directory.input(shard.number),
                first_row=shard.first_row,
                rows=shard.rows,
                history=by_input_row(history, plan.row_indices),
                row_indices=plan.row_indices,
                settle=plan.settle,
                schema=plan.schema,
                facts=plan.facts,
                part_path=self._directory.part(shard.number),
                base=plan.base,
                audit=audit,
                columns=plan.columns,
                raw=plan.raw,
            )
        self._record(
            ShardSeal(
                shard.number,
                rows=shard.rows,
                size=sealed.size,
                checksum=sealed.checksum,
                totals=sealed.totals.to_json(),
                extra=audit.to_json() if audit is not None else {},
            )
        )
        self._totals += sealed.totals
        forget_shard(self._directory, shard.number)
        give_back()

    def _check_sealed_all(self) -> None:
        if self._no_more_shards and self._to_seal == 0 and not any(shard.remaining for shard in self._shards):
            self._sealed_all.set()

    def _record(self, record: ManifestRecord) -> None:
        with self._manifest_lock:
            self._manifest.append(record)
            self._state.apply(record)

    # --- the end ---

    async def sealed_all(self) -> None:
        """Return when every shard is sealed; call after the engine ended without being stopped.

        Raises:
            BatcherError: what `stop` was called with, or what went wrong in the background.
        """
        await self._sealed_all.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self, why: BaseException) -> None:
        """Let whoever waits in `sealed_all` go; what is being sealed is finished or done again by the next session."""
        if self._failure is None:
            self._failure = why
        self._sealed_all.set()

    async def close(self) -> None:
        """Sync and close all journals. Raises StorageError."""
        for stream in (self._cut_in, self._cut_out, self._seal_in, self._seal_out):
            stream.close()
        await self._commit.flush()
        for shard in self._shards:
            if shard.journal is not None:
                await self._commit.retire(shard.journal)
                shard.journal = None
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None

    @property
    def totals(self) -> Totals:
        """Sums over all sealed rows of this round."""
        return self._totals

    @property
    def parts(self) -> list[Path]:
        """The sealed parts in row order."""
        order = sorted(self._state.sealed, key=lambda number: self._state.opened[number].first_row)
        return [self._directory.part(number) for number in order]
