from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest
from journal_samples import FaultyDisk, put

from batcher.errors import StorageError
from batcher.store.ledger import LedgerEntry, append_ledger, read_ledger

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = LedgerEntry(
    run_id="r1",
    session=1,
    verb="run",
    started_at=1.0,
    ended_at=2.5,
    job="labels.toml",
    tags={"team": "support"},
    model="gpt-4o",
    rows=100,
    prompt_tokens=1000,
    cost_usd=0.25,
    possibly_paid=2,
    exit_code=3,
    extra={"note": [1]},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_sessions_come_back_in_order(path: Path) -> None:
    assert read_ledger(path) == []
    entries = [ENTRY, replace(ENTRY, session=2, cost_usd=None), replace(ENTRY, verb="try")]
    for entry in entries:
        append_ledger(path, entry)
    assert read_ledger(path) == entries
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_is_plain_json(path: Path) -> None:
    append_ledger(path, ENTRY)
    said = orjson.loads(path.read_bytes())
    assert (said["run_id"], said["cost_usd"], said["tags"]) == ("r1", 0.25, {"team": "support"})


def test_a_session_counts_once_and_its_last_line_stands(path: Path) -> None:
    for entry in (ENTRY, replace(ENTRY, session=2), replace(ENTRY, cost_usd=0.5)):
        append_ledger(path, entry)
    assert read_ledger(path) == [replace(ENTRY, cost_usd=0.5), replace(ENTRY, session=2)]


def test_a_line_cut_at_any_byte_takes_no_other_with_it(path: Path) -> None:
    append_ledger(path, ENTRY)
    append_ledger(path, replace(ENTRY, session=2))
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for cut in range(first, len(content)):
        put(path, content[:cut])
        append_ledger(path, replace(ENTRY, session=3), disk=FaultyDisk())
        assert [entry.session for entry in read_ledger(path)] in ([1, 3], [1, 2, 3])


@pytest.mark.parametrize(
    "line", [b"", b"\xff\xfe", b"[]", b"null", b'{"run_id":"x"}', b'{"run_id":1,"session":1,"verb":"run"}']
)
def test_lines_that_are_not_ours_are_skipped(path: Path, line: bytes) -> None:
    put(path, line + b"\n")
    append_ledger(path, ENTRY)
    assert read_ledger(path) == [ENTRY]


def test_keys_of_a_newer_version_are_kept_aside(path: Path) -> None:
    append_ledger(path, ENTRY)
    put(path, orjson.dumps(orjson.loads(path.read_bytes()) | {"energy_wh": 3}) + b"\n")
    assert read_ledger(path) == [replace(ENTRY, extra={"note": [1], "energy_wh": 3})]


@pytest.mark.parametrize("disk", [FaultyDisk(room=5), FaultyDisk(failing_syncs=frozenset({1}))])
def test_a_line_that_cannot_be_stored_is_told(path: Path, disk: FaultyDisk) -> None:
    with pytest.raises(StorageError, match="writing the ledger"):
        append_ledger(path, ENTRY, disk=disk)
    append_ledger(path, replace(ENTRY, session=2))
    assert replace(ENTRY, session=2) in read_ledger(path)
