"""What a run's own files say about an output: who made it, from what, and what it published. Nothing is changed.

The description of an output that `--replace` set aside, or whose run directory is the next run's by now, is found by
its run id in ``replaced/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.errors import Conflict, StorageError
from batcher.store.directory import RunDirectory, run_directory
from batcher.store.manifest import Publish, RetryOpen, SessionOpen, read
from batcher.store.run_facts import RunFacts
from batcher.store.run_state import replay
from batcher.verbs.places import listed
from batcher.verbs.verification import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.store.manifest import ManifestRecord


@dataclass(frozen=True, slots=True)
class Published:
    """The last publication that the manifest tells of.

    Attributes:
        generation: 0 for the run's own, n for its n-th retry.
        limit: of the session that did the run; None for all rows.
        sets: of every retry that went into it, empty ones left out.
    """

    record: Publish
    generation: int
    limit: int | None
    sets: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of the run that made an output; None where it is not known.

    Attributes:
        trouble: what of it could not be read, as checks.
    """

    facts: RunFacts | None = None
    published: Published | None = None
    possibly_paid: tuple[int, ...] = ()
    trouble: tuple[Check, ...] = ()


def record_of(output: Path, run_id: str | None, state: Path | None) -> Record:
    """What is known of the run `run_id`, or, where that is None, of whatever run has its directory there."""
    for directory in _candidates(output, run_id, state):
        try:
            facts = RunFacts.read(directory.run_json)
        except (Conflict, OSError) as err:
            return Record(trouble=(Check("job", Verdict.CHANGED, str(err)),))
        if facts is not None and run_id in {None, facts.run_id}:
            return _record(directory, facts)
    return Record()


def _candidates(output: Path, run_id: str | None, state: Path | None) -> Iterator[RunDirectory]:
    """The run's own place, what was set aside there, and, for an output that was renamed, its neighbours."""
    own = dict.fromkeys((run_directory(output, state), run_directory(output)))
    for directory in own:
        yield directory
        if run_id is not None:
            yield RunDirectory(directory.replaced(run_id))
    if run_id is not None:
        for path in listed(run_directory(output, state).path.parent):
            if RunDirectory(path) not in own and _is_of(RunDirectory(path), run_id):
                yield RunDirectory(path)


def _is_of(directory: RunDirectory, run_id: str) -> bool:
    try:
        facts = RunFacts.read(directory.run_json)
    except (Conflict, OSError):
        return False
    return facts is not None and facts.run_id == run_id


def _record(directory: RunDirectory, facts: RunFacts) -> Record:
    try:
        records = read(directory.manifest).records
    except StorageError as err:
        return Record(facts, trouble=(Check("manifest", Verdict.FAILED, str(err)),))
    except Conflict as err:
        return Record(facts, trouble=(Check("manifest", Verdict.CHANGED, str(err)),))
    paid = sorted({row for _, row in replay(records).possibly_paid})
    return Record(facts, _published(records), tuple(paid))


def _published(records: tuple[ManifestRecord, ...]) -> Published | None:
    found: Published | None = None
    generation, limit = 0, None
    sets: tuple[tuple[str, ...], ...] = ()
    for record in records:
        match record:
            case SessionOpen(verb="run"):
                limit = record.limit
            case RetryOpen():
                generation = record.retry
                said = record.settings.get("sets", [])
                sets += (tuple(map(str, said)),) if isinstance(said, list) and said else ()
            case Publish():
                found = Published(record, generation, limit, tuple(dict.fromkeys(sets)))
            case _:
                pass
    return found
