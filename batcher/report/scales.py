"""Pure: from values to places on a plot, and where to put the ticks: linear, logarithmic, and time with its gaps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.report.figures import compact, milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.report.timeline import Stretch

_TIME_STEPS_S: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
)  # fmt: skip
_LABEL_WIDTH: Final = 64
"""Pixels a time label needs."""
_MOST_STEPS: Final = 6
_LEAST_TICKS: Final = 3
_MOST_TICKS: Final = 12
GAP: Final = 22.0
"""Pixels between two stretches of time."""


class Tick(NamedTuple):
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Linear:
    """From 0 to at least `most`, upwards: `low` is the pixel of 0, `high` that of `top`."""

    top: float
    step: float
    low: float
    high: float

    @classmethod
    def up_to(cls, most: float, *, low: float, high: float, ticks: int = 4) -> Linear:
        """With round steps, and a top that is one of them."""
        if most <= 0 or not math.isfinite(most):
            return cls(1.0, 1.0, low, high)
        step = _round_step(most / ticks)
        return cls(step * math.ceil(most / step - 1e-9), step, low, high)

    def at(self, value: float) -> float:
        return self.low + (self.high - self.low) * value / self.top

    def ticks(self, *, unit: str = "") -> list[Tick]:
        count = round(self.top / self.step)
        values = (number * self.step for number in range(count + 1))
        return [Tick(self.at(value), self._text(value, unit)) for value in values]

    def _text(self, value: float, unit: str) -> str:
        """With as many digits as the step needs; dollars have two of cents or none."""
        dollar = "$" if unit == "USD" else ""
        digits = max(0, math.ceil(-math.log10(self.step) - 1e-9))
        digits += self.step * 10**digits % 1 > 1e-6  # a step of 2.5, 0.25, ...
        if digits == 0 or self.step >= 1_000:
            return dollar + compact(value)
        return f"{dollar}{value:.{max(digits, 2) if dollar else digits}f}"


@dataclass(frozen=True, slots=True)
class Even:
    """From `least` to `most`, which is more."""

    least: float
    most: float
    low: float
    high: float

    def at(self, value: float) -> float:
        return self.low + (self.high - self.low) * (value - self.least) / (self.most - self.least)

    def ticks(self, *, unit: str) -> list[Tick]:
        """At round steps; whole numbers where tokens are counted."""
        values = _steps(self.least, self.most, unit)
        return _distinct([Tick(self.at(value), _with_unit(value, unit)) for value in values])


def _steps(least: float, most: float, unit: str) -> list[float]:
    """Round values from `least` to `most`, at even distances."""
    step = _round_step((most - least) / _MOST_STEPS)
    step = max(1.0, step) if unit == "tokens" else step
    return [number * step for number in range(math.ceil(least / step), int(most / step) + 1)]


def _round_step(rough: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, at least `rough`, which is above 0."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999999)


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """From `least` to `most`, both above 0."""

    least: float
    most: float
    low: float
    high: float

    def at(self, value: float) -> float:
        span = math.log(self.most / self.least) or 1.0
        return self.low + (self.high - self.low) * math.log(value / self.least) / span

    def ticks(self, *, unit: str) -> list[Tick]:
        """At 1, 2 and 5 of every power of ten, thinner where there are too many, even steps where there are few."""
        found = self._within((1, 2, 5))
        if len(found) < _LEAST_TICKS:
            found = _steps(self.least, self.most, unit)
        if len(found) > _MOST_TICKS:
            found = self._within((1,))
        every = -(-len(found) // _MOST_TICKS)
        return _distinct([Tick(self.at(value), _with_unit(value, unit)) for value in found[::every]])

    def _within(self, digits: Sequence[float]) -> list[float]:
        first, last = math.floor(math.log10(self.least)), math.ceil(math.log10(self.most))
        values = (digit * 10.0**power for power in range(first, last + 1) for digit in digits)
        return [value for value in values if self.least <= value <= self.most]


def _distinct(ticks: Sequence[Tick]) -> list[Tick]:
    """Without ticks that would read like the one before, as 1.001 s and 1.004 s do."""
    return [tick for place, tick in enumerate(ticks) if not place or tick.text != ticks[place - 1].text]


def _with_unit(value: float, unit: str) -> str:
    return milliseconds(value) if unit == "ms" else compact(value)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time at work, UTC; quiet spells between stretches shrink to a gap of fixed width."""

    stretches: tuple[Stretch, ...]
    low: float
    high: float

    @property
    def _pixels_per_s(self) -> float:
        gaps = GAP * (len(self.stretches) - 1)
        active = sum(stretch.end - stretch.start for stretch in self.stretches)
        return (self.high - self.low - gaps) / active

    def places(self) -> list[tuple[Stretch, float, float]]:
        """Each stretch with its first and last pixel."""
        found, at = [], self.low
        for stretch in self.stretches:
            end = at + (stretch.end - stretch.start) * self._pixels_per_s
            found.append((stretch, at, end))
            at = end + GAP
        return found

    def at(self, ts: float) -> float | None:
        """None outside all stretches."""
        for stretch, low, high in self.places():
            if stretch.start <= ts <= stretch.end:
                return min(low + (ts - stretch.start) * self._pixels_per_s, high)
        return None

    def ticks(self) -> list[Tick]:
        """Round times of the day; where a stretch is too short for one, its beginning."""
        found: list[Tick] = []
        for stretch, low, high in self.places():
            seconds = stretch.end - stretch.start
            labels = max(1, int((high - low) / _LABEL_WIDTH))
            step = next((each for each in _TIME_STEPS_S if seconds / each <= labels), None)
            step = step or 86_400 * math.ceil(seconds / 86_400 / labels)
            first = math.ceil(stretch.start / step) * step
            times = [float(first + number * step) for number in range(int(seconds // step) + 1)]
            inside = [each for each in times if each <= stretch.end] or [stretch.start]
            ticks = [
                Tick(low + (each - stretch.start) * self._pixels_per_s, _time(each, step)) for each in inside
            ]
            found += [tick for tick in ticks if not found or tick.at - found[-1].at >= _LABEL_WIDTH * 0.8]
        return found


def _time(ts: float, step: float) -> str:
    moment = time.gmtime(ts)
    if step >= 86_400:
        return time.strftime("%d %b", moment)
    return time.strftime("%H:%M:%S" if step < 60 else "%H:%M", moment)
