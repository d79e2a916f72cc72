"""Slices of time, however long a run was at work, and distributions of values that nobody holds."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from batcher.report.scales import Clock, Even, Linear, Logarithmic
from batcher.report.sketch import GROWTH, Sketch
from batcher.report.timeline import MOST_KEPT, MOST_SHOWN, Counter, Counts, Stretch, Timeline

if TYPE_CHECKING:
    from batcher.report.findings import Distribution

DAY = 86_400.0


def timeline(times: list[float], *, began: float | None = None) -> Timeline:
    counter = Counter()
    for at in times:
        counter.add([(int(at * 1e6) // counter.width_us, "m", Counts(ok=1))])
    found = counter.timeline(began)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("times", "stretches", "at_work_s"),
    [
        pytest.param([100.0], 1, 0.1, id="one row"),
        pytest.param([n * 0.01 for n in range(1_000)], 1, 10.0, id="ten seconds"),
        pytest.param([n * 1_800.0 for n in range(50)], 1, 49 * 1_800.1, id="two rows an hour"),
        pytest.param(
            [start + n for start in (0.0, DAY / 3) for n in range(600)],
            2,
            1_198.2,
            id="stopped for the night",
        ),
        pytest.param(
            [night * DAY + n for night in range(30) for n in range(600)], 1, 30 * 599.1, id="thirty nights"
        ),
        pytest.param([n * 1.5 for n in range(60_000)], 1, 90_000.0, id="a day without a pause"),
    ],
)
def test_every_row_stands_in_one_slice_and_quiet_spells_are_no_work(
    times: list[float], stretches: int, at_work_s: float
) -> None:
    found = timeline(times)
    assert found.rows == len(times)
    assert len(found.stretches) == stretches
    assert found.at_work_s == pytest.approx(at_work_s, rel=0.01)
    assert len(found.slices) <= MOST_SHOWN + 2 * stretches
    starts = [each.start for each in found.slices]
    assert starts == sorted(set(starts))


def test_the_first_request_begins_the_work_unless_it_was_long_before() -> None:
    assert timeline([100.0, 101.0], began=99.0).at_work_s == pytest.approx(2.1)
    assert timeline([1_000.0, 1_001.0], began=99.0).at_work_s == pytest.approx(1.1)


def test_memory_of_a_timeline_is_bounded() -> None:
    counter = Counter()
    for number in range(MOST_KEPT * 3):
        counter.add([(number * 1_000_000 // counter.width_us, "m", Counts(ok=1))])
        assert len(counter._counts) <= MOST_KEPT
    found = counter.timeline()
    assert found is not None
    assert found.rows == MOST_KEPT * 3


def sketched(values: list[float], *, whole: bool = False) -> Distribution:
    """Counted as the column reader counts them."""
    sketch = Sketch()
    for begin in range(0, len(values), 100):
        some = values[begin : begin + 100]
        bins: dict[int, int] = {}
        numbers: dict[int, int] = {}
        for value in some:
            if value > 0:
                number = math.floor(math.log(value) / math.log(GROWTH))
                bins[number] = bins.get(number, 0) + 1
                numbers[int(value)] = numbers.get(int(value), 0) + 1
        sketch.add(
            bins,
            zeros=some.count(0),
            total=sum(some),
            least=min(some),
            most=max(some),
            whole=numbers if whole else None,
        )
    found = sketch.distribution("tokens" if whole else "ms")
    assert found is not None
    return found


def test_quantiles_are_within_one_per_cent_and_bins_hold_every_value() -> None:
    chance = random.Random(11)
    values = [chance.lognormvariate(6, 1) for _ in range(5_000)]
    found = sketched([*values, 0.0, 0.0])
    ordered = sorted([*values, 0.0, 0.0])
    for share, told in ((0.5, found.p50), (0.9, found.p90), (0.99, found.p99)):
        assert told == pytest.approx(ordered[int(len(ordered) * share)], rel=0.02)
    assert (found.zeros, sum(each.rows for each in found.bins)) == (2, 5_000)
    assert len(found.bins) <= 40
    assert not found.is_even


def test_few_whole_numbers_are_counted_one_by_one() -> None:
    found = sketched([float(9 + n % 4) for n in range(400)], whole=True)
    assert [(each.low, each.high, each.rows) for each in found.bins] == [
        (n - 0.5, n + 0.5, 100) for n in (9, 10, 11, 12)
    ]
    assert (found.p50, found.p99) == (10.0, 12.0)
    wide = sketched([float(n * 7) for n in range(1, 400)], whole=True)
    assert not wide.is_even


@pytest.mark.parametrize(
    ("least", "most"), [(0.3, 900.0), (110.0, 119.0), (1.0, 1e9), (990.0, 1_030.0), (500.0, 520.0)]
)
def test_ticks_of_any_range_are_at_least_two_and_lie_within_it(least: float, most: float) -> None:
    for scale in (Logarithmic(least, most, 50.0, 700.0), Even(least, most, 50.0, 700.0)):
        ticks = scale.ticks(unit="ms")
        assert 2 <= len(ticks) <= 13
        assert all(49.9 <= tick.at <= 700.1 for tick in ticks)
        assert len({tick.text for tick in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("most", "unit", "texts"),
    [
        (0.068, "USD", ["$0", "$0.02", "$0.04", "$0.06", "$0.08"]),
        (0.24, "USD", ["$0.00", "$0.10", "$0.20", "$0.30"]),
        (2.51, "USD", ["$0", "$1", "$2", "$3"]),
        (186.0, "", ["0", "50", "100", "150", "200"]),
        (9_300.0, "", ["0", "2.5k", "5k", "7.5k", "10k"]),
        (0.0, "", ["0", "1"]),
    ],
)
def test_a_linear_axis_begins_at_0_and_has_round_steps(most: float, unit: str, texts: list[str]) -> None:
    scale = Linear.up_to(most, low=180.0, high=20.0)
    assert [tick.text.replace("$0.00", "$0") for tick in scale.ticks(unit=unit)] == [
        text.replace("$0.00", "$0") for text in texts
    ]
    assert scale.at(most) >= 19.9


def test_a_clock_leaves_quiet_spells_out_and_keeps_its_labels_apart() -> None:
    clock = Clock((Stretch(0.0, 600.0), Stretch(30_000.0, 30_600.0)), 60.0, 700.0)
    assert clock.at(20_000.0) is None
    first, second = clock.at(600.0), clock.at(30_000.0)
    assert first is not None
    assert second is not None
    assert second - first == pytest.approx(22.0)
    places = [tick.at for tick in clock.ticks()]
    assert all(after - before > 50 for before, after in pairwise(places))
