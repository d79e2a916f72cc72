"""`run.json`: what a run is, written once when it begins and never changed.

The file carries a checksum over itself: one that was edited by hand or written by a newer version is refused, never
guessed at. It holds the job as data (so that `retry OUT` needs no job file) and never a key: a job names variables.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

import orjson

from batcher.errors import Conflict
from batcher.store.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = 1
"""Version of the run directory's layout."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is.

    Attributes:
        fingerprint: digest of what changes answers; `parts` is what it was made of, for a readable diff.
        job: the job as data, as it was when the run began.
        job_name: for the ledger.
        scan: the dataset's scan, as data.
        base_url: the endpoint as it is written into the output's footer.
        output: absolute path of the output.
        replaces: id of the run whose output stands at `output` and is to be replaced, or None.
        sources: Parquet files and run directories whose answers may be taken over.
        fresh: begun to take nothing over, tries included.
    """

    run_id: str
    created_at: float
    version: str
    fingerprint: str
    parts: Mapping[str, object]
    job: Mapping[str, object]
    job_name: str
    scan: Mapping[str, object]
    base_url: str
    simulated: bool
    output: str
    replaces: str | None = None
    sources: tuple[str, ...] = field(default=())
    fresh: bool = False

    def write(self, path: Path) -> None:
        """Write it, durably. Raises StorageError."""
        content = {"format": FORMAT, **asdict(self)}
        content["checksum"] = _checksum(content)
        write_atomic(path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")

    @classmethod
    def read(cls, path: Path) -> RunFacts | None:
        """None when no run was begun here.

        Raises:
            Conflict: written by a newer version, edited by hand, or damaged.
        """
        try:
            content = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as err:
            raise _refusal(path, "it is not whole") from err
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise _refusal(path, "it is not what batcher writes")
        if content["format"] > FORMAT:
            raise _refusal(path, f"a newer version of batcher wrote it (layout {content['format']})")
        if content.pop("checksum", None) != _checksum(content):
            raise _refusal(path, "it was changed after it was written")
        content.pop("format")
        content["sources"] = tuple(content["sources"])
        names = {each.name for each in fields(cls)}
        if set(content) != names:
            raise _refusal(path, "it has other keys than this version of batcher writes")
        return cls(**cast("dict[str, object]", content))  # type: ignore[arg-type]


def _checksum(content: Mapping[str, object]) -> str:
    return blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _refusal(path: Path, reason: str) -> Conflict:
    return Conflict(
        f"the run directory cannot be used: {path}: {reason}",
        hint="choose another output with -o, or move the run directory away to begin anew",
    )
