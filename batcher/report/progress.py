"""The progress line and the log line, pure: a standing in, text out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.report.wording import held_words, money

if TYPE_CHECKING:
    from collections.abc import Mapping

BAR_CELLS = 14
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands.

    Attributes:
        rate: rows per second over the last seconds; None before there is one.
        held_by: what holds the run, a key of `wording.HELD`, or None when nothing does.
        cost_usd: spent in all sessions so far; None when no price is known.
        flow: where the flow control stands, as in `progress.json`.
        ts: of all this, seconds since the epoch.
    """

    rows_done: int
    rows_total: int
    rate: float | None
    not_ok: int
    in_flight: int
    cost_usd: float | None = None
    held_by: str | None = None
    draining: bool = False
    flow: Mapping[str, object] = field(default_factory=dict)
    ts: float = 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end at this rate; None when unknown."""
        return (self.rows_total - self.rows_done) / self.rate if self.rate else None

    @property
    def full_cost_usd(self) -> float | None:
        """What the whole run would cost at the price per row so far."""
        return self.cost_usd / self.rows_done * self.rows_total if self.cost_usd and self.rows_done else None


def terminal_line(standing: Standing) -> str:
    """One line for a terminal."""
    words = [f"{standing.rows_done:,}/{standing.rows_total:,}"]
    if standing.rate is not None:
        words.append(f"{_rate(standing.rate)} rows/s")
    if standing.draining:
        words.append(f"draining {standing.in_flight:,} paid requests")
    elif standing.eta_s is not None:
        words.append(f"ETA {_clock(standing.eta_s)}")
    if standing.cost_usd is not None:
        full = standing.full_cost_usd
        words.append(money(standing.cost_usd) + (f" of ~{money(full)}" if full is not None else ""))
    if standing.not_ok:
        words.append(f"not ok {standing.not_ok:,}")
    if standing.held_by and not standing.draining:
        words.append(f"held by: {held_words(standing.held_by, standing.flow, at=standing.ts)}")
    return f"  {_bar(standing.rows_done, standing.rows_total)}  " + "  ".join(words)


def log_line(standing: Standing, *, now: float) -> str:
    """One ``key=value`` line for a log; `now` is seconds since the epoch, shown in UTC."""
    pairs = [
        ("ts", time.strftime("%H:%M:%S", time.gmtime(now))),
        ("rows", f"{standing.rows_done}/{standing.rows_total}"),
        ("rate", f"{_rate(standing.rate)}/s" if standing.rate is not None else "unknown"),
        ("cost_usd", f"{standing.cost_usd:.2f}" if standing.cost_usd is not None else "unknown"),
        ("not_ok", str(standing.not_ok)),
        ("in_flight", str(standing.in_flight)),
        ("held_by", (standing.held_by or "nothing").partition(" (")[0].replace(" ", "_")),
        ("eta", _span(standing.eta_s) if standing.eta_s is not None else "unknown"),
    ]
    return " ".join(f"{key}={value}" for key, value in pairs)


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if round(rate, 1) >= 10 else f"{rate:.1f}"


def _span(seconds: float) -> str:
    """Like "10m28s" or "3h05m": one word, so that a log line splits at its spaces."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def _bar(done: int, total: int) -> str:
    eighths = BAR_CELLS * 8 * done // total if total else BAR_CELLS * 8
    full, part = divmod(eighths, 8)
    drawn = "█" * full + (_EIGHTHS[part] if part else "")
    return drawn.ljust(BAR_CELLS, "─")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
