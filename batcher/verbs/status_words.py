"""Pure: the status of runs as lines for a person. Text that servers wrote is made harmless by whoever prints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.report.wording import duration, flow_words, held_line, held_words, money
from batcher.verbs.run_status import Life

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.verbs.run_status import RunStatus

SHOWN_ROWS = 8


def status_lines(runs: Sequence[RunStatus], *, here: Path, now: float) -> list[str]:
    """A block per run, and one line in front that counts them.

    Args:
        runs: as found.
        here: paths below it are shown relative to it.
        now: seconds since the epoch.
    """
    if not runs:
        return ["  no runs here"]
    lines = []
    for run in runs:
        lines += [_head(run, here), *(f"    {line}" for line in _details(run, now))]
    return lines


def _head(run: RunStatus, here: Path) -> str:
    output = Path(run.output)
    shown = output.relative_to(here) if output.is_relative_to(here) else output
    words = [f"  {shown}", _life(run)]
    if run.life is not Life.UNREADABLE:
        words += _numbers(run)
    return "  ".join(words)


def _life(run: RunStatus) -> str:
    word = run.life.value.replace("_", " ")
    if run.retry is not None:
        word += " (retry)"
    if run.life is Life.RUNNING and run.verb in {None, "try"}:
        word += " (try)" if run.verb else " (no session yet)"
    if run.life is Life.STOPPED:
        word += f": {(run.exit_reason or '').replace('_', ' ')} (exit {run.exit_code})"
    if run.life is Life.FINISHED and run.exit_code:
        word += f" (exit {run.exit_code})"
    return f"{word}, simulated" if run.is_simulated else word


def _numbers(run: RunStatus) -> list[str]:
    words = []
    total = f"/{run.rows_total:,}" if run.rows_total is not None else ""
    share = (
        f" ({run.rows_done / run.rows_total:.0%})"
        if run.rows_total and run.rows_done < run.rows_total
        else ""
    )
    words.append(f"{run.rows_done:,}{total} rows{share}" if run.rows_done or total else "no rows yet")
    if run.rate is not None:
        words.append(f"{run.rate:,.1f} rows/s")
        if run.rate and run.rows_total:
            words.append(f"ETA {duration(max(0, run.rows_total - run.rows_done) / run.rate)}")
    if run.cost_usd is not None:
        words.append(money(run.cost_usd))
    if run.not_ok:
        words.append(f"not ok {run.not_ok:,}")
    if run.held_by:
        words.append(f"held by: {held_words(run.held_by, run.flow, at=run.seen_at or 0.0)}")
    return words


def _details(run: RunStatus, now: float) -> list[str]:
    lines = [" · ".join(_session(run, now))] if run.life is not Life.UNREADABLE else []
    lines += _flow(run, now)
    if run.problem is not None:
        lines.append(f"problem: {run.problem}")
    if run.message is not None:
        lines += run.message.splitlines()[:3]
    if run.retry is not None:
        lines.append(
            f"an open retry of {run.retry['rows']:,} rows: {', '.join(map(str, _list(run.retry['outcomes'])))}"
        )
    if run.life is Life.CRASHED and run.in_flight:
        lines.append(
            f"about {run.in_flight:,} requests were in flight and may be paid twice; the next run says which"
        )
    if run.possibly_paid:
        rows = sorted({row for _, row in run.possibly_paid})
        some = ", ".join(map(str, rows[:SHOWN_ROWS])) + (", …" if len(rows) > SHOWN_ROWS else "")
        lines.append(f"{len(rows):,} rows may have been paid twice: row_index {some}")
    if run.hint is not None:
        lines.append(f"next: {run.hint}")
    return [line for line in lines if line]


def _flow(run: RunStatus, now: float) -> list[str]:
    """Window, pace and limits of a run at work, and what held it so far; what held one that ended."""
    lines = [" · ".join(flow_words(run.flow))] if run.life is Life.RUNNING else []
    until = now if run.life is Life.RUNNING else run.ended_at or run.seen_at
    if run.started_at is not None and until is not None:
        lines.append(held_line(run.flow, elapsed_s=max(0.0, until - run.started_at)) or "")
    return lines


def _session(run: RunStatus, now: float) -> list[str]:
    words = [run.verb or "", f"job {run.job}" if run.job else "", f"model {run.model}" if run.model else ""]
    if run.tries:
        words.append(f"{run.tries} tries" if run.tries > 1 else "1 try")
    if run.life is Life.RUNNING:
        words += [f"process {run.pid} on {run.host}", _ago("last sign of life", run.last_sign_at, now)]
    elif run.life is Life.CRASHED:
        words += [
            f"process {run.pid} on {run.host} is gone",
            _ago("last sign of life", run.last_sign_at, now),
        ]
    elif run.ended_at is not None:
        words.append(_clock(run.ended_at))
        if run.started_at is not None and run.ended_at >= run.started_at:
            words.append(f"after {duration(run.ended_at - run.started_at)}")
    return [word for word in words if word]


def _ago(what: str, at: float | None, now: float) -> str:
    return f"{what} {duration(max(0.0, now - at))} ago" if at is not None else ""


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
