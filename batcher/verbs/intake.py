"""The input taken in: found, copied if it is standard input, scanned once, and opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from batcher.dataset import InputSpec, Scan, find_files, open_source, refuse_output_among, scan, spool_stdin
from batcher.errors import DatasetError
from batcher.store.files import checksum_of, storage_errors, sync_dir
from batcher.verbs.wiring import InputShape

if TYPE_CHECKING:
    from batcher.job import Job
    from batcher.ports import RowSource
    from batcher.store.run_facts import RunFacts
    from batcher.verbs.opening import Site
    from batcher.verbs.options import RunOptions


@dataclass(frozen=True, slots=True)
class Intake:
    """A scanned input."""

    scan: Scan

    @property
    def shape(self) -> InputShape:
        return InputShape(self.scan.format, self.scan.schema, self.scan.rows)

    def source(self) -> RowSource:
        return open_source(self.scan)

    def wanted_rows(self, job: Job) -> int:
        """Rows the job asks for: its limit, or all."""
        return min(self.scan.rows, job.input.limit) if job.input.limit is not None else self.scan.rows


def take_in(job: Job, options: RunOptions, site: Site, *, known: RunFacts | None) -> Intake:
    """Scan the job's input; a file unchanged since the run's own scan is not read again.

    Raises:
        DatasetError: not usable, found before anything is paid.
        StorageError: standard input could not be copied.
    """
    spec = InputSpec(job.input.path, job.input.format, allow_empty=job.input.allow_empty)
    earlier = Scan.from_json(cast("dict[str, object]", known.scan)) if known is not None else None
    if spec.source == "-":
        with storage_errors("copying standard input", site.directory.path):
            files = [_spooled(site, options, earlier)]
    else:
        files = find_files(spec, base=Path.cwd())
    refuse_output_among(files, site.output)
    found = scan(spec, files, known=earlier)
    for note in found.notes:
        options.display.say(f"  input: {note}")
    return Intake(found)


def _spooled(site: Site, options: RunOptions, earlier: Scan | None) -> Path:
    """Standard input as a file; on a terminal, or when it is empty, the copy that an earlier session made.

    Another content gets another name: a pipe that is then refused must not take the place of the input of the run that
    stands there, which nobody may be able to make again.
    """
    kept = [Path(stamp.path) for stamp in earlier.files] if earlier is not None else []
    standing = next((path for path in [*kept, *site.directory.spools] if path in site.directory.spools), None)
    stdin = options.stdin
    if stdin is None or stdin.isatty():
        if standing is not None:
            return standing
        raise DatasetError(
            "the input is -, but nothing is piped in", hint="cat prompts.jsonl | batcher run -i - …"
        )
    fresh = site.directory.spool("new")
    spool_stdin(stdin, fresh)
    if fresh.stat().st_size == 0 and standing is not None:
        fresh.unlink()
        return standing
    spool = site.directory.spool(checksum_of(fresh))
    if spool.exists():
        fresh.unlink()
        return spool
    fresh.replace(spool)
    for path in site.directory.spools:
        if path != spool and path not in kept:
            path.unlink()
    sync_dir(spool.parent)
    return spool
