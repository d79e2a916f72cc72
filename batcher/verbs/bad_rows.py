"""`--on-bad-row stop`: every row is rendered before the first one is sent.

The scan sees lines that are no rows; that a prompt is missing, or a page of a Parquet file is damaged, only rendering
sees. It costs a pass over the input, so it is done only where somebody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.errors import DatasetError
from batcher.records import Problem
from batcher.verbs.estimate_rendering import rendered

if TYPE_CHECKING:
    from batcher.ports import RequestBuilder, RowSource


def refuse_bad_rows(source: RowSource, builder: RequestBuilder, *, rows: int) -> None:
    """Render the first `rows` rows of the source; nothing is sent.

    Raises:
        DatasetError: some cannot be used; it names the first and counts them all.
    """
    first: Problem | None = None
    count = 0
    for built in rendered(source, builder, rows=rows):
        if isinstance(built, Problem):
            first, count = first or built, count + 1
    if first is not None:
        raise DatasetError(
            f"{count:,} of {rows:,} input rows cannot be used, and --on-bad-row is stop\n"
            f"row {first.row_index}: {first.message}",
            hint="without that option they become rows with outcome invalid; nothing was sent",
        )
