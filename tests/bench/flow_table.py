"""Pure: measured figures as a table, each held against what is asked of it.

Ratios first: seconds depend on the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flow_run import Figures

SHARE_LEAST = 0.88
REFUSED_MOST = 0.02
QUEUE_SHARE_LEAST = 0.95
QUEUE_LATENCY_MOST = 2.0
WIDE_LEAST = 0.90
RECOVERED_LEAST = 0.90
SPENT_LEAST = 0.90
AS_FAST = 0.98
"""Pinned clients within 2 % of the fastest are as fast; the one with the shortest latency of them is the best."""


class Judged(NamedTuple):
    """One requirement: `text` says what was found and what is asked."""

    text: str
    is_met: bool


def judge(figures: Figures, beside: Sequence[Figures]) -> list[Judged]:
    """What is asked of "auto" on this server; of a pinned number only that it keeps to the user's limits.

    `beside`: all clients on the same server.
    """
    if figures.client != "auto" and figures.show not in _ASKED_OF_ALL:
        return []
    found = _JUDGES[figures.show](figures, beside)
    if figures.show != 4 and figures.server != "cursed-row":
        found.append(Judged(f"failed {figures.failed} = 0", figures.failed == 0))
    return [*found, Judged(figures.odd, is_met=False)] if figures.odd else found


def _limited(figures: Figures, _: Sequence[Figures]) -> list[Judged]:
    return [
        _at_least("share", figures.share, SHARE_LEAST),
        _at_most("refused", figures.refused, REFUSED_MOST, percent=True),
    ]


def _queueing(figures: Figures, beside: Sequence[Figures]) -> list[Judged]:
    best = best_pinned(beside)
    if best is None or best.achieved_per_s is None:
        return []
    return [
        _at_least(
            f"of best ({best.client})", _ratio(figures.achieved_per_s, best.achieved_per_s), QUEUE_SHARE_LEAST
        ),
        _at_most("latency x best", _ratio(figures.median_s, best.median_s), QUEUE_LATENCY_MOST),
    ]


def _wide(figures: Figures, beside: Sequence[Figures]) -> list[Judged]:
    best = best_pinned(beside)
    if best is None:
        return []
    return [_at_least(f"of {best.client}", _ratio(figures.achieved_per_s, best.achieved_per_s), WIDE_LEAST)]


def _by_user(figures: Figures, _: Sequence[Figures]) -> list[Judged]:
    return [
        _at_most("most in 1 s", figures.window_1s, 1.0, percent=True),
        _at_most("in 60 s", figures.window_60s, 1.0, percent=True),
    ]


def _outage(figures: Figures, _: Sequence[Figures]) -> list[Judged]:
    if figures.recovered is None:
        return [
            Judged(f"failed {figures.failed} = 1", figures.failed == 1),
            _at_least("share", figures.share, SHARE_LEAST),
        ]
    return [
        Judged(f"probes at once {figures.probes} <= 1", (figures.probes or 0) <= 1),
        _at_least("recovered", figures.recovered, RECOVERED_LEAST),
    ]


def _budget(figures: Figures, _: Sequence[Figures]) -> list[Judged]:
    return [
        _at_most("spent", figures.spent, 1.0, percent=True),
        _at_least("and", figures.spent, SPENT_LEAST),
    ]


_ASKED_OF_ALL = frozenset({4, 6})
_JUDGES: Mapping[int, Callable[[Figures, Sequence[Figures]], list[Judged]]] = {
    1: _limited,
    2: _queueing,
    3: _wide,
    4: _by_user,
    5: _outage,
    6: _budget,
}


def best_pinned(beside: Sequence[Figures]) -> Figures | None:
    """The pinned client with the shortest latency of those that are as fast as the fastest; None: none was measured."""
    pinned = [each for each in beside if each.client != "auto" and each.achieved_per_s is not None]
    fastest = max((each.achieved_per_s or 0.0 for each in pinned), default=0.0)
    as_fast = [each for each in pinned if (each.achieved_per_s or 0.0) >= AS_FAST * fastest]
    return min(as_fast, key=lambda each: each.median_s or 0.0, default=None)


COLUMNS: Mapping[str, Callable[[Figures], str]] = {
    "server": lambda f: f.server,
    "client": lambda f: f.client,
    "allowed/s": lambda f: f"{f.allowed_per_s:,.0f}" if f.allowed_per_s >= 10 else f"{f.allowed_per_s:.1f}",
    "achieved/s": lambda f: "-" if f.achieved_per_s is None else f"{f.achieved_per_s:,.1f}",
    "share": lambda f: _percent(f.share),
    "by wall": lambda f: _percent(f.wall_share),
    "refused": lambda f: _percent(f.refused),
    "median": lambda f: "-" if f.median_s is None else f"{f.median_s * 1000:,.0f} ms",
    "window": lambda f: "-" if f.window is None else f"{f.window:,.0f}",
    "in flight": lambda f: f"{f.in_flight:,}",
    "failed": lambda f: f"{f.failed:,}",
    "CPU": lambda f: _percent(f.cpu),
    "load": lambda f: f"{f.load:.1f}",
}
_TO_THE_LEFT = frozenset({"server", "client"})


def table(measured: Sequence[Figures]) -> list[str]:
    """Lines: a heading, one row per measurement, and behind each what is asked of it."""
    cells = [list(COLUMNS), *([show(each) for show in COLUMNS.values()] for each in measured)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    lines = []
    for number, row in enumerate(cells):
        padded = [
            cell.ljust(width) if name in _TO_THE_LEFT else cell.rjust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join([*padded, "" if number else "asked", *_asked(measured, number)]).rstrip())
    return lines


def _asked(measured: Sequence[Figures], number: int) -> list[str]:
    if number == 0:
        return []
    figures = measured[number - 1]
    beside = [each for each in measured if each.server == figures.server]
    return [("" if each.is_met else "SHORT ") + each.text for each in judge(figures, beside)]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _at_least(name: str, found: float | None, least: float) -> Judged:
    return Judged(f"{name} {_percent(found)} >= {least:.0%}", found is not None and found >= least)


def _at_most(name: str, found: float | None, most: float, *, percent: bool = False) -> Judged:
    if found is None:
        return Judged(f"{name} -", is_met=False)
    told = (f"{found:.1%}", f"{most:.0%}") if percent else (f"{found:.2f}", f"{most:g}")
    return Judged(f"{name} {told[0]} <= {told[1]}", found <= most)
