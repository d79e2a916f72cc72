"""`status`: every run below a folder, alive or dead, and what to type next. Read without a lock, nothing is changed.

A run is told from four files: who holds its lock, what its manifest says, `progress.json` (up to 2 s old) and the
ledger. If the manifest grew meanwhile, the look starts over, so what is shown was true at one moment. What cannot be
read is told in that run's place and hides no other run.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

import orjson

from batcher.errors import Conflict, StorageError
from batcher.store.directory import RunDirectory, run_directory
from batcher.store.footer import read_facts
from batcher.store.ledger import LEDGER_NAME, LedgerEntry, read_ledger
from batcher.store.lock import holder
from batcher.store.manifest import RetryOpen, read
from batcher.store.part import Totals
from batcher.store.run_facts import RunFacts
from batcher.store.run_state import RunState, replay
from batcher.verbs.places import find_runs, output_of
from batcher.verbs.run_status import Life, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batcher.store.lock import Holder
    from batcher.store.manifest import SessionOpen, Stop

MOST_LOOKS = 10
"""Looks at one run while its manifest keeps growing; a shard takes seconds to fill, a look milliseconds."""
RETRYABLE = ("failed", "truncated")
"""Outcomes that another attempt may mend."""

_T = TypeVar("_T")


def status(path: Path | None = None, *, state: Path | None = None) -> list[RunStatus]:
    """Every run below a folder, or of one output, sorted by place; arguments as `find_runs`.

    Raises:
        JobError: `path` does not exist.
    """
    ledgers: dict[Path, Sequence[LedgerEntry]] = {}
    found = []
    for directory in find_runs(path, state):
        folder = directory.path.parent
        if folder not in ledgers:
            ledgers[folder] = _ledger(folder)
        seen = look_at(directory, ledgers[folder])
        if seen is not None:
            found.append(seen)
    return found


def _ledger(folder: Path) -> Sequence[LedgerEntry]:
    """A copy for people: where it cannot be read, costs and times of earlier sessions are unknown."""
    try:
        return read_ledger(folder / LEDGER_NAME)
    except StorageError:
        return []


def look_at(directory: RunDirectory, ledger: Sequence[LedgerEntry]) -> RunStatus | None:
    """One run; None when nothing was begun there."""
    try:
        return unchanged_while(directory, lambda: _look(directory, ledger))
    except (Conflict, StorageError, OSError) as err:
        hint = err.hint if isinstance(err, (Conflict, StorageError)) else None
        return RunStatus(
            str(output_of(directory, None)), str(directory.path), Life.UNREADABLE, problem=str(err), hint=hint
        )


def unchanged_while(directory: RunDirectory, look: Callable[[], _T]) -> _T:
    """What `look` finds in a run while its manifest stays as it is; it starts over when the manifest grew.

    Raises:
        StorageError, Conflict: the manifest cannot be read; and what `look` raises while nothing changes.
    """
    for _ in range(MOST_LOOKS):
        before = read(directory.manifest).size
        try:
            found = look()
        except (StorageError, OSError):
            if read(directory.manifest).size == before:
                raise
            continue
        if read(directory.manifest).size == before:
            return found
    return look()


def _look(directory: RunDirectory, ledger: Sequence[LedgerEntry]) -> RunStatus | None:
    facts = RunFacts.read(directory.run_json)
    held = holder(directory.lock)
    seen = _Seen(directory, facts, held, replay(read(directory.manifest).records), ledger)
    if facts is None:
        return _without_facts(seen)
    found = _at_work(seen) if seen.is_alive else _at_rest(seen)
    return replace(found, hint=_hint(found, seen))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read of one run."""

    directory: RunDirectory
    facts: RunFacts | None
    held: Holder | None
    state: RunState
    ledger: Sequence[LedgerEntry]

    @property
    def is_alive(self) -> bool:
        return self.held is not None and self.held.is_alive

    @property
    def last(self) -> SessionOpen | None:
        return self.state.sessions.get(self.state.session)

    @property
    def stop(self) -> Stop | None:
        return self.state.stops.get(self.state.session)

    @property
    def open_retry(self) -> RetryOpen | None:
        return self.state.retry if self.state.published is None else None

    @property
    def output(self) -> Path:
        return output_of(self.directory, self.facts)

    def progress(self) -> Mapping[str, object]:
        """What the last session wrote of itself; nothing when the file is another session's."""
        return _progress(
            self.directory, run_id=self.facts.run_id if self.facts else None, session=self.state.session
        )


