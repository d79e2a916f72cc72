"""The requests of a source's rows, exactly as a run makes them; nothing is sent.

Everything that looks at a whole job before it is paid for goes through here: the estimate, a refusal that names the
price of going on, `--on-bad-row stop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.dataset import python_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.ports import RequestBuilder, RowSource
    from batcher.records import Problem, Request


def rendered(
    source: RowSource, builder: RequestBuilder, *, rows: int, stride: int = 1
) -> Iterator[Request | Problem]:
    """The request of each of the first `rows` rows, or why it has none, in order; memory is that of one slice.

    Args:
        source: the rows.
        builder: of the requests.
        rows: how far to read.
        stride: one slice of so many is rendered, the first among them.

    Raises:
        DatasetError, Conflict: the source cannot be read any more, or changed.
    """
    for number, each in enumerate(source.slices(first_row=0)):
        if each.first_row >= rows:
            return
        if number % stride == 0:
            for row in python_rows(
                each.batch.slice(0, rows - each.first_row),
                first_row=each.first_row,
                columns=builder.columns,
                problems=dict(each.problems),
                raw=builder.raw_columns,
            ):
                yield builder.build(row)
        if each.first_row + each.batch.num_rows >= rows:
            return  # the next slice is not read for nothing
