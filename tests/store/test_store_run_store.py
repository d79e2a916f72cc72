"""The store of a session: every row handed out once, every answer in the journal, every shard sealed behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pyarrow.parquet as pq
import pytest
from journal_samples import a_reply, an_intent
from part_samples import FACTS, SCHEMA
from run_samples import SampleSource, made, settle

from batcher.errors import StorageError
from batcher.records import EndRecord, Outcome
from batcher.store import run_store, shard_input
from batcher.store.history import ShardHistory
from batcher.store.manifest import Manifest, SessionOpen
from batcher.store.recovery import recover
from batcher.store.run_state import replay
from batcher.store.run_store import RunStore
from batcher.store.store_plan import StorePlan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from batcher.store.directory import RunDirectory

COLUMNS = frozenset({"id"})


class Bench:
    """One run directory, over any number of sessions."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.directory: RunDirectory = made(folder)
        self.source = SampleSource(rows)
        self.failures: list[BaseException] = []

    def session(self, work: Callable[[RunStore], Awaitable[None]], *, strict: bool = False) -> RunStore:
        """Open the run as the next session does, do some work, close it."""
        manifest = Manifest.open(self.directory.manifest)
        state = replay(manifest.records)
        recovery = recover(
            self.directory, state, source=self.source, settle=settle, end_row=self.source.rows, selected=None
        )
        opened = SessionOpen(state.session + 1, 1, "host", 0.0, "0")
        manifest.append(opened)
        state.apply(opened)
        plan = StorePlan(
            session=opened.session, end_row=self.source.rows, columns=COLUMNS, schema=SCHEMA, facts=FACTS,
            settle=settle, strict=strict,
        )  # fmt: skip
        store = RunStore(
            directory=self.directory, manifest=manifest, state=state, source=self.source, plan=plan
        )
        store.adopt(recovery.shards)

        async def main() -> None:
            await store.start()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.run_background, self.failures.append)
                try:
                    await work(store)
                finally:
                    await store.close()
                    tasks.cancel_scope.cancel()

        anyio.run(main)
        manifest.close()
        return store


async def answer_all(store: RunStore) -> list[int]:
    """Answer every row that is handed out; their positions."""
    seen = []
    while (rows := await store.next_rows()) is not None:
        for row in rows:
            seen.append(row.row_index)
            store.intend(an_intent(row.row_index))
            await store.keep(a_reply(row.row_index))
            await store.finish(row.row_index, Outcome.OK, None)
    return seen


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 64 rows, so that few rows make many."""
    assert shard_input.ShardCutter.cut.__kwdefaults__ is not None
    monkeypatch.setitem(shard_input.ShardCutter.cut.__kwdefaults__, "most_rows", 64)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("strict", [False, True])
def test_every_row_is_handed_out_once_and_ends_in_a_part(tmp_path: Path, strict: bool) -> None:
    rows = 40 if strict else 300
    bench = Bench(tmp_path, rows)
    seen: list[int] = []

    async def work(store: RunStore) -> None:
        seen.extend(await answer_all(store))
        await store.sealed_all()

    store = bench.session(work, strict=strict)
    assert seen == list(range(rows))
    assert bench.failures == []
    assert store.totals.rows == rows
    assert store.totals.outcomes == {"ok": rows}
    found = [row for part in store.parts for row in pq.read_table(part)["id"].to_pylist()]
    assert found == [10 * row for row in range(rows)]
    assert list(bench.directory.journal_folder.iterdir()) == [], "deleted after the manifest knew the part"
    assert list((bench.directory.path / "input").iterdir()) == []


@pytest.mark.usefixtures("small_shards")
def test_a_session_that_ends_early_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 300)
    first: list[int] = []
    second: list[int] = []

    async def some(store: RunStore) -> None:
        while len(first) < 100:
            for row in await store.next_rows() or ():
                await store.keep(a_reply(row.row_index))
                await store.finish(row.row_index, Outcome.OK, None)
                first.append(row.row_index)

    async def rest(store: RunStore) -> None:
        second.extend(await answer_all(store))
        await store.sealed_all()

    bench.session(some)
    store = bench.session(rest)
    assert sorted(first + second) == list(range(300)), "no row twice, none left out"
    assert store.totals.rows == 300
    assert [row for part in store.parts for row in pq.read_table(part)["row_index"].to_pylist()] == list(
        range(300)
    )


def test_what_a_reply_and_an_end_say_is_in_the_journal_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10)

    async def work(store: RunStore) -> None:
        rows = await store.next_rows()
        assert rows is not None
        store.intend(an_intent(0))
        await store.keep(a_reply(0))
        await store.finish(0, Outcome.OK, None)
        await store.finish(1, Outcome.FAILED, EndRecord(1, Outcome.FAILED, "bad_request"))
        store.intend(an_intent(2))
        with ShardHistory.open(bench.directory.journals(0), first_row=0, rows=10) as history:
            assert history.history(0).replies
            assert history.history(1).end is not None
            assert history.history(2).open_intents == 1

    bench.session(work)


def test_a_reopened_row_is_handed_out_by_the_next_session(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10)
    seen: list[int] = []

    async def work(store: RunStore) -> None:
        await store.next_rows()
        for row in (4, 5):
            await store.finish(row, Outcome.FAILED, EndRecord(row, Outcome.FAILED, "bad_request"))
        store.reopen(4)
        store.reopen(4)
        store.reopen(7)

    async def rest(store: RunStore) -> None:
        seen.extend(await answer_all(store))
        await store.sealed_all()

    bench.session(work)
    store = bench.session(rest)
    assert seen == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert store.totals.outcomes == {"ok": 9, "failed": 1}


def test_attempts_of_earlier_sessions_are_known(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10)

    async def work(store: RunStore) -> None:
        await store.next_rows()
        assert store.prior(3) == (0, 0)
        store.intend(an_intent(3))

    bench.session(work)
    bench.session(work)


def test_a_row_that_ends_twice_is_a_bug(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10)

    async def work(store: RunStore) -> None:
        await store.next_rows()
        await store.finish(1, Outcome.OK, None)
        with pytest.raises(AssertionError, match="row 1 ended twice"):
            await store.finish(1, Outcome.OK, None)

    bench.session(work)


def test_a_failure_behind_the_engine_is_told_and_lets_whoever_waits_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, 10)

    def full(**_: object) -> None:
        raise StorageError("no space")

    monkeypatch.setattr(run_store, "seal_shard", full)

    async def work(store: RunStore) -> None:
        await answer_all(store)
        with pytest.raises(StorageError, match="no space"):
            await store.sealed_all()

    bench.session(work)
    assert [str(each) for each in bench.failures] == ["no space"]
    assert bench.directory.journals(0), "the answers are still there"


@pytest.mark.usefixtures("small_shards")
def test_the_reader_waits_when_too_many_shards_are_open(tmp_path: Path) -> None:
    """Rows are handed out, none of them ends: after sixteen shards (and one cut ahead) there are no more."""
    bench = Bench(tmp_path, 64 * 30)
    handed: list[int] = []

    async def work(store: RunStore) -> None:
        with anyio.move_on_after(0.5):
            while (rows := await store.next_rows()) is not None:
                handed.extend(row.row_index for row in rows)
        assert 64 * 15 <= len(handed) <= 64 * 16

    bench.session(work)
    assert len(list((bench.directory.path / "input").glob("*.arrow"))) <= 16


def test_no_rows_are_sealed_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 0)

    async def work(store: RunStore) -> None:
        assert await store.next_rows() is None
        await store.sealed_all()

    assert bench.session(work).parts == []
