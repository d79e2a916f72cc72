"""Arrow slices of scanned JSONL, from any row on.

Must never hand out a row of a block that is not the one scanned: the digest of every block is compared
before it is split, so no time stamp is trusted, and a file that only grew reads as it was. That costs 1.3 ms
per MiB, and a change in mid-run is found at the first block that differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batcher.dataset.columns import record_batch
from batcher.dataset.content import BLOCK, DIGEST, Content, digest_of
from batcher.dataset.jsonl import overlong_problem, read_rows, row_lines
from batcher.dataset.lines import LineGroup, split_lines
from batcher.dataset.scanned import Slice
from batcher.errors import Conflict, DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.dataset.scanned import FileStamp, Scan

SLICE_BYTES = 16 << 20
"""Bytes of lines in one slice, unless a single line has more."""


def jsonl_slices(scan: Scan, *, first_row: int, rows_per_slice: int) -> Iterator[Slice]:
    """See `ports.RowSource.slices`."""
    start = 0
    for stamp in scan.files:
        if first_row < start + stamp.rows:
            yield from _FileSlices(scan, stamp, start).run(max(first_row, start), rows_per_slice)
        start += stamp.rows


class _FileSlices:
    def __init__(self, scan: Scan, stamp: FileStamp, first_row: int) -> None:
        """`first_row` is the row_index of the file's first row."""
        self._scan = scan
        self._stamp = stamp
        self._first_row = first_row

    def run(self, wanted: int, rows_per_slice: int) -> Iterator[Slice]:
        """Slices from row_index `wanted` on."""
        stamp = self._stamp
        row, offset = max(mark for mark in stamp.marks if self._first_row + mark[0] <= wanted)
        row += self._first_row
        try:
            with Content(Path(stamp.path), stamp.codec, size=stamp.size, length=stamp.length) as content:
                for group in split_lines(self._checked(content, offset), offset=offset):
                    lines = row_lines(group) if group.overlong is None else list(group.lines)
                    group.lines.clear()  # a line of 30 MB is not kept beside the slice that was made of it
                    found = len(lines)
                    skipped = min(max(wanted - row, 0), found)
                    del lines[:skipped]
                    yield from self._cut(group, lines, row + skipped, rows_per_slice)
                    row += found
        except OSError as err:
            raise DatasetError(f"{stamp.path} cannot be read any more: {err}") from err
        if row != self._first_row + stamp.rows:
            raise self._changed()

    def _checked(self, content: Content, offset: int) -> Iterator[bytes]:
        """Blocks that are as they were when scanned, from `offset` on."""
        first = offset // BLOCK
        digests = self._stamp.blocks
        for number, block in enumerate(content.blocks(first=first), first):
            if digest_of(block) != digests[number * DIGEST : (number + 1) * DIGEST]:
                raise self._changed()
            yield block[offset - first * BLOCK :] if number == first else block

    def _cut(self, group: LineGroup, lines: list[bytes], row: int, rows_per_slice: int) -> Iterator[Slice]:
        """Slices of these lines, the first of which is `row`; each line is forgotten when it is in a slice."""
        at = 0
        while at < len(lines):
            end = at + 1
            room = SLICE_BYTES - len(lines[at])
            while end < len(lines) and end - at < rows_per_slice and len(lines[end]) <= room:
                room -= len(lines[end])
                end += 1
            yield self._slice(group, _taken(lines, at, end), row + at, is_last=end == len(lines))
            at = end

    def _slice(self, group: LineGroup, lines: list[bytes], row: int, *, is_last: bool) -> Slice:
        if (problem := overlong_problem(group)) is not None:
            return Slice(row, record_batch([{}], self._scan.schema, {}), {row: problem})
        rows, problems, _ = read_rows(
            lines, is_batch=self._scan.format == "openai-batch", is_unfinished=group.is_unfinished and is_last
        )
        batch = record_batch(rows, self._scan.schema, problems)
        return Slice(row, batch, {row + at: problems[at] for at in sorted(problems)})

    def _changed(self) -> Conflict:
        return Conflict(
            f"{self._stamp.path} is not the file that was scanned: its content changed",
            hint="put the scanned file back, or start over with --replace",
        )


def _taken(lines: list[bytes], start: int, end: int) -> list[bytes]:
    """Lines of the list, with nothing left in their places."""
    taken = lines[start:end]
    lines[start:end] = [b""] * len(taken)
    return taken
