"""What `verify` found, as values: one check after the other, and the exit code they add up to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

DAMAGED = 8
CHANGED = 4


class Verdict(StrEnum):
    OK = "ok"
    FAILED = "failed"  # the file is damaged, or does not fit its own records
    CHANGED = "changed"  # the job or the input is not what it was
    NOT_CHECKED = "not checked"  # what it would be held against is gone
    NOTE = "note"  # odd, and no fault of the file


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: a stable machine word.
        said: for a person.
    """

    name: str
    verdict: Verdict
    said: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Everything that was looked at, in order.

    Attributes:
        rows: of the file; None when it cannot be read.
        possibly_paid: rows whose answer an interruption may have lost.
    """

    output: str
    run_id: str | None
    rows: int | None
    checks: tuple[Check, ...]
    possibly_paid: tuple[int, ...] = ()

    @property
    def exit_code(self) -> int:
        """8 when the file is not what it should be, 4 when what it was made of changed since, else 0."""
        verdicts = {check.verdict for check in self.checks}
        return DAMAGED if Verdict.FAILED in verdicts else CHANGED if Verdict.CHANGED in verdicts else 0

    def to_json(self) -> dict[str, object]:
        """One JSON object, plain types only."""
        checks = [
            {"name": each.name, "verdict": each.verdict.value, "said": each.said} for each in self.checks
        ]
        return asdict(self) | {
            "exit_code": self.exit_code,
            "checks": checks,
            "possibly_paid": list(self.possibly_paid),
        }
