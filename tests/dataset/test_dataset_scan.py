"""A scan is remembered, sought in, and trusted only while the content is the one that was scanned."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from dataset_inputs import compressed, problems, read, scanned, values, write, write_table

from batcher.dataset import InputSpec, Scan, jsonl_scan, jsonl_slices, open_source, scan
from batcher.dataset import content as content_module
from batcher.errors import Conflict, DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.ports import RowSource


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 kB and a mark every 8 kB, so that small files have many."""
    monkeypatch.setattr(content_module, "BLOCK", 4_096)
    monkeypatch.setattr(jsonl_slices, "BLOCK", 4_096)
    monkeypatch.setattr(jsonl_scan, "MARK_BYTES", 8_192)


def rows(count: int) -> str:
    return "".join(
        ("\n" if at % 13 == 0 else "")
        + ("not json\n" if at % 97 == 5 else json.dumps({"i": at, "p": "x" * (at % 50)}) + "\n")
        for at in range(count)
    )


@pytest.mark.parametrize("codec", ["", "gzip", "zstd"])
def test_the_json_form_comes_back_equal(tmp_path: Path, codec: str, small_blocks: None) -> None:
    content = rows(2_000).encode() + b'{"l": [1], "l": {}}\n{"cut'
    path = write(tmp_path / "a.jsonl", compressed(content, codec) if codec else content)
    found = scanned(path)
    again = Scan.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.schema.equals(found.schema, check_metadata=True)
    assert found.notes
    assert len(found.files[0].marks) > 5


@pytest.mark.parametrize("codec", ["", "gzip", "zstd"])
def test_every_row_is_found_from_anywhere(tmp_path: Path, codec: str, small_blocks: None) -> None:
    content = rows(1_000).encode()
    path = write(tmp_path / "a.jsonl", compressed(content, codec) if codec else content)
    found = scanned(path)
    whole = read(found)
    assert [row.values["i"] for row in whole] == [None if i % 97 == 5 else i for i in range(1_000)]
    assert set(problems(found)) == set(range(5, 1_000, 97))
    for start in [*range(0, 1_000, 37), 998, 999, 1_000]:
        assert read(found, first_row=start, rows_per_slice=100) == whole[start:]


def test_a_source_is_what_the_store_asks_for(tmp_path: Path) -> None:
    source: RowSource = open_source(scanned(write(tmp_path / "a.jsonl", '{"p": 1}\n')))
    assert source.rows == 1
    assert source.schema.names == ["p"]
    assert [piece.batch.num_rows for piece in source.slices(first_row=0)] == [1]


def test_seeking_over_several_files_keeps_the_numbers(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{n}.jsonl", "".join(f'{{"i": {n * 10 + i}}}\n' for i in range(10)))
        for n in range(3)
    ]
    found = scan(InputSpec("x"), paths)
    for start in [0, 9, 10, 11, 19, 20, 29]:
        assert [row.values["i"] for row in read(found, first_row=start, rows_per_slice=4)] == list(
            range(start, 30)
        )


def test_slices_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl_slices, "SLICE_BYTES", 10_000)
    found = scanned(
        write(
            tmp_path / "a.jsonl", ('{"p": "' + "x" * 3_000 + '"}\n') * 10 + '{"p": "' + "y" * 20_000 + '"}\n'
        )
    )
    assert [piece.batch.num_rows for piece in open_source(found).slices()] == [3, 3, 3, 1, 1]


@pytest.mark.parametrize(("first_row", "rows_per_slice"), [(-1, 10), (0, 0)])
def test_senseless_slices_are_a_bug(tmp_path: Path, first_row: int, rows_per_slice: int) -> None:
    found = scanned(write(tmp_path / "a.jsonl", rows(3)))
    with pytest.raises(ValueError, match="must be at least"):
        open_source(found).slices(first_row=first_row, rows_per_slice=rows_per_slice)


# --- known scans ----------------------------------------------------------------------------------------------------


def test_a_known_scan_of_untouched_files_is_taken_without_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.jsonl", rows(100))
    found = scanned(path)
    monkeypatch.setattr("batcher.dataset.source.scan_jsonl", None)
    assert scan(InputSpec(str(path)), [path], known=found) == found


