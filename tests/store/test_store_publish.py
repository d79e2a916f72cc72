"""Publishing: one verified file in input order, or nothing; a crash at any step is finished by the same call."""

from __future__ import annotations

import dataclasses
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from part_samples import FACTS, SCHEMA, seal_sample

from batcher.errors import Conflict, StorageError
from batcher.store.files import RealDisk
from batcher.store.footer import read_facts
from batcher.store.part import Totals, measure, reopen_and_check
from batcher.store.publish import Published, ReplacePlan, publish, recognise, temporary_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.store.files import Disk
    from batcher.store.footer import FileFacts

OLD_FACTS = dataclasses.replace(FACTS, run_id="run-0")


class KilledError(BaseException):
    """Stands for kill -9: no `except` of ours may catch it."""


@dataclass
class Shards:
    """A run's sealed parts, and where its output goes."""

    parts: list[Path]
    totals: Totals
    output: Path

    def publish(
        self,
        *,
        replace: ReplacePlan | None = None,
        facts: FileFacts = FACTS,
        disk: Disk | None = None,
    ) -> Published:
        return publish(
            self.parts,
            output=self.output,
            schema=SCHEMA,
            facts=facts,
            totals=self.totals,
            replace=replace,
            disk=disk or RealDisk(),
        )


def sealed_shards(folder: Path, count: int, *, rows: int = 40, facts: FileFacts = FACTS) -> Shards:
    parts, totals = [], Totals()
    (folder / "parts").mkdir(parents=True)
    (folder / "out").mkdir()
    for number in range(count):
        part, sealed = seal_sample(folder / "parts", number * rows, rows, facts=facts)
        parts.append(part)
        totals += sealed.totals
    return Shards(parts, totals, folder / "out" / "out.parquet")


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_parts_become_one_output_that_every_tool_reads(tmp_path: Path, count: int) -> None:
    shards = sealed_shards(tmp_path, count)
    published = shards.publish()
    assert (published.size, published.checksum) == measure(shards.output)
    assert published.totals == shards.totals
    assert pl.read_parquet(shards.output)["row_index"].to_list() == list(range(40 * count))
    assert list(pd.read_parquet(shards.output).columns) == SCHEMA.arrow.names
    assert read_facts(shards.output) == FACTS
    assert names(shards.output.parent) == ["out.parquet"]


def test_parts_are_left_for_the_caller_to_delete(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 1)
    shards.publish()
    assert shards.parts[0].exists()


def test_a_single_part_is_linked_and_not_written_again(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 1)
    shards.publish()
    assert shards.output.stat().st_ino == shards.parts[0].stat().st_ino


def test_a_single_part_whose_footer_says_something_else_is_written_again(tmp_path: Path) -> None:
    incomplete = dataclasses.replace(FACTS, complete=False)
    shards = sealed_shards(tmp_path, 1, facts=incomplete)
    shards.publish()
    facts = read_facts(shards.output)
    assert facts is not None
    assert facts.complete


@pytest.mark.parametrize("count", [1, 2])
def test_the_output_has_the_permissions_of_an_ordinary_new_file(tmp_path: Path, count: int) -> None:
    shards = sealed_shards(tmp_path, count)
    shards.publish()
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert shards.output.stat().st_mode == ordinary.stat().st_mode


def test_the_state_folder_may_lie_on_another_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = sealed_shards(tmp_path, 1)
    link = os.link

    def link_within_a_folder(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, target)

    monkeypatch.setattr(os, "link", link_within_a_folder)
    shards.publish()
    assert shards.output.stat().st_ino != shards.parts[0].stat().st_ino
    reopen_and_check(shards.output, shards.totals, SCHEMA)


def test_the_unfinished_file_is_hidden_from_globs_and_fits_the_longest_name(tmp_path: Path) -> None:
    temporary = temporary_path(tmp_path / ("\u00e4" * 120 + ".parquet"), "run-1")
    assert temporary.name.startswith(".")
    assert not temporary.name.endswith(".parquet")
    temporary.touch()


def test_what_stands_there_is_never_replaced_without_a_plan(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 2)
    shards.output.write_text("mine")
    with pytest.raises(Conflict, match="batcher did not write"):
        shards.publish()
    assert shards.output.read_text() == "mine"
    shards.output.unlink()
    shards.output.symlink_to("nowhere")
    with pytest.raises(Conflict):
        shards.publish()
    shards.output.unlink()
    shards.output.mkdir()
    with pytest.raises(Conflict):
        shards.publish(replace=ReplacePlan("run-0"))
    assert names(shards.output.parent) == ["out.parquet"]


def test_another_runs_output_is_a_conflict_that_names_the_run(tmp_path: Path) -> None:
    old = sealed_shards(tmp_path / "old", 1, facts=OLD_FACTS)
    old.publish(facts=OLD_FACTS)
    shards = sealed_shards(tmp_path / "new", 2)
    shards.output = old.output
    before = measure(old.output)
    for plan in (None, ReplacePlan("run-7")):
        with pytest.raises(Conflict, match="run-0"):
            shards.publish(replace=plan)
    assert measure(old.output) == before


def test_a_file_that_appears_while_the_output_is_written_is_left_alone(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 2)

    class Slow(RealDisk):
        def sync_file(self, fd: int) -> None:
            shards.output.write_text("mine")

    with pytest.raises(Conflict):
        shards.publish(disk=Slow())
    assert shards.output.read_text() == "mine"


