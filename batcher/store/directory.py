"""Where the files of a run lie: names only, and the folders made private.

out.parquet                       the view; everything below is the truth
.batcher/                         the state folder (elsewhere with --state or BATCHER_STATE)
  ledger.jsonl                    one line per session
  out.parquet.run/                one run, 0700
    run.json lock manifest.jsonl progress.json events.jsonl ballast
    input/ journal/ parts/        shards: input columns, answers, sealed
    tries/003.part tries/003/     what `try` bought; a folder while it is being bought
    reuse/                        index of answers to take over, for one session
    replaced/RUN_ID/              an earlier run that `--replace` set aside
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.store.files import make_private_dir
from batcher.store.journal import JournalName

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run; nothing exists until `make` was called."""

    path: Path

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.jsonl"

    @property
    def progress(self) -> Path:
        return self.path / "progress.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    @property
    def reuse(self) -> Path:
        return self.path / "reuse"

    @property
    def tries(self) -> Path:
        return self.path / "tries"

    def spool(self, mark: str) -> Path:
        """A copy of standard input; `mark` tells one content from another."""
        return self.path / f"stdin-{mark}.jsonl"

    @property
    def spools(self) -> list[Path]:
        """All copies of standard input, the latest first."""
        found = self.path.glob("stdin-*.jsonl")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    def replaced(self, run_id: str) -> Path:
        return self.path / "replaced" / run_id

    def replaced_output(self, run_id: str) -> Path:
        """What that run had published; not named .parquet, because globs must not find it."""
        return self.replaced(run_id) / "output.part"

    def input(self, shard: int) -> Path:
        return self.path / "input" / f"{shard:06d}.arrow"

    def part(self, shard: int) -> Path:
        return self.path / "parts" / f"{shard:06d}.part"

    @property
    def journal_folder(self) -> Path:
        return self.path / "journal"

    def journal(self, shard: int, session: int) -> Path:
        return self.journal_folder / str(JournalName(shard, session))

    def journals(self, shard: int) -> list[Path]:
        """All journal files of a shard, in the order they were written."""
        found = []
        for path in self.journal_folder.glob(f"{shard:06d}.s*.jsonl"):
            name = JournalName.parse(path.name)
            if name is not None:
                found.append((name, path))
        return [path for _, path in sorted(found)]

    def try_part(self, number: int) -> Path:
        return self.tries / f"{number:03d}.part"

    def try_directory(self, number: int) -> RunDirectory:
        return RunDirectory(self.tries / f"{number:03d}")

    def make(self) -> None:
        """Create the folders, 0700."""
        for folder in (self.path, self.path / "input", self.path / "journal", self.path / "parts"):
            make_private_dir(folder)


def state_folder(output: Path, state: Path | None) -> Path:
    """The state folder of an output: beside it, or where the user said."""
    return state if state is not None else output.parent / ".batcher"


def run_directory(output: Path, state: Path | None = None) -> RunDirectory:
    """The run directory that belongs to an output path; in a shared state folder with a hash of the path."""
    folder = state_folder(output, state)
    if state is None:
        return RunDirectory(folder / f"{output.name}.run")
    mark = hashlib.blake2b(str(output.absolute()).encode(), digest_size=6).hexdigest()
    return RunDirectory(folder / f"{output.name}.{mark}.run")


def make_state_folder(folder: Path) -> None:
    """Create the state folder with a .gitignore that hides all of it."""
    make_private_dir(folder)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
