"""What is left of an output's run, for a report: its job, its sessions, and what the flow control did. All optional.

A run directory that is gone, was cleared away, belongs to another run or cannot be read makes the report shorter, never
wrong: nothing here raises for it. Values of headers are left out, because they may be secrets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from batcher.errors import Conflict, StorageError
from batcher.report.findings import FlowChange, FlowSample, SessionLine, Setting
from batcher.report.wording import held_line
from batcher.store.ledger import LEDGER_NAME, read_ledger
from batcher.store.manifest import Publish, RetryOpen, Stop, read
from batcher.store.run_facts import RunFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from batcher.store.directory import RunDirectory
    from batcher.store.manifest import ManifestRecord

TABLES: Final = ("request", "limits", "input", "output", "endpoint", "labels", "tags", "prices")
"""Tables of a job in the order they are shown; others follow."""
FLOW_PARTS: Final = frozenset({"window", "pace", "gate", "breaker"})
LONG_CHARS: Final = 90
MOST_CHARS: Final = 20_000
"""Characters of one setting; a schema or few-shot prompt beyond it is cut, so that a page stays a page."""


class RunLeft(NamedTuple):
    """What was found; each part may be empty."""

    settings: Mapping[str, tuple[Setting, ...]] = {}
    sessions: tuple[SessionLine, ...] = ()
    samples: tuple[FlowSample, ...] = ()
    changes: tuple[FlowChange, ...] = ()
    held: str | None = None


def read_run(directory: RunDirectory, output: Path, run_id: str) -> RunLeft:
    """What the run directory and the ledger beside it tell of the run that made the output."""
    sessions = tuple(_sessions(directory, output, run_id))
    try:
        facts = RunFacts.read(directory.run_json)
    except (Conflict, OSError):
        facts = None
    if facts is None or facts.run_id != run_id:
        return RunLeft(sessions=sessions)
    samples, changes = _flow(_events(directory))
    records = _records(directory)
    settings = settings_of(facts.job) | _retries(records)
    return RunLeft(settings, sessions, samples, changes, _held(records))


def settings_of(job: Mapping[str, object]) -> dict[str, tuple[Setting, ...]]:
    """A job's tables, as `run.json` keeps it, in the order they are shown."""
    names = [*(name for name in TABLES if name in job), *(name for name in job if name not in TABLES)]
    found = {}
    for name in names:
        table = job[name]
        items = table.items() if isinstance(table, Mapping) else [("", table)]
        found[name] = tuple(_setting(name, str(key), value) for key, value in items)
    return {name: settings for name, settings in found.items() if settings}


def _setting(table: str, key: str, value: object) -> Setting:
    if (table, key) == ("endpoint", "headers") and isinstance(value, Mapping):
        value = dict.fromkeys(value, "(not shown)")
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if len(text) > LONG_CHARS and not isinstance(value, str):
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    if len(text) > MOST_CHARS:
        text = text[:MOST_CHARS] + "…"
    return Setting(key, text, is_long=len(text) > LONG_CHARS or "\n" in text)


def _records(directory: RunDirectory) -> tuple[ManifestRecord, ...]:
    try:
        return read(directory.manifest).records
    except (Conflict, StorageError, OSError):
        return ()


def _held(records: Sequence[ManifestRecord]) -> str | None:
    """What held the run in all its sessions together."""
    held: defaultdict[str, float] = defaultdict(float)
    elapsed_s = 0.0
    for each in records:
        if isinstance(each, (Publish, Stop)):
            elapsed_s += _number(each.summary, "elapsed_s") or 0.0
            flow = each.summary.get("flow")
            told = flow.get("held_s") if isinstance(flow, Mapping) else None
            for reason, seconds in told.items() if isinstance(told, Mapping) else ():
                held[str(reason)] += seconds if isinstance(seconds, (int, float)) else 0.0
    return held_line({"held_s": dict(held)}, elapsed_s=elapsed_s)


def _retries(records: Sequence[ManifestRecord]) -> dict[str, tuple[Setting, ...]]:
    """What each retry asked for and changed."""
    return {
        f"retry {each.retry}": (
            Setting("outcomes", ", ".join(each.outcomes)),
            Setting("rows", f"{each.rows:,}"),
            *(_setting("retry", key, value) for key, value in each.settings.items() if value),
        )
        for each in records
        if isinstance(each, RetryOpen)
    }


def _sessions(directory: RunDirectory, output: Path, run_id: str) -> Iterator[SessionLine]:
    """The run's sessions, and those of the tries before it."""
    try:
        entries = read_ledger(directory.path.parent / LEDGER_NAME)
    except StorageError:
        return
    tries = str(directory.tries)
    for entry in entries:
        is_ours = entry.run_id == run_id or (entry.output or "").startswith(tries)
        if is_ours or (entry.verb == "try" and entry.output == str(output)):
            yield SessionLine(
                verb=entry.verb,
                started_at=entry.started_at,
                ended_at=entry.ended_at,
                rows=entry.rows,
                rows_ok=entry.rows_ok,
                reused=entry.reused,
                attempts=entry.attempts,
                paid_attempts=entry.paid_attempts,
                prompt_tokens=entry.prompt_tokens,
                completion_tokens=entry.completion_tokens,
                cost_usd=entry.cost_usd,
                possibly_paid=entry.possibly_paid,
                exit_code=entry.exit_code,
            )


def _events(directory: RunDirectory) -> Iterator[Mapping[str, object]]:
    """Events in the order they were written; lines that are not ours are skipped."""
    for path in (directory.events.with_name("events.old.jsonl"), directory.events):
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str) and _number(event, "ts"):
                yield event


def _flow(
    events: Iterable[Mapping[str, object]],
) -> tuple[tuple[FlowSample, ...], tuple[FlowChange, ...]]:
    samples: list[FlowSample] = []
    changes: dict[tuple[str, str], FlowChange] = {}
    for event in events:
        part, ts = str(event["event"]), _number(event, "ts") or 0.0
        if part == "sample":
            samples.append(
                FlowSample(
                    ts,
                    window=_number(event, "window"),
                    in_flight=_number(event, "in_flight"),
                    pace=_number(event, "pace"),
                    latency_ms=_number(event, "latency_p50_ms"),
                )
            )
        elif part in FLOW_PARTS:
            reason = str(event.get("reason"))
            seen = changes.get((part, reason), FlowChange(part, reason, 0, ts, ts))
            times = int(_number(event, "times") or 1)
            changes[part, reason] = seen._replace(times=seen.times + times, last_at=ts)
            if part == "window":
                samples.append(FlowSample(ts, window=_number(event, "new")))
    samples.sort(key=lambda each: each.ts)
    return tuple(samples), tuple(sorted(changes.values(), key=lambda each: -each.times))


def _number(event: Mapping[str, object], key: str) -> float | None:
    value = event.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
