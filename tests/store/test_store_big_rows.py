"""Large rows among small ones: what is handed out at once is bounded by bytes, and what is done with is let go."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pyarrow as pa

from batcher.dataset import InputSpec, open_source, scan
from batcher.dataset.scanned import Slice
from batcher.store.memory import frugal
from batcher.store.shard_input import BATCH_BYTES, ShardCutter, ShardRows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = 20 << 20
SIZES = [10] * 20 + [6 << 20] * 7 + [40 << 20] + [10] * 5


class OneSlice:
    """A source that ignores how much a slice may hold."""

    schema = pa.schema([("text", pa.string())])
    rows = len(SIZES)

    def slices(self, *, first_row: int, rows_per_slice: int = 512) -> Iterator[Slice]:
        del rows_per_slice
        texts = [f"{row:<{size}}" for row, size in enumerate(SIZES)]
        yield Slice(first_row, pa.record_batch({"text": texts}, schema=self.schema), {})


def test_rows_are_handed_out_by_bytes_whatever_the_source_does(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"
    cut = ShardCutter(OneSlice(), first_row=0, end_row=len(SIZES)).cut(path)
    assert cut is not None
    reader = ShardRows(path, first_row=0, rows=cut.rows)
    seen: list[int] = []
    while (rows := reader.next_rows(frozenset({"text"}))) is not None:
        texts = [str(row.values["text"]) for row in rows]
        assert len(texts) == 1 or sum(map(len, texts)) <= BATCH_BYTES
        seen += [int(text) for text in texts]
    reader.close()
    assert seen == list(range(len(SIZES)))


def test_a_large_line_is_not_kept_beside_the_slice_made_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    small = '{"text": "small"}\n'
    path.write_text(small * 3 + f'{{"text": "{"x" * LARGE}"}}\n' + small * 3)
    source = open_source(scan(InputSpec(str(path)), [path]))
    tracemalloc.start()
    try:
        held = [(each.batch.nbytes, tracemalloc.get_traced_memory()[0]) for each in source.slices()]
    finally:
        tracemalloc.stop()
    assert max(nbytes for nbytes, _ in held) > LARGE
    assert max(python for _, python in held) < LARGE / 4, "the line itself, as bytes or as text"


def test_arrow_uses_the_allocator_that_gives_back_and_only_for_so_long() -> None:
    before = pa.default_memory_pool().backend_name
    with frugal():
        assert pa.default_memory_pool().backend_name == "system"
        kept = pa.array(range(1_000_000))
    assert pa.default_memory_pool().backend_name == before
    assert kept[999_999].as_py() == 999_999, "what was made meanwhile stays good"
