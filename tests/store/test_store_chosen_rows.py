"""A few rows as a dataset of their own, counted from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_samples import SampleSource

from batcher.store.chosen_rows import ChosenRows

if TYPE_CHECKING:
    from collections.abc import Sequence


def ids(positions: Sequence[int], *, rows: int = 450, first_row: int = 0) -> list[int]:
    source = ChosenRows(SampleSource(rows), positions)
    found: list[int] = []
    for each in source.slices(first_row=first_row):
        assert each.first_row == first_row + len(found), "slices are contiguous"
        found += each.batch.column(0).to_pylist()
    return found


@given(st.sets(st.integers(0, 449)), st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_they_are_the_rows_at_the_positions_from_any_row_on(positions: set[int], first_row: int) -> None:
    ordered = sorted(positions)
    assert ids(ordered, first_row=first_row) == [10 * row for row in ordered[first_row:]]


def test_problems_move_with_their_rows() -> None:
    source = ChosenRows(SampleSource(300, {7: "a", 205: "b", 206: "c"}), [3, 7, 206])
    problems = {row: why for each in source.slices(first_row=0) for row, why in each.problems.items()}
    assert problems == {1: "a", 2: "c"}
    assert (source.rows, source.schema.names) == (3, ["id", "text"])


def test_the_source_is_read_no_further_than_the_last_of_them() -> None:
    source = SampleSource(10_000)
    assert sum(each.batch.num_rows for each in ChosenRows(source, [1, 150]).slices(first_row=0)) == 2
    assert source.given <= 3


@pytest.mark.parametrize("positions", [[], [0], [449], list(range(450))])
def test_edges(positions: list[int]) -> None:
    assert ids(positions) == [10 * row for row in positions]
