"""The ledger: one line of plain JSON per session, for every run of a folder: any tool can add up the spend.

Rules:
    1. A line is added by one write at the end and synced; it is never changed. Runs share the file without a
       lock: O_APPEND keeps their lines apart.
    2. A line that a crash cut short is left alone; the next one begins on a line of its own.
    3. Reading skips what is not a ledger line, and counts a session once: its last line stands.

It must never be needed for resuming: the manifest is the truth, this is its copy for people.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

import orjson

from batcher.store.files import DISK, FILE_MODE, storage_errors, write_fully

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batcher.store.files import Disk

LEDGER_NAME = "ledger.jsonl"
"""Of the file, in its state folder."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One session, tries and stopped runs included.

    Attributes:
        verb: "run", "try", "retry".
        session: from 1, within its run.
        started_at, ended_at: seconds since the epoch.
        job: the job file's name, None without one.
        output: where the answers go or would go.
        rows: rows that got their end in this session; reused ones included.
        rows_ok: of these, outcome ``ok``.
        prompt_tokens, completion_tokens: billed in this session.
        cost_usd: spent in this session; None when no price is known.
        possibly_paid: attempts whose payment is unknown and whose answer is lost.
        is_simulated: nothing was really paid.
        exit_code: of the process; None when it crashed and a later session wrote the line.
        extra: whatever else is worth keeping.
    """

    run_id: str
    session: int
    verb: str
    started_at: float
    ended_at: float | None
    job: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    output: str | None = None
    rows: int = 0
    rows_ok: int = 0
    reused: int = 0
    attempts: int = 0
    paid_attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    possibly_paid: int = 0
    is_simulated: bool = False
    exit_code: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


_KNOWN = frozenset(each.name for each in fields(LedgerEntry))
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "str": (str,),
    "str | None": (str, type(None)),
    "bool": (bool,),
    "Mapping[str, str]": (dict,),
    "Mapping[str, object]": (dict,),
}


def append_ledger(path: Path, entry: LedgerEntry, *, disk: Disk = DISK) -> None:
    """Add a session's line; it would survive a power loss on return.

    Raises:
        StorageError: the line is not there for certain.
    """
    line = orjson.dumps(asdict(entry)) + b"\n"
    with storage_errors("writing the ledger", path):
        is_new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        try:
            size = os.fstat(fd).st_size
            is_torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            write_fully(fd, b"\n" + line if is_torn else line, disk=disk)
            disk.sync_file(fd)
        finally:
            os.close(fd)
        if is_new:
            disk.sync_dir(path.parent)


def read_ledger(path: Path) -> list[LedgerEntry]:
    """All sessions in the order they were first written; no file is no sessions.

    Lines that are torn, damaged or not ours are skipped; keys of a newer version go to `extra`.

    Raises:
        StorageError: the file cannot be read.
    """
    entries: dict[tuple[str, int, str], LedgerEntry] = {}
    with storage_errors("reading the ledger", path):
        if not path.exists():
            return []
        with path.open("rb") as file:
            for line in file:
                entry = _parse(line)
                if entry is not None:
                    entries[entry.run_id, entry.session, entry.verb] = entry
    return list(entries.values())


def _parse(line: bytes) -> LedgerEntry | None:
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(values, dict):
        return None
    unknown = {name: values.pop(name) for name in list(values) if name not in _KNOWN}
    for each in fields(LedgerEntry):
        if each.name in values and not isinstance(values[each.name], _TYPES[str(each.type)]):
            return None
    if unknown:
        values["extra"] = values.get("extra", {}) | unknown
    try:
        return LedgerEntry(**values)
    except TypeError:  # a required key is missing
        return None
