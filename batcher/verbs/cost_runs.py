"""Files and ledgers of the same runs become one account in which every dollar stands once.

    a run in several files   counts in the one with most rows; a copy or an export is not spending again
    a try                    its sessions; the run that took its answers over says 0 for them
    a run with a file        its rows, and what its sessions spent beyond them (answers lost, rows replaced)
    a run without a file     its sessions: it stopped, is at work, or its output was replaced or moved away

A session that crashed knows no sum; what it paid stands in the rows once the run goes on, and until then in what the
run's folder tells.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from batcher.cost.cells import Cells, Key, Kind, Sums, add_cells
from batcher.verbs.run_status import Life

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from batcher.store.ledger import LedgerEntry
    from batcher.verbs.run_status import RunStatus

OF_SESSION = ("job", "verb", "output")
"""Further names that sessions can be told apart by, beside their tags."""
NOISE_USD = 1e-6
"""Sums of the same costs in another order differ by less; it is no spending."""


@dataclass(slots=True)
class Account:
    """Spending, every dollar once.

    Attributes:
        cells: of rows and of sessions.
        lost: (run, day) -> attempts whose payment is unknown and whose answer is lost; in no cell.
        tries: sessions of `try`; `stopped`: runs without a file.
        copies: files of which rows were left out because their run stands in another file.
    """

    cells: Cells = field(default_factory=dict)
    lost: dict[tuple[str, date], int] = field(default_factory=dict)
    tries: int = 0
    stopped: int = 0
    copies: list[Path] = field(default_factory=list)


def settle_accounts(
    files: Mapping[Path, Cells],
    sessions: Iterable[LedgerEntry],
    runs: Iterable[RunStatus],
    *,
    lost: Mapping[str, int],
    by: Sequence[str],
) -> Account:
    """One account of files, ledger lines and runs in the making.

    Args:
        files: cells of each.
        sessions: ledger lines, each session once.
        runs: by their folders.
        lost: run_id -> attempts lost by the run's own records; a ledger lacks those of sessions that crashed.
        by: columns that cells are told apart by.
    """
    account = Account()
    _add_files(account, files)
    in_files = {key.run_id for key in account.cells if key.run_id is not None}
    by_run: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in sessions:
        if entry.possibly_paid:
            at = (entry.run_id, day_of(entry.started_at))
            account.lost[at] = account.lost.get(at, 0) + entry.possibly_paid
        if entry.verb == "try":
            account.tries += 1
            add_cells(account.cells, dict([_session_cell(Kind.TRY, entry, by)]))
        else:
            by_run[entry.run_id].append(entry)
    for run_id, entries in by_run.items():
        if run_id in in_files:
            _add_beyond(account, run_id, entries, by)
        else:
            account.stopped += 1
            for entry in entries:
                add_cells(account.cells, dict([_session_cell(Kind.STOPPED, entry, by)]))
    for run in runs:
        if run.run_id is not None and run.run_id not in in_files and run.life is not Life.FINISHED:
            _add_unwritten(account, run, is_counted=run.run_id in by_run, by=by)
    _add_lost(account, by_run, lost)
    return account


def _add_lost(account: Account, by_run: Mapping[str, Sequence[LedgerEntry]], lost: Mapping[str, int]) -> None:
    for run_id, entries in by_run.items():
        more = lost.get(run_id, 0) - sum(entry.possibly_paid for entry in entries)
        if more > 0:
            at = (run_id, day_of(entries[0].started_at))
            account.lost[at] = account.lost.get(at, 0) + more


def day_of(instant_s: float) -> date:
    """The UTC day of seconds since the epoch."""
    return datetime.fromtimestamp(instant_s, UTC).date()


def _add_files(account: Account, files: Mapping[Path, Cells]) -> None:
    rows: dict[str, dict[Path, int]] = defaultdict(lambda: defaultdict(int))
    for path, cells in files.items():
        for key, sums in cells.items():
            if key.run_id is not None:
                rows[key.run_id][path] += sums.rows
    holder = {run_id: max(sorted(found), key=found.__getitem__) for run_id, found in rows.items()}
    for path, cells in files.items():
        kept = {key: sums for key, sums in cells.items() if key.run_id is None or holder[key.run_id] == path}
        if len(kept) < len(cells):
            account.copies.append(path)
        add_cells(account.cells, kept)


def _session_cell(kind: Kind, entry: LedgerEntry, by: Sequence[str]) -> tuple[Key, Sums]:
    key = Key(
        kind,
        entry.run_id,
        day_of(entry.started_at),
        entry.model,
        is_told=entry.cost_usd is not None,
        by=tuple(_of_session(entry, name) for name in by),
    )
    sums = Sums(
        rows=entry.rows,
        prompt=entry.prompt_tokens,
        output=entry.completion_tokens,
        usd=entry.cost_usd or 0.0,
        dearest_usd=(entry.cost_usd or 0.0) / entry.paid_attempts if entry.paid_attempts else 0.0,
    )
    return key, sums


def _of_session(entry: LedgerEntry, name: str) -> str | None:
    if name.startswith("tag_"):
        return entry.tags.get(name.removeprefix("tag_"))
    value = getattr(entry, name) if name in OF_SESSION else None
    return None if value is None else str(value)


def _add_beyond(account: Account, run_id: str, entries: Sequence[LedgerEntry], by: Sequence[str]) -> None:
    """What the sessions of a run spent that its rows do not show, on the day of the last session."""
    in_rows = Sums()
    for key, sums in account.cells.items():
        if key.run_id == run_id and key.kind is Kind.ROWS:
            in_rows.add(sums)
    told = Sums()
    for entry in entries:
        told.add(_session_cell(Kind.BEYOND, entry, by)[1])
    if told.usd - in_rows.usd <= max(NOISE_USD, NOISE_USD * told.usd) or in_rows.usd == 0:
        return
    key = _session_cell(Kind.BEYOND, entries[-1], by)[0]._replace(is_told=True)
    more = Sums(
        prompt=max(0, told.prompt - in_rows.prompt),
        output=max(0, told.output - in_rows.output),
        usd=told.usd - in_rows.usd,
    )
    add_cells(account.cells, {key: more})


def _add_unwritten(account: Account, run: RunStatus, *, is_counted: bool, by: Sequence[str]) -> None:
    """What a run at work, or one that crashed, has spent and no ledger line tells yet."""
    written = sum(sums.usd for key, sums in account.cells.items() if key.run_id == run.run_id)
    more = (run.cost_usd or 0.0) - written
    if not is_counted:
        account.stopped += 1
    if more > NOISE_USD:
        day = day_of(run.started_at) if run.started_at is not None else None
        key = Key(Kind.STOPPED, run.run_id, day, run.model, is_told=True, by=tuple(None for _ in by))
        add_cells(account.cells, {key: Sums(usd=more)})
