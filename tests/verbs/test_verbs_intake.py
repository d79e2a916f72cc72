"""Input taken in: scanned before anything is paid, standard input copied into the run directory first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from batcher.errors import DatasetError
from batcher.job import JobOptions, load_job
from batcher.store.directory import RunDirectory
from batcher.verbs.intake import take_in
from batcher.verbs.opening import Site
from batcher.verbs.options import RunOptions
from batcher.verbs.session import Silence

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job
    from batcher.verbs.intake import Intake

LINES = b'{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n'


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


class Heard(Silence):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    directory = RunDirectory(tmp_path / ".batcher" / "out.parquet.run")
    directory.make()
    return Site(tmp_path / "out.parquet", tmp_path / ".batcher", directory)


def job_of(source: str, **options: int) -> Job:
    given = JobOptions(input=source, output="out.parquet", model="m", prompt="{{ text }}", **options)  # type: ignore[arg-type]
    return load_job(None, options=given)


def piped(site: Site, content: bytes | None) -> Intake:
    stdin = None if content is None else io.BytesIO(content)
    return take_in(job_of("-"), RunOptions(stdin=stdin), site, known=None)


def test_wanted_rows_are_the_limit_or_all(site: Site, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINES)
    source = str(tmp_path / "in.jsonl")
    found = take_in(job_of(source), RunOptions(), site, known=None)
    assert found.wanted_rows(job_of(source)) == 3
    assert found.wanted_rows(job_of(source, limit=2)) == 2
    assert found.wanted_rows(job_of(source, limit=9)) == 3
    assert (found.shape.format, found.shape.schema.names) == ("jsonl", ["text"])
    assert found.source().rows == 3


def test_a_pipe_is_copied_into_the_run_directory(site: Site) -> None:
    assert piped(site, LINES).scan.rows == 3
    (spool,) = site.directory.spools
    assert spool.read_bytes() == LINES
    assert spool.stat().st_mode & 0o077 == 0, "rows are private"


def test_the_same_pipe_again_leaves_the_copy_alone(site: Site) -> None:
    piped(site, LINES)
    before = site.directory.spools[0].stat()
    piped(site, LINES)
    (spool,) = site.directory.spools
    after = spool.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("stdin", [None, io.BytesIO(b""), Terminal(b"never read")])
def test_without_a_pipe_the_copy_of_the_first_session_is_the_input(
    site: Site, stdin: io.BytesIO | None
) -> None:
    piped(site, LINES)
    found = take_in(job_of("-"), RunOptions(stdin=stdin), site, known=None)
    assert found.scan.rows == 3
    assert [path.read_bytes() for path in site.directory.spools] == [LINES]


@pytest.mark.parametrize("stdin", [None, Terminal(b"never read")])
def test_with_neither_pipe_nor_copy_the_way_to_pipe_is_shown(site: Site, stdin: io.BytesIO | None) -> None:
    with pytest.raises(DatasetError) as caught:
        take_in(job_of("-"), RunOptions(stdin=stdin), site, known=None)
    assert "nothing is piped in" in str(caught.value)
    assert "batcher run -i -" in str(caught.value.hint)


def test_another_pipe_is_another_input(site: Site) -> None:
    first = piped(site, LINES)
    second = piped(site, b'{"text": "z"}\n')
    assert first.scan.content_hash != second.scan.content_hash


def test_an_empty_pipe_is_an_empty_input(site: Site) -> None:
    with pytest.raises(DatasetError, match="0 rows"):
        piped(site, b"")


def test_notes_of_the_scan_are_said(site: Site, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "a", "text": "b"}\n')
    heard = Heard()
    take_in(job_of(str(tmp_path / "in.jsonl")), RunOptions(display=heard), site, known=None)
    assert len(heard.lines) == 1
    assert heard.lines[0].startswith("  input: ")


def test_the_output_is_no_input_by_any_name(site: Site, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINES)
    site.output.symlink_to(tmp_path / "in.jsonl")
    with pytest.raises(DatasetError, match="both input and output"):
        take_in(job_of(str(tmp_path / "in.jsonl")), RunOptions(), site, known=None)