def _progress(directory: RunDirectory, *, run_id: str | None, session: int) -> Mapping[str, object]:
    try:
        found = orjson.loads(directory.progress.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    is_ours = isinstance(found, dict) and (found.get("run_id"), found.get("session")) == (run_id, session)
    return cast("dict[str, object]", found) if is_ours else {}


def _without_facts(seen: _Seen) -> RunStatus | None:
    """A folder where a process is still reading the input, or where rows were tried only."""
    found = _outline(seen)
    if seen.is_alive:
        return _trying(seen, replace(found, life=Life.RUNNING))
    if found.tries:
        return replace(found, hint="batcher run takes the answers of the tries over")
    return None


def _outline(seen: _Seen) -> RunStatus:
    """What is known of a run whatever its life."""
    facts, held, last = seen.facts, seen.held, seen.last
    request = facts.job.get("request") if facts is not None else None
    retry = seen.open_retry
    return RunStatus(
        output=str(seen.output),
        directory=str(seen.directory.path),
        life=Life.NOT_STARTED,
        verb="retry" if retry is not None else last.verb if last is not None else None,
        run_id=facts.run_id if facts is not None else None,
        job=facts.job_name if facts is not None else None,
        model=str(request["model"]) if isinstance(request, dict) and request.get("model") else None,
        is_simulated=facts is not None and facts.simulated,
        pid=held.pid if held is not None else last.pid if last is not None else None,
        host=held.host if held is not None else last.host if last is not None else None,
        session=seen.state.session,
        started_at=last.started_at if last is not None else None,
        last_sign_at=held.last_sign_at if held is not None else None,
        rows_total=_wanted(facts, last) if facts is not None else None,
        cost_usd=_spent(seen),
        possibly_paid=tuple(sorted(set(seen.state.possibly_paid))),
        retry=_retry(retry) if retry is not None else None,
        tries=sum(1 for _ in seen.directory.tries.glob("*.part")),
    )


def _wanted(facts: RunFacts, last: SessionOpen | None) -> int | None:
    rows = facts.scan.get("rows")
    limit = last.limit if last is not None else None
    return min(rows, limit) if isinstance(rows, int) and limit is not None else _integer(rows)


def _retry(opened: RetryOpen) -> Mapping[str, object]:
    sets = opened.settings.get("sets", [])
    return {"outcomes": list(opened.outcomes), "sets": sets, "rows": opened.rows, "number": opened.retry}


def _at_work(seen: _Seen) -> RunStatus:
    found = replace(_outline(seen), life=Life.RUNNING)
    assert seen.held is not None
    if seen.last is None or seen.last.pid != seen.held.pid:
        return _trying(seen, found)
    return _with_progress(found, seen.progress(), seen.state)


def _trying(seen: _Seen, found: RunStatus) -> RunStatus:
    """A process that holds the lock and has no session: it tries some rows, or has not begun."""
    pid = seen.held.pid if seen.held is not None else None
    for folder in sorted(seen.directory.tries.glob("*/progress.json")):
        directory = RunDirectory(folder.parent)
        facts = RunFacts.read(directory.run_json)
        if facts is None:
            continue
        state = replay(read(directory.manifest).records)
        progress = _progress(directory, run_id=facts.run_id, session=state.session)
        if progress.get("pid") == pid:
            tried = replace(found, verb="try", job=facts.job_name, is_simulated=facts.simulated)
            return _with_progress(tried, progress, state)
    return replace(found, verb=None, started_at=seen.held.started_at if seen.held is not None else None)


def _with_progress(found: RunStatus, progress: Mapping[str, object], state: RunState) -> RunStatus:
    """Filled in from `progress.json`; from the sealed shards where there is none."""
    totals = _sealed(state)
    done, not_ok = _integer(progress.get("rows_done")), _integer(progress.get("not_ok"))
    is_running = found.life is Life.RUNNING
    return replace(
        found,
        rows_done=max(done or 0, totals.rows),
        rows_total=_integer(progress.get("rows_total")) or found.rows_total,
        rate=_number(progress.get("rate")) if is_running else None,
        held_by=_text(progress.get("held_by")) if is_running else None,
        flow=_mapping(progress.get("flow")),
        seen_at=_number(progress.get("ts")),
        in_flight=_integer(progress.get("in_flight")),
        not_ok=not_ok if not_ok is not None else totals.rows - totals.outcomes.get("ok", 0),
        cost_usd=_larger(found.cost_usd, _number(progress.get("cost_usd"))),
        last_sign_at=found.last_sign_at if is_running else _number(progress.get("ts")) or found.last_sign_at,
    )


def _at_rest(seen: _Seen) -> RunStatus:
    found = _outline(seen)
    if seen.state.published is not None:
        return _finished(found, seen)
    if seen.last is None:
        return found
    found = replace(found, pid=seen.last.pid, host=seen.last.host)
    if seen.stop is None:
        return _with_progress(replace(found, life=Life.CRASHED), seen.progress(), seen.state)
    return _stopped(found, seen, seen.stop)


def _finished(found: RunStatus, seen: _Seen) -> RunStatus:
    published = seen.state.published
    assert published is not None
    totals = Totals.from_json(published.totals)
    ended_at = _ended_at(seen)
    return replace(
        found,
        life=Life.FINISHED,
        rows_done=published.rows,
        rows_total=published.rows,
        not_ok=totals.rows - totals.outcomes.get("ok", 0),
        outcomes=dict(totals.outcomes),
        cost_usd=totals.cost_usd,
        flow=_mapping(published.summary.get("flow")),
        exit_code=published.exit_code,
        ended_at=ended_at if ended_at is not None else seen.directory.manifest.stat().st_mtime,
        problem=_missing_output(seen),
    )


def _missing_output(seen: _Seen) -> str | None:
    """Whether the file that was published still stands there, by its footer."""
    if not seen.output.exists():
        return "the output is gone"
    standing = read_facts(seen.output)
    if standing is None or seen.facts is None or standing.run_id != seen.facts.run_id:
        return "another file stands at the output's name"
    return None


def _stopped(found: RunStatus, seen: _Seen, stop: Stop) -> RunStatus:
    summary = stop.summary
    done, total = _integer(summary.get("rows_done")), _integer(summary.get("rows_total"))
    found = _with_progress(replace(found, life=Life.STOPPED), seen.progress(), seen.state)
    return replace(
        found,
        rows_done=done if done is not None else found.rows_done,
        rows_total=total if total is not None else found.rows_total,
        in_flight=None,
        exit_code=stop.exit_code,
        exit_reason=stop.reason,
        message=_text(summary.get("message")),
        ended_at=_ended_at(seen) or found.last_sign_at,
    )


def _sealed(state: RunState) -> Totals:
    totals = Totals()
    for seal in state.sealed.values():
        totals += Totals.from_json(seal.totals)
    return totals


def _entries(seen: _Seen) -> list[LedgerEntry]:
    run_id = seen.facts.run_id if seen.facts is not None else None
    return [entry for entry in seen.ledger if entry.run_id == run_id]


def _ended_at(seen: _Seen) -> float | None:
    ends = [entry.ended_at for entry in _entries(seen) if entry.session == seen.state.session]
    return ends[-1] if ends else None


def _spent(seen: _Seen) -> float | None:
    """The larger of two sums, each of which lacks something: the ledger a crashed session, the sealed shards those that
    are open.
    """
    known = [entry.cost_usd for entry in _entries(seen) if entry.cost_usd is not None]
    return _larger(sum(known) if known else None, _sealed(seen.state).cost_usd)


_NEXT = {
    "fix_key": "with a working key the same command goes on",
    "raise_budget": "with a higher limit the same command goes on",
    "rerun_later": "later, the same command goes on",
    "free_disk": "with space on the disk the same command goes on",
    "change_job": "after that change the same command goes on",
    "look": "after a look, the same command goes on",
}


def _hint(found: RunStatus, seen: _Seen) -> str | None:
    """What to type next; None when there is nothing to do."""
    retry = seen.open_retry
    if found.life is Life.RUNNING:
        return None
    if retry is not None:
        return _retry_command(seen, retry.outcomes, cast("list[str]", retry.settings.get("sets", [])))
    if found.life is Life.FINISHED:
        again = tuple(outcome for outcome in RETRYABLE if found.outcomes.get(outcome))
        return _retry_command(seen, again, []) if again and found.problem is None else None
    if found.life is Life.STOPPED and seen.stop is not None:
        return _NEXT.get(str(seen.stop.summary.get("next")), "the same command goes on")
    return "the same command goes on" if found.life is Life.CRASHED else "the same command begins it"


def _retry_command(seen: _Seen, outcomes: Sequence[str], sets: Sequence[str]) -> str:
    words = ["batcher", "retry", str(seen.output), "--outcome", ",".join(outcomes)]
    words += [word for each in sets for word in ("--set", each)]
    if run_directory(seen.output) != seen.directory:
        words += ["--state", str(seen.directory.path.parent)]
    return shlex.join(words)


def _larger(one: float | None, other: float | None) -> float | None:
    known = [each for each in (one, other) if each is not None]
    return max(known) if known else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
