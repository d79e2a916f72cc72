"""Pure: numbers as people read them, short enough for an axis or a tile."""

from __future__ import annotations

import time
from typing import Final

DASH: Final = "\u2013"
"""Stands where there is no figure, and between two ends."""
_THOUSANDS: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def compact(number: float) -> str:
    """Three digits and a letter: 950, 12.3k, 4M."""
    for size, letter in _THOUSANDS:
        if abs(number) >= size * 0.9995:
            return f"{_three(number / size)}{letter}"
    return _three(number)


def _three(number: float) -> str:
    if number == 0:
        return "0"
    digits = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(part: float, whole: float) -> str:
    """A share that is 0% or 100% only when it is exactly so; a dash of nothing."""
    if not whole:
        return DASH
    share = 100 * part / whole
    if share in (0, 100):
        return f"{share:.0f}%"
    if share < 0.1:
        return "< 0.1%"
    if share > 99.9:
        return "> 99.9%"
    return f"{share:.1f}%"


def milliseconds(ms: float) -> str:
    """Like "840 ms", "2.41 s" or "3 min 05 s"."""
    if ms < 999.5:
        return f"{_three(ms)} ms"
    seconds = ms / 1000
    if seconds < 99.95:
        return f"{_three(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def amount(value: float, unit: str) -> str:
    """A value of a distribution with its unit."""
    if unit == "number":
        return compact(value)
    return milliseconds(value) if unit == "ms" else f"{value:,.0f}"


def clock(ts: float) -> str:
    """Date and time to the second, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ts))
