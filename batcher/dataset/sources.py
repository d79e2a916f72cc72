"""Which files are the input: a file, a directory, a glob, or standard input copied to a file first.

Must never read rows, and must never take a file in silence that it cannot read: CSV, object-store addresses
and pipes are refused with the one line that helps.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from batcher.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.dataset.scanned import Format

STDIN = "-"
_JSONL_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines", ".json")
_COMPRESSED = (".gz", ".zst")
_CSV_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The input as the job names it.

    Attributes:
        source: path of a file or directory, a glob, or "-".
        format: None to tell from the content.
        allow_empty: whether 0 rows are fine.
    """

    source: str
    format: Format | None = None
    allow_empty: bool = False


def find_files(spec: InputSpec, *, base: Path) -> list[Path]:
    """The input files, absolute, sorted by name.

    Args:
        spec: its source must not be "-": see `spool_stdin`.
        base: what a relative source is relative to.

    Raises:
        DatasetError: nothing there, or nothing that can be read here.
    """
    source = spec.source
    if source == STDIN:
        raise DatasetError("standard input has to be copied to a file before it can be scanned")
    if "://" in source:
        scheme = source.partition("://")[0]
        raise DatasetError(
            f"{source}: {scheme}:// inputs are not read yet; copy the file here first",
            hint=f"aws s3 cp {source} ." if scheme == "s3" else None,
        )
    path = Path(os.path.abspath(base / Path(source).expanduser()))  # noqa: PTH100 - resolve() would swap links for their targets
    if path.is_dir():
        files = _in_directory(path)
    elif path.exists():
        files = [path]
    else:
        files = _matching(source, path)
    for file in files:
        _refuse_unreadable(file)
    return files


def spool_stdin(stream: BinaryIO, path: Path) -> None:
    """Copy a stream to `path`, whole or not at all; durable on return.

    Raises:
        OSError: the disk is full or not writable; nothing stands at `path` then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def refuse_output_among(files: Iterable[Path], output: Path) -> None:
    """Make sure that the output is none of the inputs, by whatever name. Raises DatasetError."""
    for file in files:
        if output.exists() and file.samefile(output):
            raise DatasetError(
                f"{output} is both input and output",
                hint="name another output: -o, or [output] path in the job",
            )


def _in_directory(directory: Path) -> list[Path]:
    visible = sorted(p for p in directory.iterdir() if p.is_file() and not p.name.startswith((".", "_")))
    files = [path for path in visible if _kind(path) is not None]
    kinds = {_kind(path) for path in files}
    if not files:
        seen = ", ".join(path.name for path in visible[:5]) or "no files"
        raise DatasetError(f"{directory} has no .jsonl (.gz, .zst) or .parquet file; it has {seen}")
    if len(kinds) > 1:
        raise DatasetError(
            f"{directory} has files of several kinds: {', '.join(path.name for path in files[:5])}",
            hint=f"name one kind with a glob, as '{directory}/*.jsonl'",
        )
    return files


def _matching(source: str, path: Path) -> list[Path]:
    if not glob.has_magic(source):
        where = f"looked in {path.parent}" if path.parent.is_dir() else f"{path.parent} does not exist either"
        raise DatasetError(f"there is no input {source}: {where}")
    files = sorted(Path(name) for name in _glob(path) if Path(name).is_file())
    if not files:
        raise DatasetError(
            f"no file matches {source}", hint="quote the pattern, so that the shell leaves it alone"
        )
    return files


def _glob(pattern: Path) -> list[str]:
    # Not Path.glob: it takes no absolute pattern, and it finds hidden folders such as .batcher.
    return glob.glob(str(pattern), recursive=True)  # noqa: PTH207


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    if name.endswith(_JSONL_SUFFIXES):
        return "jsonl"
    if name.endswith(_CSV_SUFFIXES):
        return "csv"
    return "parquet" if name.endswith(".parquet") else None


def _refuse_unreadable(path: Path) -> None:
    if _kind(path) == "csv":
        raise DatasetError(
            f"{path} is CSV, which is not read here; convert it once",
            hint=f"duckdb -c \"copy (from read_csv('{path}')) to '{path.with_suffix('.parquet').name}'\"",
        )
    if not path.is_file():
        raise DatasetError(f"{path} is not a regular file", hint="pipe it in instead: … | batcher run -i -")
    if not os.access(path, os.R_OK):
        raise DatasetError(f"{path} may not be read: permission denied")


def names_of(files: Sequence[Path]) -> str:
    """The files for a message: all of a few, else the first and how many more."""
    shown = ", ".join(path.name for path in files[:3])
    return f"{shown} and {len(files) - 3} more" if len(files) > 3 else shown