@pytest.mark.parametrize("change", ["size", "mtime", "inode", "number", "format"])
def test_a_known_scan_of_anything_else_is_not(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "a.jsonl", '{"p": 1}\n{"p": 2}\n')
    found = scanned(path)
    files, spec = [path], InputSpec(str(path))
    facts = path.stat()
    if change == "size":
        write(path, '{"p": 1}\n')
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    elif change == "mtime":
        write(path, '{"p": 1}\n{"p": 3}\n')
        os.utime(path, ns=(0, 1))
    elif change == "inode":
        other = write(tmp_path / "new", '{"p": 1}\n{"p": 3}\n')
        os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        other.rename(path)
    elif change == "number":
        files.append(write(tmp_path / "b.jsonl", '{"p": 3}\n'))
    else:
        spec = InputSpec(str(path), format="openai-batch")
    assert scan(spec, files, known=found) != found


def test_the_content_hash_knows_content_only(tmp_path: Path) -> None:
    first = scanned(write(tmp_path / "a.jsonl", rows(50)))
    os.utime(tmp_path / "a.jsonl", ns=(1, 1))
    moved = (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    assert scanned(moved).content_hash == first.content_hash
    assert scanned(write(tmp_path / "c.jsonl", rows(51))).content_hash != first.content_hash
    assert len(first.content_hash) == 32


def test_the_order_of_files_counts(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.jsonl", '{"p": 1}\n'), write(tmp_path / "2.jsonl", '{"p": 2}\n')
    assert scan(InputSpec("x"), [one, two]).content_hash != scan(InputSpec("x"), [two, one]).content_hash


# --- change in mid-run ----------------------------------------------------------------------------------------------


def test_a_file_that_only_grew_reads_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"p": 1}\n{"p": 2}')
    found = scanned(path)
    with path.open("a") as file:
        file.write('00}\n{"p": 3}\n')
    assert values(found, "p") == [1, 2]


def test_a_file_that_was_touched_but_not_changed_reads_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(30))
    found = scanned(path)
    os.utime(path, ns=(1, 1))
    assert len(read(found)) == 30


def test_a_file_that_shrank_stops_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"p": 1}\n{"p": 2}\n')
    found = scanned(path)
    os.truncate(path, 9)
    with pytest.raises(Conflict, match="shorter"):
        read(found)


def test_a_change_under_the_same_size_and_times_stops_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"p": 1}\n{"p": 2}\n')
    found = scanned(path)
    facts = path.stat()
    path.write_bytes(b'{"p": 1}\n{"p": 9}\n')
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(Conflict, match="its content changed"):
        read(found)


def test_a_change_in_mid_run_is_found_before_a_changed_row_is_handed_out(
    tmp_path: Path, small_blocks: None
) -> None:
    content = "".join(f'{{"i": {at:06d}}}\n'.replace(": 0", ": 1") for at in range(3_000))
    path = write(tmp_path / "a.jsonl", content)
    pieces = open_source(scanned(path)).slices(rows_per_slice=50)
    next(pieces)
    with path.open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"9")
    seen = 0
    with pytest.raises(Conflict):  # noqa: PT012 - how far it came is what is tested
        for piece in pieces:
            seen = piece.first_row + piece.batch.num_rows
    assert 2_000 < seen < 3_000


def test_a_file_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(3))
    found = scanned(path)
    path.unlink()
    with pytest.raises(DatasetError, match="cannot be read any more"):
        read(found)
    with pytest.raises(DatasetError, match="cannot be read"):
        scan(InputSpec(str(path)), [path])


def test_a_changed_parquet_file_stops_the_run_and_a_touched_one_does_not(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.parquet", {"i": list(range(100))}, row_group_size=10)
    found = scanned(path)
    os.utime(path, ns=(1, 1))
    assert len(read(found)) == 100
    pieces = open_source(found).slices(rows_per_slice=10)
    next(pieces)
    write_table(path, {"i": list(range(1, 101))}, row_group_size=10)
    with pytest.raises(Conflict, match="its content changed"):
        list(pieces)
    assert pq.read_table(path).num_rows == 100
    write(path, b"no Parquet at all")
    with pytest.raises(Conflict, match="its content changed"):
        read(found)
    path.unlink()
    with pytest.raises(DatasetError, match="cannot be read any more"):
        read(found)
