"""Where spending is written down below the given paths: usage files, ledgers, and runs in the making.

Looking only. A folder is searched as `status` searches it: hidden folders other than `.batcher` are not, and files
without usage columns are counted, not read. A file that is named and has none is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.errors import Conflict, JobError, StorageError
from batcher.store.columns import our_columns
from batcher.store.directory import RunDirectory, run_directory
from batcher.store.footer import read_facts
from batcher.store.ledger import LEDGER_NAME, LedgerEntry, read_ledger
from batcher.store.manifest import read
from batcher.verbs.cost_layout import layout_of
from batcher.verbs.cost_rows import schema_of
from batcher.verbs.export_forms import BATCH_LINE
from batcher.verbs.places import RUN_SUFFIX, STATE_NAME
from batcher.verbs.spending import of_seals
from batcher.verbs.status import status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa

    from batcher.verbs.cost_layout import Layout
    from batcher.verbs.run_status import RunStatus

_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class UsageFile:
    """A file with usage columns.

    Attributes:
        is_simulated: its answers are made up.
        created_at: of the run, seconds since the epoch; None in files of others.
    """

    path: Path
    layout: Layout
    is_simulated: bool = False
    created_at: float | None = None


@dataclass(slots=True)
class Found:
    """What was found, each file and each session once.

    Attributes:
        files: by absolute path.
        sessions: by (run_id, session, verb).
        runs: in the making, finished, or replaced, by run directory.
        lost: run_id -> attempts lost, by the run's own records, which know of crashed sessions too.
        ledgers: that were read.
        without_usage: files below a folder that hold no usage.
    """

    files: dict[Path, UsageFile] = field(default_factory=dict)
    sessions: dict[tuple[str, int, str], LedgerEntry] = field(default_factory=dict)
    runs: dict[str, RunStatus] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    ledgers: set[Path] = field(default_factory=set)
    without_usage: int = 0

    def only_real(self) -> tuple[Found, bool]:
        """Without what is simulated, and whether that was so; everything where nothing real was found."""
        files = {path: each for path, each in self.files.items() if not each.is_simulated}
        sessions = {key: each for key, each in self.sessions.items() if not each.is_simulated}
        runs = {key: each for key, each in self.runs.items() if not each.is_simulated}
        left_out = len(files) < len(self.files) or len(sessions) < len(self.sessions)
        if not files and not sessions:
            return self, False
        lost = {
            run_id: count
            for run_id, count in self.lost.items()
            if run_id in {r.run_id for r in runs.values()}
        }
        return Found(files, sessions, runs, lost, self.ledgers, self.without_usage), left_out


@dataclass(frozen=True, slots=True)
class Search:
    """How files are read: `named` maps meanings to columns, `by` names further columns."""

    named: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    state: Path | None = None


def find_spending(paths: tuple[Path, ...], search: Search) -> Found:
    """Everything at or below the paths.

    Raises:
        JobError: a path is not there, or is a file without usage.
        DatasetError: a file is damaged.
        StorageError: a ledger cannot be read.
    """
    found = Found()
    for given in paths:
        path = given.absolute()
        if path.is_dir():
            _take_folder(found, path, search)
        elif path.name == LEDGER_NAME and path.is_file():
            _take_ledger(found, path)
        else:
            _take_output(found, path, search)
    if not found.files and not found.sessions and not found.runs:
        where = ", ".join(str(path) for path in paths)
        raise JobError(f"nothing at {where} says what was used or spent", hint=_NO_USAGE)
    return found


_NO_USAGE = (
    "usage columns are found by name; name others with --map prompt_tokens=COLUMN,completion_tokens=COLUMN"
)


def _take_folder(found: Found, folder: Path, search: Search) -> None:
    for path in _below(folder):
        if path.name == LEDGER_NAME:
            # A shared state folder may have any name, and its ledger is no usage file: it would count as of no month.
            entries = read_ledger(path)
            if entries or path.parent.name == STATE_NAME:
                _take_sessions(found, path, entries)
                continue
        usage = None if _is_batch_export(path) else usage_file(path, search)
        if usage is None:
            found.without_usage += 1
        else:
            found.files[path] = usage
    if search.state is not None:
        _take_ledger(found, search.state.absolute() / LEDGER_NAME, below=folder)
    _take_runs(found, folder, search)


def _is_batch_export(path: Path) -> bool:
    """Whether these are batch lines that `export` wrote: a copy, whose run is counted by its output and its ledger."""
    if path.suffix != ".jsonl":
        return False
    try:
        with path.open("rb") as file:
            return BATCH_LINE.match(file.read(100)) is not None
    except OSError:
        return False  # whoever reads it for its usage says why it cannot be read


def _take_output(found: Found, path: Path, search: Search) -> None:
    """One file and what its state folder tells of it: its runs, its tries, the runs it replaced."""
    if path.is_file():
        usage = usage_file(path, search)
        if usage is None:
            raise JobError(f"{path} has no usage columns", hint=_NO_USAGE)
        found.files[path] = usage
    _take_runs(found, path, search)
    if not found.files and not found.runs:
        raise JobError(f"{path} does not exist", hint="name an output, a folder, or a ledger.jsonl")
    for directory in (run_directory(path, search.state), run_directory(path)):
        _take_ledger(found, directory.path.parent / LEDGER_NAME, below=directory.path, of=path)


def _take_runs(found: Found, path: Path, search: Search) -> None:
    try:
        runs = status(path, state=search.state)
    except (JobError, Conflict):
        return
    for run in runs:
        found.runs[run.directory] = run
        if run.run_id is not None:
            found.lost[run.run_id] = _lost(Path(run.directory))


def _lost(directory: Path) -> int:
    """Attempts of a run whose payment is unknown and whose answer is lost; 0 where its records cannot be read."""
    try:
        sealed = of_seals(read(RunDirectory(directory).manifest).records)
    except (StorageError, Conflict):
        return 0
    return sum(tokens.attempts for tokens in sealed.lost.values())


def _take_ledger(found: Found, ledger: Path, *, below: Path | None = None, of: Path | None = None) -> None:
    """The sessions of a ledger; with `below` or `of` only those of outputs at or below those paths."""
    if ledger.is_file():
        entries = [each for each in read_ledger(ledger) if _belongs(each, below, of)]
        _take_sessions(found, ledger, entries)


def _take_sessions(found: Found, ledger: Path, entries: Iterable[LedgerEntry]) -> None:
    found.ledgers.add(ledger)
    for entry in entries:
        found.sessions[entry.run_id, entry.session, entry.verb] = entry


def _belongs(entry: LedgerEntry, below: Path | None, of: Path | None) -> bool:
    if below is None and of is None:
        return True
    output = entry.output or ""
    return output == str(of) or (below is not None and output.startswith(f"{below}{os.sep}"))


def _below(folder: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(folder):
        here = folder / name
        folders[:] = sorted(
            each for each in folders if not each.startswith(".") and not each.endswith(RUN_SUFFIX)
        )
        if (here / STATE_NAME / LEDGER_NAME).is_file():
            yield here / STATE_NAME / LEDGER_NAME
        if here.name == STATE_NAME:
            continue
        yield from (
            here / file for file in sorted(files) if file.endswith(_SUFFIXES) and not file.startswith(".")
        )


def usage_file(path: Path, search: Search) -> UsageFile | None:
    """The file with its columns; None when it has no usage.

    Raises:
        DatasetError: Parquet that cannot be read.
        StorageError: it cannot be opened.
    """
    try:
        schema = schema_of(path)
        facts = read_facts(path) if schema is not None and path.suffix == ".parquet" else None
    except OSError as err:
        raise StorageError(f"{path} cannot be read: {err}") from err
    if schema is None:
        return None
    layout = layout_of(schema, named=search.named, by=search.by, prefix=_prefix(schema))
    if not layout.has_usage:
        return None
    if facts is None:
        return UsageFile(path, layout)
    return UsageFile(path, layout, facts.simulated, facts.created_at)


def _prefix(schema: pa.Schema) -> str:
    """What stands before our column names, by the name that a column of ours remembers."""
    at = our_columns(schema).get("outcome")
    return "" if at is None else str(schema.names[at]).removesuffix("outcome")
