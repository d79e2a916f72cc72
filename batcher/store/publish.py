"""Publish: sealed parts become the output, which appears under its name only complete and verified.

Steps, each of which may be the last before a crash; run again, the same call finishes:

    1. The output stands there already (same run id, same generation): verify it, clear up, done.
    2. Something else stands there and is not what `ReplacePlan` names: Conflict, nothing is touched.
    3. Parts -> ``.NAME.RUNID.tmp`` in the output's folder, row group by row group. The name is hidden and
       does not end in .parquet, so no glob finds it. A single part with the right footer is linked instead
       (copied where the state folder lies on another file system).
    4. Reopen and verify: rows, order, sums, schema, every page's CRC.
    5. fsync.
    6. Archive what is to be replaced: a link (or a synced copy) under its archive name, while it still stands
       at its own. So there is no moment without an output.
    7. Rename into place: a free name without replacing, the planned file by an atomic replace. fsync the
       folder.

It never deletes a part (the caller does, after its manifest record), never replaces a file it was not told
about, and holds one row group in memory, whatever the size.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from batcher.errors import Conflict, StorageError
from batcher.store.files import DISK, rename_new, storage_errors
from batcher.store.footer import read_facts
from batcher.store.part import PartWriter, reopen_and_check, row_groups
from batcher.store.seal import removed_on_failure, sync_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batcher.store.columns import OutputSchema
    from batcher.store.files import Disk
    from batcher.store.footer import FileFacts
    from batcher.store.part import Totals

_NAME_BYTES = 100
"""Of the output's name in the temporary one: file systems allow 255 bytes, and a run id and dots come on
top.
"""


@dataclass(frozen=True, slots=True)
class ReplacePlan:
    """What may be replaced.

    Attributes:
        old_run_id: of the file that stands at the output's name.
        archive_to: where that file goes; None replaces it for good (`retry`, whose new file holds all of it).
    """

    old_run_id: str
    archive_to: Path | None = None


class Published(NamedTuple):
    """An output that is durable under its name."""

    rows: int
    size: int
    checksum: str
    totals: Totals


def publish(
    parts: Sequence[Path],
    *,
    output: Path,
    schema: OutputSchema,
    facts: FileFacts,
    totals: Totals,
    replace: ReplacePlan | None = None,
    first_row: int | None = 0,
    pause: Callable[[], None] = lambda: None,
    disk: Disk = DISK,
) -> Published:
    """Make the output of a run; durable on return. Safe to call again after any crash.

    Args:
        parts: in input order; may be gone when an earlier call published already.
        output: final path; its folder exists.
        schema: of the parts and the output.
        facts: footer; run id and generation are the file's identity.
        totals: of all parts.
        replace: what may stand at `output` and be replaced; None: nothing.
        first_row: as in `reopen_and_check`.
        pause: called between row groups and before the output gets its name; what it raises ends the call there,
            with nothing half-done left behind.
        disk: as in `files`.

    Raises:
        Conflict: something else stands at `output`.
        StorageError: the disk, or a part is damaged, or what was written does not read back; `output` is
            untouched.
    """
    temporary = temporary_path(output, facts.run_id)
    with storage_errors("publishing", output):
        if recognise(output, facts.run_id, generation=facts.generation) is not None:
            measured = reopen_and_check(output, totals, schema, first_row=first_row)
            temporary.unlink(missing_ok=True)
            disk.sync_dir(output.parent)
            return Published(totals.rows, measured.size, measured.checksum, totals)
        _standing(output, replace)
        with removed_on_failure(temporary):
            _assemble(parts, temporary, schema, facts, pause)
            measured = reopen_and_check(temporary, totals, schema, first_row=first_row)
            sync_path(temporary, disk)
            pause()
        _place(temporary, output, replace, disk)
    return Published(totals.rows, measured.size, measured.checksum, totals)


def recognise(output: Path, run_id: str, *, generation: int | None = None) -> FileFacts | None:
    """The facts of the file at `output` if that run (and that generation, if given) published it. Raises
    OSError.
    """
    facts = read_facts(output)
    if facts is None or facts.run_id != run_id or generation not in (None, facts.generation):
        return None
    return facts


def temporary_path(output: Path, run_id: str) -> Path:
    """The hidden name, in the output's folder, under which a run's output is written."""
    name = output.name.encode()[:_NAME_BYTES].decode(errors="ignore")
    return output.with_name(f".{name}.{run_id}.tmp")


def _standing(output: Path, plan: ReplacePlan | None) -> bool:
    """Whether the planned file stands at the output's name; False when the name is free.

    Raises:
        Conflict: anything else stands there.
    """
    if not os.path.lexists(output):
        return False
    facts = read_facts(output)
    if plan is not None and facts is not None and facts.run_id == plan.old_run_id:
        return True
    what = (
        "a file that batcher did not write" if facts is None else f"the output of another run, {facts.run_id}"
    )
    raise Conflict(
        f"{output} is not free: {what} stands there; it was left as it is",
        hint="move it away or choose another output with -o",
    )


def _assemble(
    parts: Sequence[Path],
    temporary: Path,
    schema: OutputSchema,
    facts: FileFacts,
    pause: Callable[[], None],
) -> None:
    """Write the temporary file, replacing what an earlier attempt left of it."""
    temporary.unlink(missing_ok=True)
    if len(parts) == 1 and _says_the_same(parts[0], facts):
        _link_or_copy(parts[0], temporary)
        return
    with PartWriter(temporary, schema, facts, mode=_PUBLIC) as writer:
        for part in parts:
            try:
                for table in row_groups(part):
                    pause()
                    for batch in table.to_batches():
                        writer.write(batch.cast(schema.arrow) if batch.schema != schema.arrow else batch)
            except (pa.ArrowException, OSError) as err:
                if isinstance(err, OSError) and err.errno is not None:
                    raise  # the system's own: a full disk, a part that is gone
                raise StorageError(f"the part {part} is damaged: {err}") from err


_PUBLIC = 0o666
"""Before the umask: an output is readable as any file the user makes; the run directory is private."""


def _says_the_same(part: Path, facts: FileFacts) -> bool:
    """Whether the part's footer can serve as the output's; which session wrote it, and when, makes no
    difference.
    """
    found = read_facts(part)
    return found is not None and found == dataclasses.replace(
        facts, session=found.session, created_at=found.created_at
    )


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name of the file, with the permissions of a new one; a copy where the file system refuses."""
    target.touch(_PUBLIC, exist_ok=False)
    mode = target.stat().st_mode
    try:
        target.unlink()
        os.link(source, target)
    except OSError:
        _copy(source, target)
    target.chmod(mode & 0o777)


