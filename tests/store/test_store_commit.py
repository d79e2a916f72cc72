from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
import pytest
import trio
import trio.testing
from journal_samples import FaultyDisk, a_reply, an_intent

from batcher.errors import StorageError
from batcher.store.commit import GroupCommit
from batcher.store.history import ShardHistory
from batcher.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")


async def inline(call: Callable[[], T], /) -> T:
    """Under virtual time a thread's real milliseconds would let every deadline pass."""
    await anyio.lowlevel.checkpoint()
    return call()


class Bench:
    """A journal and its group commit on a disk that counts, in virtual time."""

    def __init__(self, folder: Path, disk: FaultyDisk | None = None) -> None:
        self.folder = folder
        self.disk = disk or FaultyDisk()
        self.commit = GroupCommit(disk=self.disk, offload=inline)
        self.journal = self.another(0)

    def another(self, shard: int) -> Journal:
        journal = Journal.create(self.folder / f"{shard:06d}.s0001.jsonl", disk=self.disk)
        self.commit.add(journal)
        return journal

    def replies(self, row: int) -> int:
        with ShardHistory.open(list(self.folder.glob("000000.*")), first_row=0, rows=1000) as history:
            return len(history.history(row).replies)


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def running(bench: Bench, main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` beside the commits, then stop them."""

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.commit.run)
            await trio.testing.wait_all_tasks_blocked()
            await main()
            bench.commit.stop()
        bench.journal.close()

    virtually(both)


def test_a_reply_is_synced_200_ms_after_it_was_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        for row in range(3):
            bench.journal.append(a_reply(row))
            await anyio.sleep(0.199)
            assert (bench.disk.synced, bench.journal.unsynced_records) == (row, 1)
            await anyio.sleep(0.002)
            assert (bench.disk.synced, bench.journal.unsynced_records) == (row + 1, 0)

    running(bench, main)


def test_the_clock_runs_from_the_first_unsynced_record_not_the_last(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        for row in range(30):
            bench.journal.append(a_reply(row))
            await anyio.sleep(0.05)
        assert bench.disk.synced in {6, 7}

    running(bench, main)


def test_256_records_are_synced_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        for row in range(256):
            assert bench.disk.synced == 0
            bench.journal.append(a_reply(row))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.disk.synced == 1
        bench.journal.append(a_reply(256))
        await anyio.sleep(0.1)
        assert bench.disk.synced == 1

    running(bench, main)


def test_one_mebibyte_is_synced_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        bench.journal.append(a_reply(0, body=b"x" * (1 << 19)))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.disk.synced == 0
        bench.journal.append(a_reply(1, body=b"x" * (1 << 19)))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.disk.synced == 1

    running(bench, main)


def test_intents_never_cause_a_sync_but_ride_along(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        for row in range(300):
            bench.journal.append(an_intent(row))
        await anyio.sleep(60)
        assert bench.disk.synced == 0
        bench.journal.append(a_reply(0))
        await anyio.sleep(0.201)
        assert (bench.disk.synced, bench.journal.unsynced_records) == (1, 0)

    running(bench, main)


def test_even_intents_are_synced_before_they_hold_more_than_a_mebibyte_of_memory(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        most = 0
        for row in range(20_000):
            bench.journal.append(an_intent(row))
            most = max(most, bench.journal.unsynced_bytes)
            if row % 100 == 0:
                await trio.testing.wait_all_tasks_blocked()
        assert most < (1 << 20) + 10_000
        assert bench.disk.synced == 1

    running(bench, main)


def test_a_flush_of_intents_alone_does_not_leave_the_next_reply_unsynced(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        bench.journal.append(an_intent(0))
        await bench.commit.flush()
        assert bench.disk.synced == 1
        bench.journal.append(a_reply(0))
        await anyio.sleep(0.201)
        assert bench.disk.synced == 2

    running(bench, main)


def test_who_waits_for_durability_does_not_wait_for_the_clock(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        before = anyio.current_time()
        bench.journal.append(a_reply(0))
        await bench.commit.committed(bench.journal)
        assert anyio.current_time() == before
        assert (bench.disk.synced, bench.journal.unsynced_records) == (1, 0)

    running(bench, main)


def test_a_waiters_commit_does_not_delay_the_next_one_by_number(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        bench.journal.append(a_reply(0))
        await trio.testing.wait_all_tasks_blocked()  # the task now waits for its clock
        await bench.commit.committed(bench.journal)
        for row in range(256):
            bench.journal.append(a_reply(row))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.disk.synced == 2

    running(bench, main)


def test_many_waiters_share_their_syncs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def worker(first: int) -> None:
        for row in range(first, first + 10):
            bench.journal.append(a_reply(row))
            await bench.commit.committed(bench.journal)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(worker, number * 10)
        assert bench.journal.unsynced_records == 0
        assert bench.disk.synced <= 25

    running(bench, main)


def test_all_dirty_journals_are_synced_in_one_commit_and_clean_ones_are_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    others = [bench.another(shard) for shard in (1, 2, 3)]

    async def main() -> None:
        for journal in (bench.journal, *others[:2]):
            journal.append(a_reply(0))
        await anyio.sleep(0.201)
        assert bench.disk.synced == 3
        for journal in others:
            await bench.commit.retire(journal)
        assert bench.disk.synced == 3

    running(bench, main)


def test_stop_commits_what_is_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        bench.journal.append(a_reply(0))

    running(bench, main)
    assert (bench.disk.synced, bench.journal.unsynced_records) == (1, 0)


def test_flush_works_without_the_task(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        bench.journal.append(a_reply(0))
        await bench.commit.flush()
        await bench.commit.flush()
        assert bench.disk.synced == 1
        await bench.commit.retire(bench.journal)

    virtually(main)


def test_a_retired_journal_is_synced_and_closed_even_while_a_commit_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            bench.journal.append(a_reply(0))
            tasks.start_soon(bench.commit.flush)
            tasks.start_soon(bench.commit.retire, bench.journal)
            bench.journal.append(a_reply(1))
        assert bench.journal.unsynced_records == 0
        assert bench.journal.fd == -1

    running(bench, main)


def test_after_a_failed_sync_the_run_goes_on_and_no_answer_counts_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FaultyDisk(failing_syncs=frozenset({2})))

    async def main() -> None:
        for row in range(4):
            bench.journal.append(a_reply(row))
            await bench.commit.committed(bench.journal)
        assert bench.journal.path.name == "000000.s0001.1.jsonl"
        assert [bench.replies(row) for row in range(4)] == [1, 1, 1, 1]

    running(bench, main)


def test_a_failure_comes_out_of_the_task_and_of_every_waiter(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FaultyDisk(failing_syncs=frozenset({1, 2})))
    raised: list[str] = []

    async def waiter(row: int) -> None:
        bench.journal.append(a_reply(row))
        with pytest.raises(StorageError, match="input/output error"):
            await bench.commit.committed(bench.journal)
        raised.append("waiter")

    async def task() -> None:
        with pytest.raises(StorageError):
            await bench.commit.run()
        raised.append("task")

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)
            for row in range(5):
                tasks.start_soon(waiter, row)
        with pytest.raises(StorageError):
            await bench.commit.flush()
        bench.journal.append(a_reply(5))
        with pytest.raises(StorageError):
            await bench.commit.retire(bench.journal)
        assert bench.journal.fd == -1

    virtually(main)
    assert sorted(raised) == ["task", *["waiter"] * 5]
    assert [bench.replies(row) for row in range(6)] == [1] * 6  # a process that dies now loses none of them


def test_a_failure_that_a_waiter_meets_ends_the_task_without_waiting_for_the_clock(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FaultyDisk(failing_syncs=frozenset({1, 2})))
    ended_at: list[float] = []

    async def task() -> None:
        with pytest.raises(StorageError):
            await bench.commit.run()
        ended_at.append(anyio.current_time())

    async def main() -> None:
        begun_at = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)
            bench.journal.append(a_reply(0))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(StorageError):
                await bench.commit.committed(bench.journal)
        assert ended_at == [begun_at]
        bench.journal.close()

    virtually(main)


def test_a_failure_of_one_journal_leaves_no_other_unsynced(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FaultyDisk(failing_syncs=frozenset({1})))
    other = bench.another(1)

    async def main() -> None:
        bench.journal.append(a_reply(0))
        other.append(a_reply(0))
        await bench.commit.flush()
        assert (bench.journal.unsynced_records, other.unsynced_records) == (0, 0)
        await bench.commit.retire(other)

    running(bench, main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_real_syncs_in_threads_work_on_both_back_ends(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        commit = GroupCommit()
        journal = Journal.create(tmp_path / "000000.s0001.jsonl")
        commit.add(journal)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(commit.run)
            for row in range(600):
                journal.append(a_reply(row))
                if row % 100 == 0:
                    await commit.committed(journal)
            await commit.retire(journal)
            assert journal.unsynced_records == 0
            commit.stop()

    anyio.run(main, backend=backend)


def test_a_cancelled_task_leaves_the_books_right(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.commit.run)
            bench.journal.append(a_reply(0))
            await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
        bench.journal.append(a_reply(1))
        await bench.commit.flush()
        assert bench.journal.unsynced_records == 0
        await bench.commit.retire(bench.journal)

    virtually(main)
