"""A run's place taken up: what stands there, whose it is, and what an earlier session left.

Everything here happens under the run's lock and before anything is sent. It buys nothing and deletes nothing that was
paid for: a run that is replaced is set aside into ``replaced/RUN_ID/`` of its own directory.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from batcher.errors import JobError, StorageError
from batcher.store.directory import RunDirectory, make_state_folder, run_directory, state_folder
from batcher.store.files import storage_errors, sync_dir
from batcher.store.footer import read_facts
from batcher.store.manifest import read
from batcher.store.reuse import ReuseIndex, parquet_answers
from batcher.store.run_facts import RunFacts
from batcher.store.run_state import replay
from batcher.store.unfinished import DirectoryAnswers
from batcher.verbs.decide import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batcher.ports import Settle
    from batcher.store.reuse import AnswerSource

MOVED = ("journal", "parts", "input", "manifest.jsonl", "events.jsonl", "run.json")
"""What a run leaves behind when it is set aside, `run.json` last, so that a move cut short is finished."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run lives."""

    output: Path
    state: Path
    directory: RunDirectory


def new_run_id(now: float) -> str:
    """Sorts by time; unique without asking anybody."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)) + "-" + secrets.token_hex(4)


def prepare_site(output: Path, state: Path | None) -> Site:
    """Make the folders of a run's place and see that the output can be written there.

    Raises:
        JobError: the output's folder cannot be made or written, or the output is a folder.
        StorageError: the disk.
    """
    if output.is_dir():
        raise JobError(f"the output is a folder: {output}", hint="name a file, such as out.parquet")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise JobError(f"the output's folder cannot be made: {output.parent}: {err.strerror}") from err
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise JobError(f"the output's folder cannot be written to: {output.parent}")
    directory = run_directory(output, state)
    try:
        make_state_folder(state_folder(output, state))
        directory.make()
    except StorageError as err:
        cause = err.__cause__
        if isinstance(cause, (PermissionError, NotADirectoryError, FileExistsError)):
            raise JobError(str(err)) from err
        raise
    return Site(output, state_folder(output, state), directory)


def look(site: Site) -> Place:
    """What stands at the place. Raises Conflict, StorageError."""
    facts = RunFacts.read(site.directory.run_json)
    state = replay(read(site.directory.manifest).records)
    exists = os.path.lexists(site.output)
    output = read_facts(site.output) if exists else None
    rows = pq.read_metadata(site.output).num_rows if output is not None else None
    return Place(
        facts=facts,
        is_published=state.first_publish is not None,
        output_exists=exists,
        output=output,
        output_rows=rows,
    )


def finish_setting_aside(directory: RunDirectory) -> None:
    """A move that a crash cut short is finished before anything else looks."""
    facts = RunFacts.read(directory.run_json)
    if facts is not None and directory.replaced(facts.run_id).exists():
        set_aside(directory, facts.run_id)


def set_aside(directory: RunDirectory, run_id: str) -> Path:
    """Move a run's own files into ``replaced/RUN_ID``; safe to call again after a crash. Raises StorageError."""
    aside = directory.replaced(run_id)
    with storage_errors("setting the earlier run aside", aside):
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_dir(aside.parent)
        for name in MOVED:
            source = directory.path / name
            if source.is_dir() and (aside / name).is_dir():
                _join(source, aside / name)  # a crash came after its move, and the next start made it anew
            elif source.exists():
                source.rename(aside / name)
        sync_dir(aside)
        sync_dir(directory.path)
    directory.make()
    return aside


def _join(source: Path, target: Path) -> None:
    """Move what is in one folder into another; the first one goes. Raises OSError."""
    for path in source.iterdir():
        path.rename(target / path.name)
    source.rmdir()


def answer_sources(
    directory: RunDirectory, facts: RunFacts, *, extra: Sequence[Path], settle: Settle
) -> list[AnswerSource]:
    """Where answers may be taken over from: what the run was begun with, its tries, and files named now."""
    listed: list[AnswerSource] = []
    for path in (*map(Path, facts.sources), *extra):
        if path.is_dir():
            listed.append(DirectoryAnswers(RunDirectory(path), settle=settle, run_id=path.name))
        elif path.is_file():
            listed.append(parquet_answers(path))
    listed += try_sources(directory, settle=settle)
    return listed


def standing_sources(site: Site, place: Place, *, settle: Settle) -> list[AnswerSource]:
    """Everything bought for this output so far: the run in the making, the output, those it replaced, and tries."""
    sources: list[AnswerSource] = []
    if place.facts is not None and not place.is_published:
        sources.append(DirectoryAnswers(site.directory, settle=settle, run_id=place.facts.run_id))
    if place.output is not None:
        sources.append(parquet_answers(site.output))
    sources += [
        DirectoryAnswers(RunDirectory(path), settle=settle, run_id=path.name)
        for path in set_aside_runs(site.directory)
    ]
    sources += map(parquet_answers, archived_outputs(site.directory))
    return [*sources, *try_sources(site.directory, settle=settle)]


def archived_outputs(directory: RunDirectory) -> list[Path]:
    """Outputs that were replaced, newest first."""
    return sorted(directory.path.glob("replaced/*/output.part"), reverse=True)


def set_aside_runs(directory: RunDirectory) -> list[Path]:
    """Directories of runs that were set aside, newest first; what those bought that were never published lies there.

    All of them, not only the last: a crash between setting a run aside and beginning the next one leaves nothing else
    that knows of it.
    """
    return sorted((path.parent for path in directory.path.glob("replaced/*/manifest.jsonl")), reverse=True)


def try_sources(directory: RunDirectory, *, settle: Settle) -> Iterable[AnswerSource]:
    """What tries bought, those included that a crash cut short."""
    for path in sorted(directory.tries.glob("*")):
        if path.suffix == ".part":
            yield parquet_answers(path)
        elif path.is_dir():
            facts = RunFacts.read(path / "run.json")
            if facts is not None:
                yield DirectoryAnswers(RunDirectory(path), settle=settle, run_id=facts.run_id)


def open_reuse(directory: RunDirectory, sources: Sequence[AnswerSource]) -> ReuseIndex | None:
    """The index of what may be taken over; None when there is nothing. Raises StorageError."""
    if not sources:
        return None
    return ReuseIndex.build(directory.reuse, sources)
