"""A summary and a stream or two, for the tests of the report."""

from __future__ import annotations

import errno
import io
from pathlib import PurePath

from batcher.report import FailureGroup, Summary

HERE = PurePath("/data")
LABELS = Summary(
    verb="run",
    exit_code=3,
    exit_reason="rows_not_ok",
    next="retry_rows",
    output="/data/labels.parquet",
    rows_total=200_000,
    rows_done=200_000,
    outcomes={"ok": 199_688, "truncated": 41, "refused": 19, "failed": 240, "invalid": 12},
    cost_usd=35.81,
    repeated_cost_usd=0.06,
    elapsed_s=18 * 60 + 29.2,
    token_limit=64,
    failures=(
        FailureGroup("truncated", None, None, 41),
        FailureGroup("failed", "context_length", "context_length_exceeded", 198, "longest 141,002 tokens"),
    ),
)


class GoneStream(io.StringIO):
    """A terminal that hung up; the first `writes` calls still go through."""

    def __init__(self, *, writes: int = 0, is_terminal: bool = True) -> None:
        super().__init__()
        self._left = writes
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        if self._left <= 0:
            raise OSError(errno.EIO, "Input/output error")
        self._left -= 1
        return super().write(text)


class Terminal(io.StringIO):
    """A stream that says it is a terminal and keeps what was drawn."""

    def isatty(self) -> bool:
        return True