def test_a_planned_replacement_moves_the_old_output_into_the_archive(tmp_path: Path) -> None:
    shards = replacing(tmp_path)
    before = measure(shards.output)
    archive = tmp_path / "archive" / "old.parquet"
    shards.publish(replace=ReplacePlan("run-0", archive))
    assert measure(archive) == before
    assert recognise(shards.output, "run-1") is not None


def test_a_retry_replaces_its_own_runs_output_by_the_next_generation(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 2)
    shards.publish()
    retried = dataclasses.replace(FACTS, generation=1)
    shards.publish(facts=retried, replace=ReplacePlan("run-1"))
    assert recognise(shards.output, "run-1", generation=1) == retried
    assert recognise(shards.output, "run-1", generation=0) is None


def test_a_planned_file_that_is_gone_is_no_obstacle(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 2)
    shards.publish(replace=ReplacePlan("run-0", tmp_path / "archive.parquet"))
    assert not (tmp_path / "archive.parquet").exists()


def test_a_damaged_part_stops_publishing_and_nothing_stands_there(tmp_path: Path) -> None:
    for count in (1, 2):
        shards = sealed_shards(tmp_path / str(count), count)
        part = shards.parts[0]
        column = pq.read_metadata(part).row_group(0).column(0)
        damaged = bytearray(part.read_bytes())
        damaged[column.data_page_offset + column.total_compressed_size - 1] ^= 1
        part.write_bytes(damaged)
        with pytest.raises(StorageError, match=r"000000\.part is damaged|cannot be read back"):
            shards.publish()
        assert names(shards.output.parent) == []


def test_a_missing_part_and_a_missing_row_stop_publishing(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 3)
    kept = shards.parts.pop(1)
    with pytest.raises(StorageError, match="input order"):
        shards.publish()
    shards.parts.insert(1, kept)
    kept.unlink()
    with pytest.raises(StorageError, match="publishing failed"):
        shards.publish()
    assert names(shards.output.parent) == []


# --- crashes ---


class Killer(RealDisk):
    """Kills before the nth durable step (syncs, links, renames, deletions), counted over all of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int, how: Callable[[], BaseException]) -> None:
        self.left = nth
        self.happened = False
        self._how = how
        for name in ("link", "unlink", "rename", "replace"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def step(self) -> None:
        self.left -= 1
        if self.left < 0 and not self.happened:
            self.happened = True
            raise self._how()

    def _watched(self, real: Callable[..., None]) -> Callable[..., None]:
        def watched(*args: object, **kwargs: object) -> None:
            self.step()
            real(*args, **kwargs)

        return watched

    def sync_file(self, fd: int) -> None:
        self.step()
        super().sync_file(fd)

    def sync_dir(self, path: Path) -> None:
        self.step()
        super().sync_dir(path)


def replacing(folder: Path) -> Shards:
    """A run about to replace the output of run-0."""
    shards = sealed_shards(folder, 2)
    old = sealed_shards(folder / "old", 1, facts=OLD_FACTS)
    old.output = shards.output
    old.publish(facts=OLD_FACTS)
    (folder / "archive").mkdir()
    return shards


def fresh_one(folder: Path) -> Shards:
    return sealed_shards(folder, 1)


def fresh_many(folder: Path) -> Shards:
    return sealed_shards(folder, 2)


@pytest.mark.parametrize("start", [fresh_one, fresh_many, replacing])
@pytest.mark.parametrize("how", [KilledError, lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_crash_at_any_step_is_finished_by_the_same_call(
    tmp_path: Path, start: Callable[[Path], Shards], how: Callable[[], BaseException]
) -> None:
    for nth in range(100):
        folder = tmp_path / str(nth)
        shards = start(folder)
        plan = ReplacePlan("run-0", folder / "archive" / "old.parquet") if start is replacing else None
        with pytest.MonkeyPatch.context() as patch:
            killer = Killer(patch, nth, how)
            try:
                shards.publish(replace=plan, disk=killer)
            except (KilledError, StorageError):
                assert killer.happened
        check_never_without_an_output(shards, replaced=plan is not None)
        assert shards.publish(replace=plan).totals == shards.totals
        reopen_and_check(shards.output, shards.totals, SCHEMA)
        assert recognise(shards.output, "run-1") is not None
        assert names(shards.output.parent) == ["out.parquet"]
        if plan is not None:
            assert names(folder / "archive") == ["old.parquet"]
            assert recognise(folder / "archive" / "old.parquet", "run-0") is not None
        if not killer.happened:
            assert nth >= 5
            return
    pytest.fail("publishing never ended")


def check_never_without_an_output(shards: Shards, *, replaced: bool) -> None:
    """What stands under the output's name is whole; while it replaces something, something stands there."""
    facts = read_facts(shards.output)
    if replaced:
        assert facts is not None
    if facts is not None and facts.run_id == "run-1":
        reopen_and_check(shards.output, shards.totals, SCHEMA)


def test_a_published_output_is_recognised_when_its_parts_are_gone(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 2)
    first = shards.publish()
    for part in shards.parts:
        part.unlink()
    assert shards.publish() == first


def test_a_recognised_output_that_is_damaged_is_not_taken_for_published(tmp_path: Path) -> None:
    shards = sealed_shards(tmp_path, 2)
    shards.publish()
    with pytest.raises(StorageError, match="rows"):
        publish(
            [],
            output=shards.output,
            schema=SCHEMA,
            facts=FACTS,
            totals=dataclasses.replace(shards.totals, rows=81),
        )
