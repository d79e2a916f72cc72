"""The ballast: room on the disk that is kept back, so that answers in flight can be stored when it fills.

It must hold real blocks (a sparse file frees nothing), and must never be given up for what was not paid yet.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from batcher.store.files import FILE_MODE, storage_errors, write_fully

if TYPE_CHECKING:
    from pathlib import Path

BALLAST_BYTES = 8 << 20
"""Room for what is in flight when the disk fills: 512 replies of 16 kB."""
_NO_FALLOCATE = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS})


class Ballast:
    """A file of real blocks, deleted when the disk is full, so that what is in flight can still be stored."""

    def __init__(self, path: Path, *, is_released: bool = False) -> None:
        self._path = path
        self.is_released = is_released

    @classmethod
    def create(cls, path: Path, *, size: int = BALLAST_BYTES) -> Self:
        """Allocate it, replacing what an earlier session left.

        Under a file size limit (EFBIG) smaller than `size` there is none: deleting it would not help there.

        Raises:
            StorageError: the disk has not even this much room; nothing was sent yet.
        """
        with storage_errors(f"reserving {size / 1e6:.0f} MB for a full disk", path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
            try:
                _allocate(fd, size)
            except OSError as err:
                path.unlink(missing_ok=True)
                if err.errno != errno.EFBIG:
                    raise
            finally:
                os.close(fd)
        return cls(path)

    def release(self) -> bool:
        """Give the room back; True the first time. From then on journals take no intents."""
        if self.is_released:
            return False
        self.is_released = True
        with suppress(OSError):  # whatever stands in the way, the write that follows tells
            self._path.unlink(missing_ok=True)
        return True

    def remove(self) -> None:
        """Delete the file at the end of a session, without marking the disk as full."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _allocate(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as err:
            if err.errno not in _NO_FALLOCATE:
                raise
        else:
            return
    block = os.urandom(1 << 20)  # zeros would be compressed away by some file systems
    for start in range(0, size, len(block)):
        write_fully(fd, block[: size - start])
    os.fsync(fd)
