"""What scanning and slicing JSONL share: which lines are rows, and which rows are problems.

Both must come to the same rows in the same order, or an answer would land beside another prompt; so neither
decides this itself.
"""

from __future__ import annotations

from batcher.dataset.batchline import batch_problem
from batcher.dataset.jsonline import INCOMPLETE, Row, parse_rows
from batcher.dataset.lines import LINE_LIMIT, LineGroup

BOM = b"\xef\xbb\xbf"


def row_lines(group: LineGroup) -> list[bytes]:
    """The group's lines that are rows: not blank, without the byte order mark of the file's first one."""
    lines = group.lines
    if group.offset == 0 and lines and lines[0].startswith(BOM):
        lines = [lines[0].removeprefix(BOM), *lines[1:]]
    return [line for line in lines if line and not line.isspace()]


def overlong_problem(group: LineGroup) -> str | None:
    """Why the group's single line was not loaded, or None for a normal group."""
    if group.overlong is None:
        return None
    cut = f"; {INCOMPLETE}" if group.is_unfinished else ""
    return f"the line has {group.overlong:,} bytes, more than {LINE_LIMIT >> 20} MiB{cut}"


def read_rows(
    lines: list[bytes], *, is_batch: bool, is_unfinished: bool
) -> tuple[list[Row], dict[int, str], frozenset[int]]:
    """Parse row lines.

    Returns:
        One dict per line; position -> reason for those that cannot be used; the positions of those that do
        not even parse (their dict is empty).
    """
    rows, problems = parse_rows(lines, is_unfinished=is_unfinished)
    unparsed = frozenset(problems)
    if is_batch:
        for at, row in enumerate(rows):
            if at not in unparsed and (problem := batch_problem(row)):
                problems[at] = problem
    return rows, problems, unparsed
