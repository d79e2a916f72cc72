"""Every way a run can stop, as one exception tree, each with the exit code a scheduler branches on.

A row's failure is data and never appears here; a run's failure is one of these:

    BatcherError
      JobError             2   the job file, an option or a variable is not usable
      DatasetError         2   the input is not usable, found before anything was paid
      EndpointUnusable     2   the endpoint answers, but not as a chat-completions endpoint for this job
      Conflict             4   something else stands there: a changed job or input, another run's output
      AccountError         5   key missing or wrong, permission, quota, credit
      LimitReached         6   a limit the user set: budget, deadline
      EndpointUnavailable  7   nothing answers, or nothing has succeeded for too long
      StorageError         8   disk full, a write that failed, a damaged file
      RunLocked            9   another process has the run
      TooManyFailures     10   most rows fail in the same way
      Interrupted      128+n   a signal
    (anything else)        1   a bug

Messages are sentences for a person: what was expected, what was found, where, and what to type next. They never
contain a key: whoever raises with text from outside scrubs it first.
"""

from __future__ import annotations

from typing import ClassVar, Literal

NextStep = Literal[
    "none",
    "rerun",
    "rerun_later",
    "change_job",
    "fix_key",
    "raise_budget",
    "retry_rows",
    "free_disk",
    "look",
    "report_bug",
]


class BatcherError(Exception):
    """Base of all expected run failures.

    Attributes:
        exit_code: process exit code, 2 to 10 or 128 + signal number.
        exit_reason: stable machine word for ``--json``.
        next_step: stable machine word for ``--json``: what helps.
        hint: what to type next, one line, or None.
    """

    exit_code: int = 1
    exit_reason: str = "bug"
    next_step: NextStep = "report_bug"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.summary: object | None = None
        """What the session did until it stopped (`batcher.report.Summary`), or None when it had not begun."""


class JobError(BatcherError):
    exit_code = 2
    exit_reason = "job_not_usable"
    next_step: NextStep = "change_job"


class DatasetError(BatcherError):
    exit_code = 2
    exit_reason = "dataset_not_usable"
    next_step: NextStep = "change_job"


class EndpointUnusable(BatcherError):
    exit_code = 2
    exit_reason = "endpoint_not_usable"
    next_step: NextStep = "change_job"


class Conflict(BatcherError):
    exit_code = 4
    exit_reason = "conflict"
    next_step: NextStep = "change_job"


class AccountError(BatcherError):
    exit_code = 5
    exit_reason = "account"
    next_step: NextStep = "fix_key"


class LimitReached(BatcherError):
    exit_code = 6
    exit_reason = "limit_reached"
    next_step: NextStep = "raise_budget"


class EndpointUnavailable(BatcherError):
    exit_code = 7
    exit_reason = "endpoint_unavailable"
    next_step: NextStep = "rerun_later"


class StorageError(BatcherError):
    exit_code = 8
    exit_reason = "storage"
    next_step: NextStep = "free_disk"


class RunLocked(BatcherError):
    exit_code = 9
    exit_reason = "locked"
    next_step: NextStep = "look"


class TooManyFailures(BatcherError):
    exit_code = 10
    exit_reason = "too_many_failures"
    next_step: NextStep = "look"


class Interrupted(BatcherError):
    """Stopped by a signal; ``exit_code`` is 128 + its number."""

    exit_reason = "signal"
    next_step: NextStep = "rerun"
    NAMES: ClassVar[dict[int, str]] = {1: "SIGHUP", 2: "SIGINT", 15: "SIGTERM"}

    def __init__(self, signum: int, *, hint: str | None = None) -> None:
        super().__init__(f"stopped by {self.NAMES.get(signum, f'signal {signum}')}", hint=hint)
        self.signum = signum
        self.exit_code = 128 + signum
