"""When rows came in, however long the run was at work and however often it stopped: counts per slice of time. Pure.

Widths of slices come from one ladder whose every step is a multiple of the one before, so finer slices add up to
coarser ones. Between two sessions there may be hours or days: such a quiet spell splits the timeline into stretches,
which a plot draws side by side.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MICROSECONDS: Final = 1_000_000
LADDER_S: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400)
MOST_KEPT: Final = 20_000
"""Slices held while counting; more make them wider, so memory is bounded whatever the run's length."""
MOST_SHOWN: Final = 120
QUIET_LEAST_S: Final = 300.0
QUIET_TIMES: Final = 20.0
"""Chosen: a spell is quiet when it lasts more than 5 minutes and more than 20 times the mean distance of slices that
hold something (a slow run of two rows an hour is at work all the time)."""
CUT_SHARE: Final = 0.1
"""Quiet spells longer than this share of the whole span are cut out of a plot, so they are nine at most, and each is
longer than a slice that is shown."""
UNNAMED: Final = "unknown"


class Counts(NamedTuple):
    """What came in during a slice, from one model."""

    ok: int = 0
    not_ok: int = 0
    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(
            self.ok + other.ok,
            self.not_ok + other.not_ok,
            self.cost_usd + other.cost_usd,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class Stretch(NamedTuple):
    """Time at work without a quiet spell; both ends on the edge of a slice that was counted, in seconds."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Slice:
    """`width_s` seconds from `start` on.

    Attributes:
        at_work_s: how much of it lies within its stretch; rates are over that.
        by_model: model -> what came in.
    """

    start: float
    at_work_s: float
    by_model: Mapping[str, Counts]

    @property
    def all(self) -> Counts:
        total = Counts()
        for each in self.by_model.values():
            total = total.plus(each)
        return total


@dataclass(frozen=True, slots=True)
class Timeline:
    """Slices in order, empty ones within a stretch included.

    Attributes:
        at_work_s: seconds from beginning to end without any quiet spell, those included that a plot does not cut out.
    """

    width_s: float
    stretches: tuple[Stretch, ...]
    slices: tuple[Slice, ...]
    at_work_s: float

    @property
    def rows(self) -> int:
        return sum(each.ok + each.not_ok for piece in self.slices for each in piece.by_model.values())


class Counter:
    """Counts per slice, made wider when there are too many."""

    def __init__(self) -> None:
        self._step = 0
        self._counts: defaultdict[tuple[int, str], Counts] = defaultdict(Counts)

    @property
    def width_us(self) -> int:
        """Width of a slice in microseconds; what is added next must be counted by it."""
        return round(LADDER_S[self._step] * MICROSECONDS)

    def add(self, found: Iterable[tuple[int, str, Counts]]) -> None:
        """Counts by (number of the slice: microseconds since the epoch over `width_us`, model)."""
        for number, model, counts in found:
            self._counts[number, model] = self._counts[number, model].plus(counts)
        while len(self._counts) > MOST_KEPT and self._step + 1 < len(LADDER_S):
            self._widen()

    def _widen(self) -> None:
        before = self.width_us
        self._step += 1
        ratio = self.width_us // before
        finer, self._counts = self._counts, defaultdict(Counts)
        for (number, model), counts in finer.items():
            self._counts[number // ratio, model] = self._counts[number // ratio, model].plus(counts)

    def timeline(self, began: float | None = None) -> Timeline | None:
        """None when nothing was added.

        Args:
            began: when the first request went out, which belongs to the time at work; None when unknown.
        """
        if not self._counts:
            return None
        fine = LADDER_S[self._step]
        numbers = sorted({number for number, _ in self._counts})
        stretches = _stretches(numbers, fine)
        start = stretches[0].start
        if began is not None and start - QUIET_LEAST_S < began < start:
            stretches = (Stretch(math.floor(began / fine + 1e-6) * fine, stretches[0].end), *stretches[1:])
        active = sum(stretch.end - stretch.start for stretch in stretches)
        lead_s = start - stretches[0].start
        width = next(
            (step for step in LADDER_S if step >= fine and active / step <= MOST_SHOWN), LADDER_S[-1]
        )
        ratio = round(width / fine)
        slices: defaultdict[int, defaultdict[str, Counts]] = defaultdict(lambda: defaultdict(Counts))
        for (number, model), counts in self._counts.items():
            slices[number // ratio][model] = slices[number // ratio][model].plus(counts)
        return Timeline(
            width, stretches, tuple(_filled(slices, stretches, width)), lead_s + _at_work_s(numbers, fine)
        )


def _quiet_s(numbers: list[int], width: float) -> float:
    """How long a spell without anything must last to be quiet."""
    return max(QUIET_LEAST_S, QUIET_TIMES * (numbers[-1] - numbers[0]) * width / len(numbers))


def _at_work_s(numbers: list[int], width: float) -> float:
    quiet = _quiet_s(numbers, width)
    gaps = ((after - before - 1) * width for before, after in pairwise(numbers))
    return (numbers[-1] - numbers[0] + 1) * width - sum(gap for gap in gaps if gap > quiet)


def _stretches(numbers: list[int], width: float) -> tuple[Stretch, ...]:
    """Stretches of counted slices, split where it was quiet for long."""
    quiet = max(_quiet_s(numbers, width), CUT_SHARE * (numbers[-1] - numbers[0]) * width)
    found: list[Stretch] = []
    start = last = numbers[0]
    for number in numbers[1:]:
        if (number - last - 1) * width > quiet:
            found.append(Stretch(start * width, (last + 1) * width))
            start = number
        last = number
    return (*found, Stretch(start * width, (last + 1) * width))


def _filled(
    slices: Mapping[int, Mapping[str, Counts]], stretches: Iterable[Stretch], width: float
) -> Iterable[Slice]:
    for stretch in stretches:
        number = int(stretch.start // width)
        while number * width < stretch.end - 1e-6:
            start = number * width
            at_work = min(stretch.end, start + width) - max(stretch.start, start)
            yield Slice(start, at_work, dict(slices.get(number, {})))
            number += 1
