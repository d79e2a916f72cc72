"""`run.json`: comes back equal, and is never guessed at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from batcher.errors import Conflict
from batcher.store.run_facts import RunFacts

if TYPE_CHECKING:
    from pathlib import Path

FACTS = RunFacts(
    run_id="run-1", created_at=1.5, version="0.1.0", fingerprint="f" * 32, parts={"model": "m"},
    job={"request": {"model": "m", "prompt": "é\n"}}, job_name="labels", scan={"rows": 3}, base_url="https://x/v1",
    simulated=False, output="/d/o.parquet", replaces="run-0", sources=("/a", "/b"), fresh=True,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    FACTS.write(tmp_path / "run.json")
    return tmp_path / "run.json"


def refused(path: Path) -> str:
    with pytest.raises(Conflict) as caught:
        RunFacts.read(path)
    assert "move the run directory away" in str(caught.value.hint)
    return str(caught.value)


def test_it_comes_back_equal_and_is_private(path: Path) -> None:
    assert RunFacts.read(path) == FACTS
    assert path.stat().st_mode & 0o077 == 0


def test_no_file_is_no_run(tmp_path: Path) -> None:
    assert RunFacts.read(tmp_path / "run.json") is None


def test_any_cut_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:size])
        refused(path)


def test_any_value_that_was_edited_is_refused(path: Path) -> None:
    content = orjson.loads(path.read_bytes())
    for key in set(content) - {"format"}:
        path.write_bytes(orjson.dumps(content | {key: "edited"}))
        assert "changed after it was written" in refused(path), key
    for key in set(content) - {"format", "checksum"}:
        path.write_bytes(orjson.dumps({name: value for name, value in content.items() if name != key}))
        refused(path)


def test_another_layout_of_the_same_content_is_the_same(path: Path) -> None:
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()), option=orjson.OPT_SORT_KEYS))
    assert RunFacts.read(path) == FACTS


def test_a_newer_layout_is_named_as_such(path: Path) -> None:
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"format": 2}))
    assert "newer version" in refused(path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"7", b'{"format": "1"}', b"\xff\xfe"])
def test_what_is_something_else_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path)
