"""Rows that failed of what later turned out to stop the whole run: they are pending again, not results.

Only rows that nothing was paid for; and only so many are remembered that memory stays flat.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.policy import Verdict
    from batcher.records import EndRecord

REOPENABLE: Final = 65_536
"""Chosen: rows remembered; a cause that becomes fatal does so within its last 200 rows."""


class Cause(NamedTuple):
    """What makes two failures alike."""

    error_type: str | None
    status_code: int | None
    error_code: str | None


def cause_of(verdict: Verdict) -> Cause:
    return Cause(verdict.error_type, verdict.status_code, verdict.error_code)


@dataclass(slots=True)
class UnpaidFailures:
    """Failed rows of this session that nothing was paid for, the latest `REOPENABLE` of them."""

    _rows: deque[tuple[Cause, EndRecord]] = field(default_factory=lambda: deque(maxlen=REOPENABLE))

    def remember(self, cause: Cause, end: EndRecord) -> None:
        self._rows.append((cause, end))

    def of(self, cause: Cause) -> Iterator[EndRecord]:
        """The end records of the rows that failed of this cause, oldest first."""
        return (end for each, end in self._rows if each == cause)
