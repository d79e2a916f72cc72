"""Group commit: one sync for many records, over all open journals.

Rules:
    1. A commit begins at the earliest of 200 ms, 256 records or 1 MiB since the first unsynced record.
       (Measured: a sync per 256 replies of 2.2 kB costs 1-2 us per row, one per reply several hundred.)
    2. Intents and voids never cause one, except through the 1 MiB; they ride along.
    3. Whoever waits for durability does not wait for the clock: `committed` commits at once, for everybody.
    4. A journal whose sync failed moves its tail to a new file. When that fails too, the error comes out of
       `run` and of every waiter, now and later: nobody may believe that a record is safe.

The syncs run in a thread, everything else in the event loop. The thread is behind a parameter, because under
virtual time a real thread's 5 ms let any deadline pass.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
import anyio.to_thread

from batcher.errors import StorageError
from batcher.store.files import DISK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.store.files import Disk
    from batcher.store.journal import Journal, Mark

INTERVAL_S = 0.2
MAX_RECORDS = 256
MAX_BYTES = 1 << 20
T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking call without blocking the event loop."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


async def _in_thread(call: Callable[[], T], /) -> T:
    return await anyio.to_thread.run_sync(call)


class GroupCommit:
    """Commits for the journals of one session; start `run` in a task group, `add` each journal.

    Args:
        disk: whose `sync_file` is called, in a thread.
        offload: how a blocking call leaves the event loop.
        interval_s, max_records, max_bytes: the three triggers of rule 1.
    """

    def __init__(
        self,
        *,
        disk: Disk = DISK,
        offload: Offload = _in_thread,
        interval_s: float = INTERVAL_S,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._disk = disk
        self._offload = offload
        self._interval_s = interval_s
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._dirty: dict[Journal, None] = {}  # in order of first write
        self._issued = 0
        self._synced = 0
        self._records = 0  # since the last commit began, without intents and voids
        self._bytes = 0
        self._first_at: float | None = None
        self._failure: StorageError | None = None
        self._syncing_since: float | None = None
        self._is_stopping = False
        self._turn = anyio.Lock()
        self._begun = anyio.Event()  # something waits for the interval
        self._due = anyio.Event()  # a commit must begin now

    def add(self, journal: Journal) -> None:
        """From now on see to the commits of what is appended to that journal."""
        journal.on_append = self._wrote

    def _wrote(self, journal: Journal, size: int, is_paid: bool) -> None:
        self._dirty[journal] = None
        self._issued += 1
        self._bytes += size
        if is_paid:
            self._records += 1
            if self._first_at is None:
                self._begin()
        if self._records >= self._max_records or self._bytes >= self._max_bytes:
            self._begun.set()
            self._due.set()

    def _begin(self) -> None:
        self._first_at = anyio.current_time()
        self._begun.set()

    def syncing_s(self, now: float) -> float:
        """For how long the present sync has been under way, on the clock of `anyio.current_time`; 0 when none is."""
        return 0.0 if self._syncing_since is None else now - self._syncing_since

    async def run(self) -> None:
        """Commit whenever it is due, until `stop`; what is unsynced then is committed before it returns.

        Raises:
            StorageError: a record may not survive a power loss; the run must stop.
        """
        while not self._is_stopping:
            await self._begun.wait()
            if self._first_at is not None:
                with anyio.CancelScope(deadline=self._first_at + self._interval_s):
                    await self._due.wait()
            await self.flush()
        await self.flush()

    def stop(self) -> None:
        """Let `run` commit what is left and return."""
        self._is_stopping = True
        self._begun.set()
        self._due.set()

    async def committed(self, journal: Journal) -> None:
        """Returns when everything appended to the journal so far would survive a power loss.

        Raises:
            StorageError: it might not.
        """
        if journal.unsynced_records:
            await self._commit_up_to(self._issued)

    async def flush(self) -> None:
        """Commit everything appended so far. Works without `run`, too. Raises StorageError."""
        self._raise_failure()
        await self._commit_up_to(self._issued)
        if not self._dirty:
            self._rearm()

    async def retire(self, journal: Journal) -> None:
        """Commit, then close that journal: never under the feet of a running sync. Raises StorageError."""
        async with self._turn:
            try:
                if journal in self._dirty:
                    await self._commit()
                self._raise_failure()
            finally:
                self._dirty.pop(journal, None)
                journal.close()

    async def _commit_up_to(self, ticket: int) -> None:
        """The first to get its turn commits for all who wait; the others then find it done."""
        while self._synced < ticket:
            async with self._turn:
                if self._synced < ticket:
                    await self._commit()

    async def _commit(self) -> None:
        """One commit of all that is dirty; the caller holds the turn.

        Shielded: a cancelled task must not leave the books behind what the thread did.
        """
        self._raise_failure()
        with anyio.CancelScope(shield=True):
            ticket = self._issued
            batch = [(journal, journal.mark()) for journal in self._dirty]
            self._dirty.clear()
            self._rearm()
            self._syncing_since = anyio.current_time()
            try:
                failures = await self._offload(
                    partial(_sync_all, self._disk, [journal.fd for journal, _ in batch])
                )
            finally:
                self._syncing_since = None
            self._settle(batch, failures)
            self._synced = ticket

    def _rearm(self) -> None:
        """Start counting anew. An event that is not set stays: `run` may be waiting for it."""
        self._records = self._bytes = 0
        self._first_at = None
        if not self._is_stopping:
            self._begun = anyio.Event() if self._begun.is_set() else self._begun
            self._due = anyio.Event() if self._due.is_set() else self._due

    def _settle(self, batch: list[tuple[Journal, Mark]], failures: Sequence[OSError | None]) -> None:
        """Book the results; the tail of a failed journal is rewritten here, in the event loop.

        Blocking it is right: nothing may be appended to that journal meanwhile, and a failing disk is rare.
        """
        for (journal, mark), failure in zip(batch, failures, strict=True):
            if failure is None:
                journal.synced(mark)
                continue
            try:
                journal.rewrite_tail(failure)
            except StorageError as err:
                self._failure = err
        if self._failure is not None:
            self.stop()
            raise self._failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise StorageError(str(self._failure), hint=self._failure.hint) from self._failure


def _sync_all(disk: Disk, fds: Sequence[int]) -> list[OSError | None]:
    """Sync each descriptor once; a failure of one does not keep the others from it."""
    results: list[OSError | None] = []
    for fd in fds:
        try:
            disk.sync_file(fd)
        except OSError as err:
            results.append(err)
        else:
            results.append(None)
    return results
