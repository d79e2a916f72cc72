"""What `status` says of one run, as a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Life(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # in an orderly way, with a reason
    CRASHED = "crashed"  # no stop record, and nobody holds the lock
    NOT_STARTED = "not_started"  # described, but no session began; or only tried
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run as it was seen.

    Attributes:
        verb: of the session that works or worked last.
        pid, host: of the process that has the run, or had it last.
        started_at, ended_at: of the last session; last_sign_at: of its process. Seconds since the epoch.
        seen_at: when the process wrote of itself, seconds since the epoch; None when it did not.
        rows_done: exact for a run that is finished or stopped, up to 2 s old otherwise.
        rate: rows per second; like `held_by` only while it is running.
        flow: where its flow control stands or stood, as in `progress.json`; {} when unknown.
        cost_usd: over all sessions, what a crashed one had not told left out; None when no price is known.
        in_flight: requests that were out when it was seen; after a crash they may have been paid for.
        possibly_paid: (session, row_index) whose answer an interruption may have lost, as found by later sessions.
        exit_code, exit_reason, message: how it ended.
        retry: outcomes and `--set`s of a retry that is not published, or None.
        tries: `try`s whose answers stand ready.
        hint: what to type next, or None.
        problem: what could not be read, or is not as it should be, or None.
    """

    output: str
    directory: str
    life: Life
    verb: str | None = None
    run_id: str | None = None
    job: str | None = None
    model: str | None = None
    is_simulated: bool = False
    pid: int | None = None
    host: str | None = None
    session: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    last_sign_at: float | None = None
    seen_at: float | None = None
    rows_done: int = 0
    rows_total: int | None = None
    rate: float | None = None
    held_by: str | None = None
    flow: Mapping[str, object] = field(default_factory=dict)
    in_flight: int | None = None
    not_ok: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    possibly_paid: tuple[tuple[int, int], ...] = ()
    exit_code: int | None = None
    exit_reason: str | None = None
    message: str | None = None
    retry: Mapping[str, object] | None = None
    tries: int = 0
    hint: str | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, object]:
        """One JSON object, plain types only."""
        return asdict(self) | {
            "life": self.life.value,
            "possibly_paid": [list(each) for each in self.possibly_paid],
        }
