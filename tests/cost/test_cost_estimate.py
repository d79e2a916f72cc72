"""Totals from samples: right on average, with intervals that hold the truth as often as they say, also where lengths
are skewed."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from batcher.cost.estimate import Interval, Sampled, projected

ROWS = 2_000


def population(seed: int, *, sigma: float) -> list[Sampled]:
    """Weights off by a constant factor and by chance; rests log-normal."""
    rng = random.Random(seed)
    found = []
    for _ in range(ROWS):
        weight = rng.lognormvariate(4, 0.8)
        found.append(Sampled(weight, weight * rng.gauss(1.3, 0.1), rng.lognormvariate(4, sigma)))
    return found


def total(rows: list[Sampled]) -> float:
    return sum(each.by_weight + each.rest for each in rows)


def of(rows: list[Sampled], sample: list[Sampled], *, is_part: bool = True) -> Interval:
    weight = sum(each.weight for each in rows)
    return projected(sample, rows=len(rows), weight=weight, is_part=is_part, rng=random.Random(7))


@pytest.mark.parametrize(("sigma", "least"), [(0.5, 38), (1.0, 36)])
def test_the_interval_holds_the_truth_as_often_as_it_says(sigma: float, least: int) -> None:
    held = 0
    for seed in range(40):
        rows = population(seed, sigma=sigma)
        found = of(rows, random.Random(seed).sample(rows, 50))
        assert found.high is not None
        held += found.low <= total(rows) <= found.high
    assert held >= least


def test_known_weights_make_a_prompt_estimate_far_better_than_a_mean() -> None:
    off_ratio, off_mean = [], []
    for seed in range(10):
        rows = [each._replace(rest=0.0) for each in population(seed, sigma=0.5)]
        sample = random.Random(seed).sample(rows, 50)
        off_ratio.append(abs((of(rows, sample).likely or 0) / total(rows) - 1))
        off_mean.append(abs(fmean(each.by_weight for each in sample) * ROWS / total(rows) - 1))
    assert fmean(off_ratio) < 0.02
    assert fmean(off_mean) > 0.08


def test_all_rows_tried_leave_nothing_to_guess() -> None:
    rows = population(1, sigma=1.0)[:60]
    found = of(rows, rows)
    assert found.low == found.likely == found.high == pytest.approx(total(rows))


def test_a_sample_of_other_rows_says_less_than_one_of_these() -> None:
    rows = population(2, sigma=0.5)[:100]
    part, other = of(rows, rows[:50]), of(rows, rows[:50], is_part=False)
    assert part.high is not None
    assert other.high is not None
    assert other.low < part.low < part.high < other.high


@pytest.mark.parametrize("count", [2, 5, 9])
def test_a_few_rows_give_a_wide_interval_around_the_same_total(count: int) -> None:
    rows = population(3, sigma=0.5)
    few, many = of(rows, rows[:count]), of(rows, rows[:500])
    assert few.high is not None
    assert many.high is not None
    assert few.high - few.low > 3 * (many.high - many.low)
    assert few.low >= 0


def test_one_row_bounds_nothing() -> None:
    rows = population(4, sigma=0.5)
    found = of(rows, rows[:1])
    assert (found.low, found.high) == (0.0, None)
    assert found.likely


def test_rows_that_are_all_alike_need_no_interval() -> None:
    rows = [Sampled(10.0, 12.0, 5.0)] * 200
    assert of(rows, rows[:50]) == Interval(3_400.0, 3_400.0, 3_400.0)


def test_no_rows_cost_nothing_and_no_sample_says_nothing() -> None:
    assert projected([], rows=0, weight=0.0, is_part=True, rng=random.Random(1)) == Interval(0.0, 0.0, 0.0)
    assert projected([], rows=9, weight=9.0, is_part=True, rng=random.Random(1)) == Interval(0.0, None, None)
