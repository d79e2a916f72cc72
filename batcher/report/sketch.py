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


class Sketch:
    """Counts of one column's values, which must not be negative."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._zeros = 0
        self._sum = 0.0
        self._least = math.inf
        self._most = -math.inf

    def add(self, bins: Mapping[int, int], *, zeros: int, total: float, least: float, most: float) -> None:
        """Values counted elsewhere: bin number -> values above 0, how many are 0, their sum, least and most."""
        self._bins.update(bins)
        self._zeros += zeros
        self._sum += total
        self._least = min(self._least, least)
        self._most = max(self._most, most)

    def distribution(self, unit: str) -> Distribution | None:
        """None when nothing was added."""
        count = self._bins.total() + self._zeros
        if not count:
            return None
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
            bins=self._histogram(),
        )

    def _quantile(self, count: int, share: float) -> float:
        """The value that `share` of all values do not exceed (nearest rank)."""
        wanted = max(1, math.ceil(count * share))
        seen = self._zeros
        if seen >= wanted:
            return 0.0
        for number in sorted(self._bins):
            seen += self._bins[number]
            if seen >= wanted:
                middle: float = GROWTH ** (number + 0.5)
                return min(max(middle, self._least), self._most)
        return self._most

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
