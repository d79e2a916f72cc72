"""Quantiles and histograms of a column that is never held in memory: counts in logarithmic bins.

A bin is 2 % wide, so its geometric middle is within 1 % of every value in it. Bins are counted where the column is;
here they are added up. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from batcher.report.findings import Bin, Distribution

if TYPE_CHECKING:
    from collections.abc import Mapping

GROWTH: Final = 1.02
"""A bin's upper edge over its lower one; bin n holds values from GROWTH**n to below GROWTH**(n+1)."""
SHOWN_BINS: Final = 40
"""Bins of a histogram at most."""
MOST_WHOLE: Final = 120
"""Different whole numbers that are counted one by one, and the span that is drawn so."""


class Sketch:
    """Counts of one column's values, which must not be negative."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._whole: Counter[int] | None = Counter()
        self._zeros = 0
        self._sum = 0.0
        self._least = math.inf
        self._most = -math.inf

    def add(
        self,
        bins: Mapping[int, int],
        *,
        zeros: int,
        total: float,
        least: float,
        most: float,
        whole: Mapping[int, int] | None,
    ) -> None:
        """Values counted elsewhere.

        Args:
            bins: number of a bin -> values above 0.
            zeros: how many values are 0.
            total: sum of all these values.
            least: of all of them.
            most: of all of them.
            whole: how often each value above 0 stands there, if they are whole numbers; else None.
        """
        self._bins.update(bins)
        self._zeros += zeros
        self._sum += total
        self._least = min(self._least, least)
        self._most = max(self._most, most)
        if self._whole is not None and whole is not None:
            self._whole.update(whole)
        if whole is None or (self._whole is not None and len(self._whole) > MOST_WHOLE):
            self._whole = None

    def distribution(self, unit: str) -> Distribution | None:
        """None when nothing was added."""
        count = self._bins.total() + self._zeros
        if not count:
            return None
        even = self._even()
        p50, p90, p95, p99 = (self._quantile(count, share) for share in (0.5, 0.9, 0.95, 0.99))
        return Distribution(
            unit=unit,
            count=count,
            least=self._least,
            most=self._most,
            mean=self._sum / count,
            p50=p50,
            p90=p90,
            p95=p95,
            p99=p99,
            zeros=self._zeros,
            bins=even or self._histogram(),
            is_even=bool(even),
        )

    def _even(self) -> tuple[Bin, ...]:
        """Bins of whole numbers, all of one width, edges half-way between numbers; none where they span too much.

        Logarithmic bins would hold now two numbers, now one or none, and look like a comb.
        """
        if not self._whole or max(self._whole) - min(self._whole) >= MOST_WHOLE:
            return ()
        first, last = min(self._whole), max(self._whole)
        width = -(-(last - first + 1) // SHOWN_BINS)
        rows: Counter[int] = Counter()
        for number, count in self._whole.items():
            rows[(number - first) // width] += count
        starts = (first + place * width - 0.5 for place in range(max(rows) + 1))
        return tuple(Bin(start, start + width, rows[place]) for place, start in enumerate(starts))

    def _quantile(self, count: int, share: float) -> float:
        """The value that `share` of all values do not exceed (nearest rank)."""
        wanted = max(1, math.ceil(count * share))
        if self._zeros >= wanted:
            return 0.0
        counts = self._bins if self._whole is None else self._whole
        number = _reached(counts, wanted - self._zeros)
        if self._whole is not None:
            return float(number)
        middle: float = GROWTH ** (number + 0.5)
        return min(max(middle, self._least), self._most)

    def _histogram(self) -> tuple[Bin, ...]:
        if not self._bins:
            return ()
        first, last = min(self._bins), max(self._bins)
        width = -(-(last - first + 1) // SHOWN_BINS)
        rows: Counter[int] = Counter()
        for number, count in self._bins.items():
            rows[(number - first) // width] += count
        edges = [GROWTH ** (first + place * width) for place in range(max(rows) + 2)]
        return tuple(Bin(edges[place], edges[place + 1], rows[place]) for place in range(max(rows) + 1))


def _reached(counts: Mapping[int, int], wanted: int) -> int:
    """The number at which, counted upwards, so many values have been seen; there are that many."""
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= wanted:
            return number
    raise ValueError("there are not so many values")
