"""Durable file operations: what "it is on the disk" means, in one place.

Rules:
    1. A file's content counts as durable after `sync_file`, its name after `sync_dir` of its folder.
    2. A replaced file is written beside its name, synced, renamed, and its folder synced (`write_atomic`).
    3. A name that may belong to somebody else is never replaced (`rename_new`).
    4. What the disk refuses becomes a `StorageError` that says what, where, how much is free and what to do.

It must never swallow an error of a sync, and never retry one: after a failed fsync the kernel may have marked
the pages clean, so a second fsync that succeeds proves nothing.

Built over the `Disk` port, because a disk that is full or fails cannot be ordered for a test.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from batcher.errors import Conflict, StorageError

if sys.platform == "darwin":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
CHECKSUM_BYTES = 16
SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors that go away when space is freed."""

_SAME_COMMAND = "then run the same command again: it goes on where it stopped"
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", f"free some space, {_SAME_COMMAND}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space, {_SAME_COMMAND}"),
    errno.EFBIG: (
        "the file reached the largest allowed size",
        f"raise the limit (ulimit -f), {_SAME_COMMAND}",
    ),
    errno.EIO: ("the disk reported an input/output error", f"check the disk, {_SAME_COMMAND}"),
    errno.EROFS: ("the file system is read-only", f"make it writable, {_SAME_COMMAND}"),
}
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class Disk(Protocol):
    """What can fail for want of a healthy disk; tests put a failing one here."""

    def write(self, fd: int, content: bytes | memoryview) -> int:
        """Bytes taken, possibly fewer than given. Raises OSError."""
        ...

    def sync_file(self, fd: int) -> None:
        """Returns when the file's content and size are on stable storage. Raises OSError."""
        ...

    def sync_dir(self, path: Path) -> None:
        """Returns when the names in that folder are on stable storage. Raises OSError."""
        ...


class RealDisk:
    """The operating system's disk."""

    def write(self, fd: int, content: bytes | memoryview) -> int:
        return os.write(fd, content)

    def sync_file(self, fd: int) -> None:
        sync_file(fd)

    def sync_dir(self, path: Path) -> None:
        sync_dir(path)


def sync_file(fd: int) -> None:
    """Content and size of an open file to stable storage (fdatasync; macOS: F_FULLFSYNC).

    macOS needs the fcntl because its fsync stops at the drive's volatile cache.

    Raises:
        OSError: what is on the disk is now unknown; do not sync this descriptor again.
    """
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError as err:
            if err.errno not in {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}:
                raise
            os.fsync(fd)  # network and FAT volumes know no F_FULLFSYNC
    else:
        os.fdatasync(fd)


def sync_dir(path: Path) -> None:
    """The names in a folder to stable storage. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


DISK: Disk = RealDisk()


def free_bytes(path: Path) -> int | None:
    """Bytes an ordinary user may still write on the volume of `path` (or its nearest existing parent)."""
    for place in (path, *path.parents):
        with suppress(OSError):
            volume = os.statvfs(place)
            return volume.f_bavail * volume.f_frsize
    return None


def storage_error(err: OSError, action: str, path: Path) -> StorageError:
    """The sentence for a refused operation.

    Args:
        err: what the operating system said.
        action: what was attempted, as in "writing the journal".
        path: where.
    """
    said = err.strerror or type(err).__name__
    reason, hint = _REFUSALS.get(
        err.errno or 0, (said[:1].lower() + said[1:], f"look at {path}, {_SAME_COMMAND}")
    )
    free = free_bytes(path)
    left = "" if free is None else f", {free / 1e6:,.1f} MB free there"
    return StorageError(f"{action} failed: {reason} ({path}{left})", hint=hint)


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn any OSError inside into a StorageError with `storage_error`'s sentence.

    Raises:
        StorageError: with the OSError as its cause.
    """
    try:
        yield
    except OSError as err:
        raise storage_error(err, action, path) from err


def checksum_of(path: Path) -> str:
    """blake2b-128 of a file's content, in hex. Raises OSError."""
    digest = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_fully(fd: int, content: bytes, *, disk: Disk = DISK) -> None:
    """Write every byte at the descriptor's position; on OSError an unknown part of them is written."""
    written = disk.write(fd, content)
    if written == len(content):
        return
    rest = memoryview(content)[written:]
    while rest:
        rest = rest[disk.write(fd, rest) :]


def write_atomic(path: Path, content: bytes, *, mode: int = FILE_MODE, disk: Disk = DISK) -> None:
    """Replace `path` by `content` so that a crash leaves the old file or the new one, never a mixture.

    Durable on return, content and name.

    Raises:
        StorageError: the old file, if any, still stands and no temporary file is left.
    """
    with storage_errors("writing a file", path):
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            try:
                os.fchmod(fd, mode)
                write_fully(fd, content, disk=disk)
                disk.sync_file(fd)
            finally:
                os.close(fd)
            Path(name).replace(path)
        except OSError:
            with suppress(OSError):
                Path(name).unlink()
            raise
        disk.sync_dir(path.parent)


def rename_new(source: Path, target: Path, *, disk: Disk = DISK) -> None:
    """Give `source` the name `target`, which must be free; both folders are synced on return.

    By link and unlink, because rename replaces silently. A crash between the two leaves both names on one
    file. On a volume without hard links check and rename are two steps: the caller's lock is the guard there.

    Raises:
        Conflict: something stands at `target`; nothing was changed.
        StorageError: anything else.
    """
    with storage_errors(f"moving {source.name} into place", target):
        try:
            os.link(source, target)
        except FileExistsError as err:
            raise _occupied(target) from err
        except OSError as err:
            if err.errno not in _NO_HARD_LINKS:
                raise
            if os.path.lexists(target):
                raise _occupied(target) from err
            source.rename(target)
        else:
            source.unlink()
        disk.sync_dir(target.parent)
        if source.parent != target.parent:
            disk.sync_dir(source.parent)


def _occupied(target: Path) -> Conflict:
    return Conflict(
        f"{target} is not free: a file of that name appeared and was left as it is",
        hint="move it away or choose another output with -o",
    )


def make_private_dir(path: Path, *, disk: Disk = DISK) -> None:
    """Create a folder that only its owner may enter, with its missing parents; durable on return.

    An existing folder is left as it is: its owner may have had reasons.

    Raises:
        StorageError: not creatable, or something else stands there.
    """
    with storage_errors("creating a folder", path):
        missing = [place for place in (path, *path.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            disk.sync_dir(place.parent)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def remove_durably(path: Path, *, disk: Disk = DISK) -> None:
    """Delete a file if it is there and sync its folder. Raises StorageError."""
    with storage_errors("deleting a file", path):
        path.unlink(missing_ok=True)
        disk.sync_dir(path.parent)
