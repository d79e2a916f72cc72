"""Blocks of bytes into lines: split on the newline byte only, whatever else looks like a line end is content.

Must never hold a line of more than `LINE_LIMIT` bytes: such a line is counted and thrown away as it passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINE_LIMIT = 64 << 20
"""Bytes; the longest line that is loaded."""


@dataclass(frozen=True, slots=True)
class LineGroup:
    """Some whole lines.

    Attributes:
        offset: content offset of the first byte of the first line.
        lines: without their newline; an overlong one is empty here.
        overlong: length in bytes of the one line of this group, when that is over the limit; then `lines` is
            [b""].
        is_unfinished: the group is the last line of the content, and no newline follows it.
    """

    offset: int
    lines: list[bytes] = field(repr=False)
    overlong: int | None = None
    is_unfinished: bool = False


def split_lines(blocks: Iterable[bytes], *, offset: int = 0) -> Iterator[LineGroup]:
    """Cut blocks into groups of lines, about one group per block; every byte is in exactly one line.

    Args:
        blocks: content, starting at the start of a line.
        offset: content offset of the first byte.
    """
    pending: list[bytes] = []
    held = 0  # bytes of the line begun, dropped ones included
    for block in blocks:
        head, newline, rest = block.partition(b"\n")
        held += len(head)
        if held <= LINE_LIMIT:
            pending.append(head)
        else:
            pending.clear()
        if not newline:
            continue
        if held > LINE_LIMIT:
            yield LineGroup(offset, [b""], overlong=held)
            lines = rest.split(b"\n")
            offset += held + 1
        else:
            lines = [b"".join(pending), *rest.split(b"\n")]
        last = lines.pop()
        ready = [LineGroup(offset, lines)] if lines else []
        offset += sum(map(len, lines)) + len(lines)
        # A line of 30 MB would stay here, twice, for as long as somebody works with it.
        lines, pending, held = [], [last], len(last)
        while ready:
            yield ready.pop()
    if held > LINE_LIMIT:
        yield LineGroup(offset, [b""], overlong=held, is_unfinished=True)
    elif held:
        yield LineGroup(offset, [b"".join(pending)], is_unfinished=True)
