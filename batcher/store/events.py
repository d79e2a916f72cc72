"""`events.jsonl`: what changed during a run and why, for whoever looks into it the next morning. Bounded, never needed.

Ids, numbers and reasons only: no prompt, no answer, no text of a server. A line that cannot be written is given up: the
run itself meets the disk's trouble where it matters.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from batcher.store.files import FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 1 << 20
"""When the file is larger it becomes ``events.old.jsonl``, so both together hold the latest one to two MiB."""

Fact = str | int | float | bool | None


class Events:
    """Appends events to one file; opened anew for every batch, so that it can be moved under its writer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, name: str, *, ts: float, **facts: Fact) -> None:
        """One event at `ts`, seconds since the epoch."""
        line = orjson.dumps({"ts": round(ts, 3), "event": name, **facts}) + b"\n"
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_size + len(line) > MOST_BYTES:
                self._path.replace(self._path.with_name("events.old.jsonl"))
            with self._path.open("ab") as file:
                if file.tell() == 0:
                    self._path.chmod(FILE_MODE)
                file.write(line)
