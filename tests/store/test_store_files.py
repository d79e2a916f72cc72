from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from journal_samples import FaultyDisk

from batcher.errors import Conflict, StorageError
from batcher.store.files import (
    checksum_of,
    make_private_dir,
    remove_durably,
    rename_new,
    storage_errors,
    write_atomic,
    write_fully,
)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_replaced_file_has_the_new_content_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["run.json"]


@pytest.mark.parametrize("disk", [FaultyDisk(room=3), FaultyDisk(failing_syncs=frozenset({1}))])
def test_a_replacement_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path, disk: FaultyDisk) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    with pytest.raises(StorageError):
        write_atomic(path, b"newer", disk=disk)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["run.json"]


def test_rename_new_moves_to_a_free_name(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x")
    rename_new(source, target)
    assert names(tmp_path) == ["b"]


def test_rename_new_never_replaces(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"mine")
    target.write_bytes(b"theirs")
    with pytest.raises(Conflict, match="not free"):
        rename_new(source, target)
    assert (source.read_bytes(), target.read_bytes()) == (b"mine", b"theirs")


def test_rename_new_does_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x")
    rename_new(source, target)
    assert names(tmp_path) == ["b"]
    source.write_bytes(b"y")
    with pytest.raises(Conflict):
        rename_new(source, target)
    assert target.read_bytes() == b"x"


def test_a_private_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "x" / "y"
    make_private_dir(path)
    make_private_dir(path)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)] == [0o700, 0o700]


def test_a_file_in_the_place_of_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(StorageError):
        make_private_dir(tmp_path / "x")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "largest allowed size"),
        (errno.EIO, "input/output error"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_the_disks_refusals_say_what_where_how_much_is_free_and_what_next(
    tmp_path: Path, number: int, words: str
) -> None:
    with (
        pytest.raises(StorageError, match=words) as caught,
        storage_errors("writing a part", tmp_path / "gone" / "f"),
    ):
        raise OSError(number, os.strerror(number))
    text = str(caught.value)
    assert text.startswith("writing a part failed: ")
    assert str(tmp_path / "gone" / "f") in text
    assert "MB free" in text
    assert "run the same command again" in (caught.value.hint or "")


def test_a_write_to_a_full_device_is_told_as_a_full_disk() -> None:
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("needs /dev/full")
    full = pytest.raises(StorageError, match="the disk is full")
    with path.open("wb", buffering=0) as file, full, storage_errors("writing", path):
        write_fully(file.fileno(), b"x")


def test_short_writes_are_continued(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb", buffering=0) as file:
        write_fully(file.fileno(), b"0123456789", disk=FaultyDisk(most_per_write=3))
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_checksum_is_of_the_content_and_removal_tolerates_absence(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    assert checksum_of(path) == "cf4ab791c62b8d2b2109c90275287816"
    remove_durably(path)
    remove_durably(path)
    assert not path.exists()
