"""Pure: latency distributions, written `fixed:S`, `uniform:A-B`, `lognormal:MEDIAN,SIGMA`,
`exponential:MEAN` (seconds).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batcher.simulator.dice import Draw

_NUMBER = r"(\d+(?:\.\d+)?(?:[eE]-?\d+)?)"
_FORMS = {
    "fixed": re.compile(rf"fixed:{_NUMBER}"),
    "uniform": re.compile(rf"uniform:{_NUMBER}-{_NUMBER}"),
    "lognormal": re.compile(rf"lognormal:{_NUMBER},{_NUMBER}"),
    "exponential": re.compile(rf"exponential:{_NUMBER}"),
}


class Latency(NamedTuple):
    kind: str
    first: float
    second: float = 0.0

    def sample(self, numbers: Draw) -> float:
        """Seconds, at least 0, from two uniform numbers."""
        match self.kind:
            case "uniform":
                return self.first + (self.second - self.first) * numbers.first
            case "lognormal":  # Box-Muller
                normal = math.sqrt(-2 * math.log(1 - numbers.first)) * math.cos(2 * math.pi * numbers.second)
                return self.first * math.exp(self.second * normal)
            case "exponential":
                return -self.first * math.log(1 - numbers.first)
            case _:
                return self.first


@lru_cache(maxsize=32)
def parse_latency(text: str) -> Latency:
    """Raises ValueError, naming the accepted forms."""
    for kind, form in _FORMS.items():
        found = form.fullmatch(text.strip())
        if found is not None:
            latency = Latency(kind, *map(float, found.groups()))
            if kind == "uniform" and latency.second < latency.first:
                break
            return latency
    raise ValueError(
        f"{text!r} is none of fixed:SECONDS, uniform:FROM-TO, lognormal:MEDIAN,SIGMA, exponential:MEAN"
    )
