"""JSONL in .gz and .zst: many members, damage, bombs."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import TYPE_CHECKING

import pytest
from dataset_inputs import compressed, problems, read, scanned, values, write

from batcher.dataset import content as content_module
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

CODECS = ["gzip", "zstd"]


def rows(count: int, *, seed: int = 7) -> bytes:
    numbers = random.Random(seed)
    return b"".join(
        b'{"i": %d, "p": "%s"}\n' % (i, numbers.randbytes(60).hex().encode()) for i in range(count)
    )


@pytest.mark.parametrize("codec", CODECS)
def test_all_members_are_read_and_the_hash_is_that_of_the_plain_file(tmp_path: Path, codec: str) -> None:
    content = rows(20_000)
    cut = 1_234_567  # in mid-line
    members = compressed(content[:cut], codec) + compressed(b"", codec) + compressed(content[cut:], codec)
    found = scanned(write(tmp_path / "a.jsonl.x", members))
    plain = scanned(write(tmp_path / "a.jsonl", content))
    assert found.content_hash == plain.content_hash
    assert found.files[0].codec == codec
    assert values(found, "i") == list(range(20_000))
    assert [row.row_index for row in read(found, first_row=19_990)] == list(range(19_990, 20_000))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_the_rows_before_a_cut_run_and_the_torn_one_is_a_problem(
    tmp_path: Path, codec: str, share: float
) -> None:
    content = rows(8_000)
    whole = compressed(content, codec)
    path = write(tmp_path / "a.jsonl.x", whole[: int(len(whole) * share)])
    found = scanned(path)
    seen = read(found, "i")
    bad = problems(found)
    assert 1_000 < found.rows < 8_001
    assert [row.values["i"] for row in seen if row.problem is None] == list(range(found.rows - len(bad)))
    assert set(bad) <= {found.rows - 1}
    assert all("the file may be incomplete" in reason for reason in bad.values())
    assert any("breaks off" in note and "incomplete" in note for note in found.notes)


def test_not_one_decompressible_byte_before_a_cut_is_lost(tmp_path: Path) -> None:
    # A full flush makes every byte before it decompressible, so the exact end of the content is known.
    content = rows(500)
    packer = zlib.compressobj(wbits=31)
    head = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
    found = scanned(write(tmp_path / "a.jsonl.gz", head + packer.compress(rows(500, seed=8))[:0]))
    assert found.files[0].length == len(content)
    assert values(found, "i") == list(range(500))
    assert found.problems == 0
    assert found.notes


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_that_does_not_decompress_at_all_is_refused(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "a.jsonl.x", compressed(rows(100), codec)[:9])
    with pytest.raises(DatasetError, match=f"cannot be decompressed as {codec}"):
        scanned(path)


@pytest.mark.parametrize(
    ("head", "name"), [(b"BZh9", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"PK\x03\x04", "zip")]
)
def test_other_compressions_are_named(tmp_path: Path, head: bytes, name: str) -> None:
    with pytest.raises(DatasetError, match=f"{name}-compressed"):
        scanned(write(tmp_path / "a.jsonl", head + b"0123456789"))


def test_the_name_does_not_matter_the_bytes_do(tmp_path: Path) -> None:
    assert scanned(write(tmp_path / "plain.jsonl.gz", b'{"p": 1}\n')).rows == 1
    assert scanned(write(tmp_path / "packed.jsonl", gzip.compress(b'{"p": 1}\n'))).rows == 1


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_stops_long_before_it_is_unpacked(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_module, "BOMB_RATIO", 100)
    monkeypatch.setattr(content_module, "BOMB_BYTES", 1 << 20)
    path = write(tmp_path / "a.jsonl.x", compressed(b" " * (40 << 20), codec))
    with pytest.raises(DatasetError, match="decompression bomb"):
        scanned(path)


def test_what_is_small_may_compress_as_well_as_it_likes(tmp_path: Path) -> None:
    content = b'{"p": "' + b"x" * (8 << 20) + b'"}\n'
    packed = compressed(content, "zstd")
    assert len(content) > 1_000 * len(packed)
    assert scanned(write(tmp_path / "a.jsonl.zst", packed)).rows == 1


@pytest.mark.parametrize("codec", ["", *CODECS])
def test_what_is_appended_after_the_scan_does_not_count(tmp_path: Path, codec: str) -> None:
    content = rows(3_000)
    more = b'{"i": -1, "p": "new"}\n'
    path = write(tmp_path / "a.jsonl", compressed(content, codec) if codec else content)
    found = scanned(path)
    with path.open("ab") as file:
        file.write(compressed(more, codec) if codec else more)
    assert values(found, "i") == list(range(3_000))
