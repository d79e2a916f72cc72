"""Image files are read below one folder, and nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from batcher.dataset import ImageFolder
from batcher.errors import JobError
from batcher.records import Unusable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``root/in/a.png`` may be read, ``secret.png`` beside the root may not."""
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.png").write_bytes(b"inside")
    (tmp_path / "secret.png").write_bytes(b"outside")
    (tmp_path / "root-too").mkdir()
    (tmp_path / "root-too" / "a.png").write_bytes(b"outside")
    (root / "link.png").symlink_to("in/a.png")
    (root / "out.png").symlink_to("../secret.png")
    (root / "far").symlink_to(tmp_path / "root-too")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


def said(root: Path, path: str, most_bytes: int = 100) -> bytes | str:
    found = ImageFolder(root).read(path, most_bytes=most_bytes)
    return found.error_type if isinstance(found, Unusable) else found


@pytest.mark.parametrize("path", ["in/a.png", "link.png", "in/../link.png", "./in//a.png", "{root}/in/a.png"])
def test_what_lies_below_the_root_is_read(root: Path, path: str) -> None:
    assert said(root, path.format(root=root)) == b"inside"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "in/../../secret.png",
        "{root}/../secret.png",
        "/etc/hostname",
        "/nowhere/at/all",
        "out.png",
        "far/a.png",
        "{root}-too/a.png",
        "..",
        "../missing.png",
    ],
)
def test_what_lies_outside_is_not_read_nor_told_of(root: Path, path: str) -> None:
    assert said(root, path.format(root=root)) == "image_outside_root"


@pytest.mark.parametrize(
    "path", ["b.png", "in/a.png/b", "in/b/c", "loop", "a\0b", "\ud800", "x" * 5_000, "~/a.png"]
)
def test_a_file_that_is_not_there_is_told(root: Path, path: str) -> None:
    assert said(root, path) == "image_not_found"


@pytest.mark.parametrize("path", ["in", ".", "pipe"])
def test_what_is_no_file_is_not_read(root: Path, path: str) -> None:
    assert said(root, path) == "image_unreadable"


def test_a_file_over_the_cap_is_not_read(root: Path) -> None:
    assert said(root, "in/a.png", most_bytes=6) == b"inside"
    assert said(root, "in/a.png", most_bytes=5) == "image_too_large"


def test_a_link_put_there_meanwhile_leads_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ImageFolder(root)
    resolved = os.path.realpath(root / "in" / "a.png")
    (root / "in" / "a.png").unlink()
    (root / "in" / "a.png").symlink_to(root.parent / "secret.png")
    monkeypatch.setattr("batcher.dataset.image_files.os.path.realpath", lambda path: resolved)
    found = folder.read("in/a.png", most_bytes=100)
    assert isinstance(found, Unusable)
    assert found.error_type == "image_not_found"


def test_a_root_that_is_no_folder_is_refused(root: Path) -> None:
    for path in (root / "missing", root / "in" / "a.png"):
        with pytest.raises(JobError, match="no folder that can be read"):
            ImageFolder(path)
