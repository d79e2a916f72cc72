"""Pure: the figures of two outputs next to each other, the same for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batcher.report.figures import DASH, milliseconds
from batcher.report.wording import OUTCOMES, duration, money

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.report.comparison import Comparison
    from batcher.report.findings import Distribution, Findings


class Beside(NamedTuple):
    """One figure of both."""

    name: str
    left: str
    right: str


def compared(found: Comparison) -> list[Beside]:
    """What differs or may differ, most important first."""
    figures: list[tuple[str, Callable[[Findings], str]]] = [("rows", lambda each: f"{each.rows:,}")]
    figures += [
        (name, lambda each, name=name: f"{each.outcomes.get(name, 0):,}")  # type: ignore[misc]
        for name in OUTCOMES
        if found.left.outcomes.get(name) or found.right.outcomes.get(name)
    ]
    figures += [
        ("model", lambda each: each.model or DASH),
        ("cost", lambda each: _usd(each.cost.usd)),
        ("cost per 1,000 ok rows", lambda each: _usd(each.usd_per_1000_ok)),
        ("tokens in", lambda each: f"{each.tokens.prompt:,}"),
        ("tokens out", lambda each: f"{each.tokens.completion:,}"),
        ("time at work", lambda each: DASH if each.working_s is None else duration(each.working_s)),
        ("median latency", lambda each: _quantile(each.latency, "p50")),
        ("95th percentile", lambda each: _quantile(each.latency, "p95")),
    ]
    return [Beside(name, figure(found.left), figure(found.right)) for name, figure in figures]


def _usd(usd: float | None) -> str:
    return "unknown" if usd is None else money(usd)


def _quantile(found: Distribution | None, name: str) -> str:
    return DASH if found is None else milliseconds(getattr(found, name))
