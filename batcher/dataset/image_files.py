"""Image files below one folder, and nowhere else: rows name them, and rows are written by strangers.

A path is resolved first, every symbolic link in it, and must then lie below the resolved folder; so `..`, absolute
paths and links are fine as long as they stay inside. It is opened name by name from the folder down without following
links, so that a link which is put there meanwhile leads nowhere. Nothing is said of what lies outside, not even
whether it exists. What is no plain file (a pipe, a device) is not read: it might never end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from batcher.errors import JobError
from batcher.records import ImageTrouble, Unusable

_SHOWN: Final = 200
_NO_FILE: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.ENAMETOOLONG})
"""ELOOP, EMLINK and ENOTDIR are what O_NOFOLLOW says of a link."""


class ImageFolder:
    """Implements `batcher.ports.ImageFiles`; may be used by several threads at once."""

    def __init__(self, root: Path) -> None:
        """`root`: absolute. Raises JobError: it is no folder that can be read."""
        self._root = Path(os.path.realpath(root))
        try:
            readable = stat.S_ISDIR(self._root.stat().st_mode) and os.access(self._root, os.R_OK | os.X_OK)
        except OSError:
            readable = False
        if not readable:
            raise JobError(f"[request.images] root is no folder that can be read: {root}")

    def read(self, path: str, *, most_bytes: int) -> bytes | Unusable:
        """The whole file, or why not. Raises nothing, whatever the path is."""
        shown = path[:_SHOWN]
        try:
            names = self._inside(path)
        except (OSError, ValueError):  # a loop of links; a NUL or a lone surrogate in the name
            return Unusable(ImageTrouble.NOT_FOUND, f"{shown!r} cannot be the name of a file")
        if names is None:
            return Unusable(
                ImageTrouble.OUTSIDE_ROOT, f"{shown} lies outside [request.images] root, so it is not read"
            )
        try:
            return self._content(names, shown, most_bytes)
        except OSError as err:
            if err.errno in _NO_FILE:
                said = f"there is no file {shown} below [request.images] root"
                return Unusable(ImageTrouble.NOT_FOUND, said)
            return Unusable(ImageTrouble.UNREADABLE, f"{shown} cannot be read: {err.strerror or err}")

    def _inside(self, path: str) -> tuple[str, ...] | None:
        """The names from the root down to the file, links resolved; None: it lies outside."""
        resolved = Path(os.path.realpath(self._root / path))
        return resolved.relative_to(self._root).parts if resolved.is_relative_to(self._root) else None

    def _content(self, names: tuple[str, ...], shown: str, most_bytes: int) -> bytes | Unusable:
        file = self._opened(names)
        try:
            told = os.fstat(file)
            if not stat.S_ISREG(told.st_mode):
                return Unusable(ImageTrouble.UNREADABLE, f"{shown} is no file")
            if told.st_size > most_bytes:
                return Unusable(
                    ImageTrouble.TOO_LARGE,
                    f"{shown} has {told.st_size:,} bytes, more than [request.images] max_bytes ({most_bytes:,})",
                )
            with os.fdopen(file, "rb", closefd=False) as reader:
                return reader.read(most_bytes + 1)  # one more: if it grew meanwhile, that is seen
        finally:
            os.close(file)

    def _opened(self, names: tuple[str, ...]) -> int:
        """A descriptor of the file; the caller closes it. O_NONBLOCK: opening a pipe must not wait for its writer."""
        at = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for place, name in enumerate(names, 1):
            kind = os.O_NONBLOCK if place == len(names) else os.O_DIRECTORY
            above = at
            try:
                at = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=above)
            finally:
                os.close(above)
        return at
