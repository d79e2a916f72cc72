"""Whether more is refused than a share that is borne: refusals counted against what was sent.

Every refusal counts 1, every request sent takes away the share that is borne; 5 are too many. So single
refusals never are, a flood is after five of them, and the share need not be known exactly (a one-sided
CUSUM, Page 1954). What is sent counts when it goes, not when it is answered: refusals are quick and answers
slow, so of 64 requests sent together the refused ones come back first. At most 2 are kept as credit, else a
long calm would hide the beginning of a flood.
"""

from __future__ import annotations

from batcher.policy.constants import EXCESS_CREDIT, EXCESS_MOST


class Excess:
    """Attributes:
    borne: share of the requests that may be refused, 0 to 1; may be changed at any time.
    """

    __slots__ = ("_sum", "borne")

    def __init__(self, borne: float) -> None:
        self.borne = borne
        self._sum = 0.0

    @property
    def is_too_much(self) -> bool:
        return self._sum >= EXCESS_MOST

    def sent(self) -> None:
        if self._sum > -EXCESS_CREDIT:
            self._sum -= self.borne

    def refused(self) -> None:
        self._sum = min(self._sum + 1.0, EXCESS_MOST + 1.0)

    def forget(self) -> None:
        """Begin again, at another pace."""
        self._sum = 0.0
