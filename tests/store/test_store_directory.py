"""Where files lie: names, privacy, shared state folders."""

from __future__ import annotations

import os
from pathlib import Path

from batcher.store.directory import RunDirectory, make_state_folder, run_directory, state_folder


def test_a_run_lies_beside_its_output_or_where_the_user_says() -> None:
    assert run_directory(Path("/d/out.parquet")).path == Path("/d/.batcher/out.parquet.run")
    assert state_folder(Path("/d/out.parquet"), Path("/s")) == Path("/s")


def test_outputs_of_one_name_do_not_meet_in_a_shared_folder() -> None:
    one, two = (run_directory(Path(f"/{name}/out.parquet"), Path("/s")).path for name in "ab")
    assert one != two
    assert one.parent == two.parent == Path("/s")
    assert one.name.startswith("out.parquet.")
    assert run_directory(Path("/a/out.parquet"), Path("/s")).path == one, "and are found again"


def test_a_relative_output_is_the_absolute_one(tmp_path: Path) -> None:
    here = Path.cwd() / "out.parquet"
    assert run_directory(Path("out.parquet"), tmp_path).path == run_directory(here, tmp_path).path


def test_everything_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    make_state_folder(tmp_path / ".batcher")
    directory = run_directory(tmp_path / "out.parquet")
    directory.make()
    directory.make()
    folders = [tmp_path / ".batcher", *(path for path in (tmp_path / ".batcher").rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    assert (tmp_path / ".batcher" / ".gitignore").read_text() == "*\n"


def test_a_gitignore_of_the_users_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    make_state_folder(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_journals_are_found_in_the_order_they_were_written(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.make()
    for shard, session in ((4, 10), (4, 2), (4, 1), (40, 1), (5, 3)):
        directory.journal(shard, session).touch()
    (directory.journal_folder / "000004.sxx.jsonl").touch()
    assert directory.journals(4) == [directory.journal(4, session) for session in (1, 2, 10)]
    assert directory.journals(6) == []


def test_nothing_of_a_run_is_named_parquet() -> None:
    directory = RunDirectory(Path("/r"))
    names = [
        directory.part(1), directory.input(1), directory.journal(1, 1), directory.try_part(1), directory.spool("x"),
        directory.replaced_output("run"), directory.manifest, directory.progress, directory.ballast, directory.reuse,
    ]  # fmt: skip
    assert not [path for path in names if path.suffix == ".parquet"]
    assert len(set(names)) == len(names)


def test_copies_of_standard_input_are_listed_latest_first(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    for number, mark in enumerate(["b", "a", "c"]):
        directory.spool(mark).touch()
        os.utime(directory.spool(mark), ns=(number, number))
    assert directory.spools == [directory.spool(mark) for mark in ("c", "a", "b")]
