"""Whether cutting the pace helps: a limit refuses nothing below it, one busy backend of many refuses at any rate.

A series of cuts begins at a pace that was well. A cut "again" is to less than the server let through since the
cut before it, so below any limit on the rate. When three of these, and a quarter of the pace in all, have not
ended the refusals, the rate does not cause them.

- A cut that measured nothing counts for nothing: fewer than 20 requests in less than half a second, or the
gate was shut in between (a deep bucket fills meanwhile).
- More than 30 % refused after a cut is a flood: the series begins again at what was let through.
- A pace that was raised since ends the series: the cut did help.
"""

from __future__ import annotations

from batcher.policy import constants as c


class VainCuts:
    """One series. `per_s` is the pace that it began at, which is gone back to when it was in vain."""

    def __init__(self, per_s: float, now: float) -> None:
        self.per_s = per_s
        self._begun_at = now
        self._cuts = 0
        self._refused = 0
        self._sent = 0

    def is_over(self, per_s: float, now: float) -> bool:
        """Whether a cut of this pace, which was raised since the last one, begins another series."""
        return per_s >= self.per_s or now - self._begun_at >= c.VAIN_SERIES_S

    def raised(self) -> None:
        """The pace was raised since the last cut: the cuts before it were of use."""
        self._cuts = 0

    def cut_again(self, *, refused: int, sent: int, span_s: float, open_s: float) -> None:
        """Count a cut.

        Args:
            refused: of those that were sent since the cut before it.
            sent: how many those are.
            span_s: seconds since that cut.
            open_s: how many of them the gate was open.
        """
        measured = open_s >= c.FOUND_EVIDENCE_S or sent >= c.VAIN_EVIDENCE
        self._cuts += measured and open_s >= c.VAIN_OPEN_SHARE * span_s
        self._refused += refused
        self._sent += sent

    def share(self, *, refused: int, sent: int) -> float:
        """Share refused in the series, those since its last cut included."""
        return (self._refused + refused) / max(1, self._sent + sent)

    def are_vain(self, per_s: float, *, refused: int, sent: int) -> bool:
        """Whether refusals that go on at this pace show that the cuts were of no use."""
        return (
            self._cuts >= c.VAIN_CUTS
            and per_s <= c.VAIN_PACE * self.per_s
            and self._refused + refused >= c.VAIN_REFUSALS
            and self.share(refused=refused, sent=sent) <= c.VAIN_SHARE_MOST
        )
