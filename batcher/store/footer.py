"""What a Parquet file of ours says about itself: the ``batcher.*`` entries of its footer.

They make a file recognisable after a crash (run id and generation), tell a simulated file from a bought one,
and let `report` and `retry` find what they need without the run directory. A footer never holds a key or a
prompt. Unknown entries of a newer version are kept in `FileFacts.extra`, not refused: reading an output must
go on working.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PREFIX = "batcher."
_WORDS = {True: "true", False: "false"}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is true of a whole file.

    Attributes:
        version: of batcher.
        simulated: answers are made up, not bought.
        complete: every row of the input is in it.
        prices_version: of the price table; None when no prices were used.
        session: number of the session that wrote the file; 0 when unknown.
        created_at: seconds since the epoch.
        generation: 0 for a run's first publication, one more for every `retry` that replaced it.
        extra: further entries, keys without ``batcher.``.
    """

    version: str
    run_id: str
    fingerprint: str
    base_url: str
    simulated: bool
    complete: bool
    prices_version: str | None
    session: int
    model: str | None
    created_at: float
    generation: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Key-value metadata of the Parquet footer; None is left out."""
        entries: dict[str, str | None] = dict(self.extra)
        entries |= {
            "version": self.version,
            "run_id": self.run_id,
            "fingerprint": self.fingerprint,
            "base_url": self.base_url,
            "simulated": _WORDS[self.simulated],
            "complete": _WORDS[self.complete],
            "prices_version": self.prices_version,
            "session": str(self.session),
            "model": self.model,
            "created_at": repr(self.created_at),
            "generation": str(self.generation),
        }
        return {_PREFIX + key: value for key, value in entries.items() if value is not None}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes]) -> FileFacts | None:
        """None when the file is not ours: no run id, or numbers that are none."""
        entries = {
            key.decode("utf-8", "replace").removeprefix(_PREFIX): value.decode("utf-8", "replace")
            for key, value in metadata.items()
            if key.startswith(_PREFIX.encode())
        }
        if "run_id" not in entries:
            return None
        try:
            return cls(
                version=entries.pop("version", ""),
                run_id=entries.pop("run_id"),
                fingerprint=entries.pop("fingerprint", ""),
                base_url=entries.pop("base_url", ""),
                simulated=entries.pop("simulated", "") == _WORDS[True],
                complete=entries.pop("complete", "") == _WORDS[True],
                prices_version=entries.pop("prices_version", None),
                session=int(entries.pop("session", "0")),
                model=entries.pop("model", None),
                created_at=float(entries.pop("created_at", "0")),
                generation=int(entries.pop("generation", "0")),
                extra=entries,
            )
        except ValueError:
            return None


def read_facts(path: Path) -> FileFacts | None:
    """The facts of a file; None when nothing of ours stands there (absent, a folder, not Parquet, not from
    us).

    Raises:
        OSError: the file cannot be read, so nothing is known about it.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            metadata = pq.read_metadata(file).metadata
        except (pa.ArrowInvalid, UnicodeDecodeError):  # the latter: a flipped bit in a text of the footer
            return None
    return FileFacts.from_metadata(metadata or {})
