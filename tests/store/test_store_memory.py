"""Memory is given back without a word, wherever the allocator is one that can."""

from __future__ import annotations

import pyarrow as pa

from batcher.store.memory import give_back


def test_what_arrow_freed_does_not_stay_in_its_pool() -> None:
    held = pa.array(range(2_000_000))
    assert pa.total_allocated_bytes() >= 16_000_000
    del held
    give_back()
    assert pa.total_allocated_bytes() < 16_000_000
