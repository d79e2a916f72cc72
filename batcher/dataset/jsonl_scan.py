"""The one full read of JSONL files before anything is sent: rows counted, types fixed, content digested.

Must never hold a file, only a block of it, and must find everything that makes the whole file unusable
(UTF-16, one JSON array, no row that parses): later it would cost money.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.dataset.batchline import BODY, CUSTOM_ID, is_batch_line
from batcher.dataset.content import DIGEST, Content, codec_of, digest_of
from batcher.dataset.jsonl import BOM, overlong_problem, read_rows, row_lines
from batcher.dataset.jsonline import INCOMPLETE, Row, duplicate_key, is_one_array
from batcher.dataset.lattice import Kind, Observer
from batcher.dataset.lines import LineGroup, split_lines
from batcher.dataset.scanned import FileStamp, Format, Scan
from batcher.errors import DatasetError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batcher.dataset.scanned import Codec

MARK_BYTES = 16 << 20
"""How far apart the seek marks are: about what is split, but not parsed, before a resumed row."""
DUPLICATES_PROBED = 1_000
"""Rows checked for duplicate keys one by one; later ones only while all are flat, by counting: cheap."""
_LINES_PER_PARSE = 4_096

_ENCODINGS = (  # longest first: UTF-32-LE begins like UTF-16-LE
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"{\x00\x00\x00", "UTF-32LE"),
    (b"\x00\x00\x00{", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"{\x00", "UTF-16LE"),
    (b"\x00{", "UTF-16BE"),
)


@dataclass(slots=True)
class _Seen:
    """What is known so far, over all files of one scan."""

    format: Format | None = None
    observer: Observer = field(default_factory=Observer)
    rows: int = 0
    unparsed: int = 0
    problems: int = 0
    first_problem: str = ""
    notes: list[str] = field(default_factory=list)
    has_duplicates: bool = False

    def settle(self, format_: Format) -> None:
        self.format = format_
        if format_ == "openai-batch":
            self.observer.decree(BODY, Kind.JSON)
            self.observer.decree(CUSTOM_ID, Kind.ALWAYS_TEXT)


def scan_jsonl(files: Sequence[Path], *, wanted: Format | None) -> Scan:
    """Read every file once, in full.

    Args:
        files: in the order of their rows.
        wanted: "jsonl" or "openai-batch"; None to tell from the first readable line.

    Raises:
        DatasetError: not JSONL at all, or not readable.
        Conflict: a file shrank while it was read.
    """
    seen = _Seen()
    if wanted is not None:
        seen.settle(wanted)
    stamps = tuple(_FileScan(path, seen).run() for path in files)
    if seen.rows and seen.unparsed == seen.rows:
        raise DatasetError(
            f"none of the {seen.rows:,} lines of {files[0]} is a JSON object; "
            f"the first: {seen.first_problem}",
            hint='one JSON object per line is expected, as {"id": 1, "prompt": "…"}; '
            "pretty-printed JSON becomes that with: jq -c .",
        )
    whole = hashlib.blake2b(b"".join(bytes.fromhex(s.content_hash) for s in stamps), digest_size=DIGEST)
    return Scan(
        format=seen.format or "jsonl",
        schema=seen.observer.schema(),
        rows=seen.rows,
        content_hash=whole.hexdigest(),
        files=stamps,
        problems=seen.problems,
        notes=tuple(seen.notes),
        columns=seen.observer.facts(),
    )


class _FileScan:
    """One file's way through the scan; `seen` collects what concerns all files."""

    def __init__(self, path: Path, seen: _Seen) -> None:
        self._path = path
        self._seen = seen
        self._rows = 0
        self._length = 0
        self._digests = bytearray()
        self._marks: list[tuple[int, int]] = []
        self._opens_array = False
        self._only_row_is_list = False

    def run(self) -> FileStamp:
        facts = self._path.stat()
        codec = codec_of(self._path)
        with Content(self._path, codec, size=facts.st_size) as content:
            for group in split_lines(self._digested(content)):
                self._group(group)
            damage = content.damage
        if self._opens_array and self._rows == 1 and self._only_row_is_list:
            self._refuse_array()
        if damage is not None:
            self._seen.notes.append(
                f"{self._path.name}: the {codec} stream breaks off ({damage}); {INCOMPLETE}"
            )
        return self._stamp(facts, codec, damage)

    def _stamp(self, facts: os.stat_result, codec: Codec, damage: str | None) -> FileStamp:
        content_hash = hashlib.blake2b(b"%d:" % self._length + self._digests, digest_size=DIGEST).hexdigest()
        return FileStamp(
            path=str(self._path),
            size=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            inode=facts.st_ino,
            rows=self._rows,
            content_hash=content_hash,
            codec=codec,
            length=self._length,
            blocks=bytes(self._digests),
            marks=tuple(self._marks),
            damage=damage,
        )

    def _digested(self, content: Content) -> Iterator[bytes]:
        for block in content.blocks():
            if not self._length:
                self._refuse_encoding(block)
                self._opens_array = block.removeprefix(BOM).lstrip()[:1] == b"["
            self._digests += digest_of(block)
            self._length += len(block)
            yield block

    def _group(self, group: LineGroup) -> None:
        if not self._marks or group.offset - self._marks[-1][1] >= MARK_BYTES:
            self._marks.append((self._rows, group.offset))
        if (problem := overlong_problem(group)) is not None:
            if self._opens_array and not self._rows:
                self._refuse_array()
            self._count({0: problem}, rows=1, unparsed=1)
            return
        lines = row_lines(group)
        if lines and not self._rows and is_one_array(lines[0]):
            self._refuse_array()
        for at in range(0, len(lines), _LINES_PER_PARSE):
            is_last = at + _LINES_PER_PARSE >= len(lines)
            self._lines(lines[at : at + _LINES_PER_PARSE], is_unfinished=group.is_unfinished and is_last)

    def _lines(self, lines: list[bytes], *, is_unfinished: bool) -> None:
        seen = self._seen
        self._only_row_is_list = lines[0].lstrip().startswith(b"[")
        rows, problems, unparsed = read_rows(
            lines, is_batch=seen.format == "openai-batch", is_unfinished=is_unfinished
        )
        if seen.format is None and len(unparsed) < len(rows):
            first = next(row for at, row in enumerate(rows) if at not in unparsed)
            seen.settle("openai-batch" if is_batch_line(first) else "jsonl")
            if seen.format == "openai-batch":
                self._lines(lines, is_unfinished=is_unfinished)
                return
        good = [row for at, row in enumerate(rows) if at not in unparsed] if unparsed else rows
        seen.observer.observe(good)
        if not seen.has_duplicates:
            self._look_for_duplicates(lines, rows, unparsed)
        self._count(problems, rows=len(lines), unparsed=len(unparsed))

    def _count(self, problems: dict[int, str], *, rows: int, unparsed: int) -> None:
        seen = self._seen
        if problems and not seen.first_problem:
            at = min(problems)
            seen.first_problem = f"{problems[at]} ({self._path.name}, row {self._rows + at})"
        if any(INCOMPLETE in problem for problem in problems.values()):
            seen.notes.append(f"{self._path.name}: the last line is cut; {INCOMPLETE}")
        seen.problems += len(problems)
        seen.unparsed += unparsed
        seen.rows += rows
        self._rows += rows

    def _look_for_duplicates(self, lines: list[bytes], rows: list[Row], unparsed: frozenset[int]) -> None:
        """Probe the first rows exactly; later rows, while all are flat, by counting ``":`` against keys."""
        for at, line in enumerate(lines):
            if self._seen.rows + at >= DUPLICATES_PROBED:
                if not self._seen.observer.is_flat:
                    return
                colons = line.count(b'":')
                if colons <= len(rows[at]) or colons - line.count(b'\\":') <= len(rows[at]):
                    continue
            if at in unparsed or (key := duplicate_key(line)) is None:
                continue
            self._seen.has_duplicates = True
            self._seen.notes.append(
                f"{self._path.name}, row {self._rows + at}: the key {key!r} stands twice; the last one counts"
            )
            return

    def _refuse_encoding(self, block: bytes) -> None:
        for magic, name in _ENCODINGS:
            if block.startswith(magic):
                raise DatasetError(
                    f"{self._path} is {name}, not UTF-8",
                    hint=f"iconv -f {name} -t UTF-8 {self._path.name} > {self._path.stem}.utf8.jsonl",
                )

    def _refuse_array(self) -> None:
        raise DatasetError(
            f"{self._path} is one JSON array, not JSONL",
            hint=f"jq -c '.[]' {self._path.name} > {self._path.stem}.rows.jsonl",
        )