def _copy(source: Path, target: Path) -> None:
    """Never `shutil.copyfile` to a name: it would write through a link that another attempt left."""
    with source.open("rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _place(temporary: Path, output: Path, plan: ReplacePlan | None, disk: Disk) -> None:
    """Give the verified file its name. What stands there is looked at again: the writing took minutes."""
    if not _standing(output, plan):
        rename_new(temporary, output, disk=disk)
        return
    if plan is not None and plan.archive_to is not None:
        _archive(output, plan.archive_to, plan.old_run_id, disk)
    temporary.replace(output)
    disk.sync_dir(output.parent)


def _archive(output: Path, archive: Path, run_id: str, disk: Disk) -> None:
    """Durably give the old output its archive name as well.

    Raises:
        Conflict: something else stands at the archive's name.
    """
    unfinished = archive.with_name(f".{archive.name}.tmp")
    unfinished.unlink(missing_ok=True)
    if os.path.lexists(archive):
        if recognise(archive, run_id) is None:
            raise Conflict(f"{archive} is not free: it is not the output of run {run_id}")
        disk.sync_dir(archive.parent)
        return
    try:
        os.link(output, unfinished)
    except OSError:
        _copy(output, unfinished)
    sync_path(unfinished, disk)
    rename_new(unfinished, archive, disk=disk)
