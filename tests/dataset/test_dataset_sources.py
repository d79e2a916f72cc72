"""Which files are the input."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest
from dataset_inputs import scanned, write, write_table

from batcher.dataset import InputSpec, find_files, refuse_output_among, scan, spool_stdin
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

ROW = '{"p": 1}\n'


def names(source: str, base: Path) -> list[str]:
    return [path.name for path in find_files(InputSpec(source), base=base)]


def test_a_relative_path_is_relative_to_the_base_and_comes_back_absolute(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROW)
    assert find_files(InputSpec("a.jsonl"), base=tmp_path) == [tmp_path / "a.jsonl"]


def test_a_directory_gives_its_data_files_by_name(tmp_path: Path) -> None:
    for name in ["b.jsonl.gz", "a.ndjson", "c.jsonl.zst", ".hidden.jsonl", "_tmp.jsonl", "README.md"]:
        write(tmp_path / name, ROW)
    (tmp_path / "nested").mkdir()
    write(tmp_path / "nested" / "z.jsonl", ROW)
    assert names(".", tmp_path) == ["a.ndjson", "b.jsonl.gz", "c.jsonl.zst"]


def test_a_glob_gives_its_files_by_name_and_none_of_a_run_directory(tmp_path: Path) -> None:
    (tmp_path / ".batcher").mkdir()
    for name in ["10.jsonl", "9.jsonl", "1.jsonl", "x.parquet", ".batcher/5.jsonl"]:
        write(tmp_path / name, ROW)
    assert names("*.jsonl", tmp_path) == ["1.jsonl", "10.jsonl", "9.jsonl"]
    assert names("**/*.jsonl", tmp_path) == ["1.jsonl", "10.jsonl", "9.jsonl"]


def test_several_files_are_one_dataset_in_order(tmp_path: Path) -> None:
    write(tmp_path / "2.jsonl", '{"p": 3}\n')
    write(tmp_path / "1.jsonl", '{"p": 1}\n{"p": 2}')
    spec = InputSpec("*.jsonl")
    found = scan(spec, find_files(spec, base=tmp_path))
    assert [stamp.rows for stamp in found.files] == [2, 1]
    assert found.rows == 3


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "a[1].jsonl", ROW)
    assert names("a[1].jsonl", tmp_path) == ["a[1].jsonl"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jsonl", "there is no input missing.jsonl"),
        ("no/such/folder.jsonl", "does not exist either"),
        ("*.parquet", "no file matches"),
        ("empty", "has no .jsonl"),
        ("s3://bucket/rows.jsonl", "s3:// inputs are not read yet"),
        ("gs://bucket/rows.jsonl", "gs:// inputs are not read yet"),
        ("rows.csv", "is CSV, which is not read here"),
        ("rows.csv.gz", "is CSV"),
        ("rows.TSV", "is CSV"),
        ("*.csv", "is CSV"),
        ("pipe", "is not a regular file"),
        ("-", "standard input"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ["rows.csv", "rows.csv.gz", "rows.TSV"]:
        write(tmp_path / name, "a,b\n1,2\n")
    with pytest.raises(DatasetError, match=message) as caught:
        find_files(InputSpec(source), base=tmp_path)
    assert "\n" not in str(caught.value)
    if "CSV" in message:
        assert "rows.parquet" in (caught.value.hint or "") or "rows.csv.parquet" in (caught.value.hint or "")


def test_a_directory_of_several_kinds_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROW)
    write_table(tmp_path / "b.parquet", {"p": [1]})
    with pytest.raises(DatasetError, match="several kinds"):
        find_files(InputSpec("."), base=tmp_path)
    with pytest.raises(DatasetError, match="both Parquet and JSONL"):
        scan(InputSpec("x"), [tmp_path / "a.jsonl", tmp_path / "b.parquet"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROW).chmod(0)
    with pytest.raises(DatasetError, match="permission denied"):
        find_files(InputSpec("a.jsonl"), base=tmp_path)


def test_the_input_is_not_the_output_by_any_name(tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.parquet", {"p": [1]})
    (tmp_path / "link.parquet").symlink_to(source)
    for output in [source, tmp_path / "link.parquet", tmp_path / "." / "a.parquet"]:
        with pytest.raises(DatasetError, match="both input and output"):
            refuse_output_among([source], output)
    refuse_output_among([source], tmp_path / "other.parquet")


def test_stdin_is_copied_whole(tmp_path: Path) -> None:
    content = ROW.encode() * 300_000
    path = tmp_path / "run" / "stdin"
    spool_stdin(io.BytesIO(content), path)
    assert path.read_bytes() == content
    assert scanned(path).rows == 300_000
    assert [p.name for p in path.parent.iterdir()] == ["stdin"]


def test_parquet_on_stdin_is_recognised_by_its_bytes(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", {"p": [1, 2]})
    spool_stdin(io.BytesIO(table.read_bytes()), tmp_path / "stdin")
    assert scanned(tmp_path / "stdin").format == "parquet"


class _Broken(io.RawIOBase):
    def __init__(self) -> None:
        self.left = 3

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if not self.left:
            raise OSError("the pipe broke")
        return b"x" * 100


def test_a_broken_pipe_leaves_nothing_that_looks_like_an_input(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the pipe broke"):
        spool_stdin(cast("BinaryIO", _Broken()), tmp_path / "stdin")
    assert list(tmp_path.iterdir()) == []
