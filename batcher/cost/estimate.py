"""Pure: what many rows will come to, from what a few of them came to, as an interval that means something.

A row has a weight that is known before it is sent (`batcher.cost.estimate_tokens`), an amount that goes with its weight
(prompt tokens, or their dollars) and one that does not (completion tokens, or theirs). The total over all rows is

    sum of weights x (amount / weight of the sample)  +  rows x (mean of the rest of the sample)

The first is a ratio estimator: it is as good as weight and amount agree, however much lengths differ. The second is a
mean, and lengths of answers are skewed: a few long ones carry the sum, and samples mostly miss them, so an interval by
the normal law is too low on average. Here it comes from the bootstrap-t (Efron & Tibshirani, An Introduction to the
Bootstrap, 12.5): the sample is drawn again from itself, each time with its own standard error, and the quantiles found
take the place of the normal ones. Samples under `LEAST_FOR_BOOTSTRAP` rows have too few values for that and take
Student's; those over `MOST_FOR_BOOTSTRAP` need no more than the normal ones.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

LEAST_FOR_BOOTSTRAP: Final = 10
MOST_FOR_BOOTSTRAP: Final = 2_000
DRAWS: Final = 50_000
"""Values drawn for one interval, so that it takes about 50 ms whatever the size of the sample."""
MOST_REPEATS: Final = 999
LEAST_REPEATS: Final = 199
_NORMAL: Final = 1.96
_STUDENT: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""97.5 % quantiles for 1 to 9 degrees of freedom."""
_TAIL: Final = 0.025


class Interval(NamedTuple):
    """What is likely, and where the truth lies with 95 % confidence; None: nothing is known to bound it."""

    low: float
    likely: float | None
    high: float | None

    def times(self, factor: float) -> Interval:
        """The same in another unit."""
        return Interval(self.low * factor, scaled(self.likely, factor), scaled(self.high, factor))

    def plus(self, other: Interval) -> Interval:
        """The sum of two that may both be off in the same direction."""
        return Interval(self.low + other.low, added(self.likely, other.likely), added(self.high, other.high))


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def added(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


class Sampled(NamedTuple):
    """One row whose amounts are known.

    Attributes:
        weight: what was known of it before; 0 or more.
        by_weight: the amount that goes with the weight.
        rest: the amount that does not.
    """

    weight: float
    by_weight: float
    rest: float


class _Fit(NamedTuple):
    total: float
    deviation: float  # of one row's part in the total


def projected(
    sample: Sequence[Sampled],
    *,
    rows: int,
    weight: float,
    is_part: bool,
    rng: random.Random,
) -> Interval:
    """The total over `rows` rows.

    Args:
        sample: rows drawn at random.
        rows: to which the total extends.
        weight: the sum of their weights.
        is_part: the sample is some of these rows, so that a sample of all of them is the truth; otherwise it was drawn
            from rows of the same kind, and these rows differ from it by chance once more.
        rng: for drawing again.
    """
    fit = _fit(sample, rows, weight)
    if fit is None or not rows:
        return Interval(0.0, 0.0 if not rows else None, 0.0 if not rows else None)
    count = len(sample)
    if count == 1:
        return Interval(0.0, fit.total, fit.total if is_part and rows == 1 else None)
    left = max(0.0, 1 / count - 1 / rows) if is_part else 1 / count + 1 / rows
    lower, upper = _quantiles(sample, fit, rows, weight, rng)
    low, high = fit.total - upper * fit.deviation * sqrt(left), fit.total - lower * fit.deviation * sqrt(left)
    return Interval(max(0.0, min(low, fit.total)), fit.total, max(high, fit.total))


def _fit(sample: Sequence[Sampled], rows: int, weight: float) -> _Fit | None:
    count = len(sample)
    weights, amounts = sum(each.weight for each in sample), sum(each.by_weight for each in sample)
    if not count or (weight and not weights):
        return None
    ratio, share = (amounts / weights, weight / weights) if weights else (0.0, 0.0)
    mean = sum(each.rest for each in sample) / count
    if count == 1:
        return _Fit(weight * ratio + rows * mean, 0.0)
    squares = 0.0
    for row_weight, by_weight, rest in sample:
        part = share * count * (by_weight - ratio * row_weight) + rows * (rest - mean)
        squares += part * part
    return _Fit(weight * ratio + rows * mean, sqrt(squares / (count - 1)))


def _quantiles(
    sample: Sequence[Sampled], fit: _Fit, rows: int, weight: float, rng: random.Random
) -> tuple[float, float]:
    """(lower, upper) quantile of how far totals of such samples lie from the truth, in standard errors."""
    count = len(sample)
    if count < LEAST_FOR_BOOTSTRAP:
        quantile = _STUDENT[count - 2]
        return -quantile, quantile
    if count > MOST_FOR_BOOTSTRAP:
        return -_NORMAL, _NORMAL
    off = []
    for _ in range(max(LEAST_REPEATS, min(MOST_REPEATS, DRAWS // count))):
        again = _fit(rng.choices(sample, k=count), rows, weight)
        if again is not None and again.deviation > 0:
            off.append((again.total - fit.total) * sqrt(count) / again.deviation)
    if len(off) < LEAST_REPEATS // 2:  # nearly all rows are alike
        return -_NORMAL, _NORMAL
    off.sort()
    cut = int(len(off) * _TAIL)
    return min(off[cut], -_NORMAL), max(off[-1 - cut], _NORMAL)
