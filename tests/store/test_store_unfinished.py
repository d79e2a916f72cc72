"""The answers of a run that was never published: from its parts and its journals, without changing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from journal_samples import HASH, a_reply, an_intent
from part_samples import seal_sample
from run_samples import journalled, made, settle

from batcher.records import EndRecord, Outcome, ReuseRecord
from batcher.store.manifest import Manifest, SessionOpen, ShardOpen, ShardSeal
from batcher.store.unfinished import DirectoryAnswers

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.store.directory import RunDirectory
    from batcher.store.reuse import StoredAnswer

ROWS = 10


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """Shard 0 is sealed; shard 1 has a reply, a failure, an answer taken over and an open intent."""
    directory = made(tmp_path)
    path, sealed = seal_sample(tmp_path, 0, ROWS)
    path.rename(directory.part(0))
    manifest = Manifest.open(directory.manifest)
    manifest.append(SessionOpen(1, 1, "host", 0.0, "0"))
    manifest.append(ShardOpen(0, 0, ROWS, 1, ""))
    manifest.append(ShardOpen(1, ROWS, ROWS, 1, ""))
    manifest.append(ShardSeal(0, ROWS, sealed.size, sealed.checksum, sealed.totals.to_json()))
    manifest.close()
    journalled(
        directory,
        [
            a_reply(11),
            EndRecord(12, Outcome.FAILED, "bad_request"),
            ReuseRecord(13, HASH, "run-0", {"completion": "kept"}),
            an_intent(14),
        ],
        shard=1,
    )
    return directory


def answers(directory: RunDirectory) -> list[StoredAnswer]:
    return list(DirectoryAnswers(directory, settle=settle, run_id="run-7"))


def test_every_paid_answer_is_given_once_with_the_run_that_bought_it(directory: RunDirectory) -> None:
    found = answers(directory)
    assert len(found) == ROWS + 2
    hashes = [answer.request_hash for answer in found]
    assert hashes == [f"{row:032x}" for row in range(ROWS)] + [f"{11:032x}", HASH]
    assert [answer.run_id for answer in found[ROWS:]] == ["run-7", "run-0"]
    assert found[ROWS].values["completion"] == "answer 11"
    assert found[ROWS + 1].values["completion"] == "kept"


def test_a_sealed_part_that_is_gone_leaves_what_its_journal_has(directory: RunDirectory) -> None:
    directory.part(0).unlink()
    journalled(directory, [a_reply(4)], shard=0)
    assert answers(directory)[0].request_hash == f"{4:032x}"
    assert len(answers(directory)) == 3


def test_reading_changes_nothing(directory: RunDirectory) -> None:
    before = {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}
    answers(directory)
    assert {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()} == before


def test_a_directory_without_a_manifest_has_no_answers(tmp_path: Path) -> None:
    assert answers(made(tmp_path)) == []


def test_the_description_changes_when_an_answer_is_added(directory: RunDirectory) -> None:
    source = DirectoryAnswers(directory, settle=settle, run_id="run-7")
    before = dict(source.description)
    assert before == dict(source.description)
    assert source.note is None
    journalled(directory, [a_reply(15)], shard=1, session=2)
    assert dict(source.description) != before
