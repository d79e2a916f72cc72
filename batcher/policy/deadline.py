"""The user's deadline: a duration from the session's start; then nothing more is sent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.errors import LimitReached
from batcher.policy.part import Part, Wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.records import Request

_REASON = "deadline"


class Deadline(Part):
    """`deadline_s`: seconds from `now`, > 0.

    Attributes:
        at: the end of the session, on the caller's clock.
    """

    def __init__(self, deadline_s: float, *, now: float) -> None:
        if not (deadline_s > 0 and math.isfinite(deadline_s)):
            raise ValueError(f"a deadline must be above 0 s, got {deadline_s}")
        self.at = now + deadline_s
        self._deadline_s = deadline_s

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        return None if now < self.at else Wait(math.inf, _REASON, stop=self.reached())

    def reached(self) -> LimitReached:
        """What the run stops with."""
        return LimitReached(
            f"The deadline of {self._deadline_s:g} s is over; what is not done stays to do.",
            hint="the same command goes on",
        )

    def holding(self, now: float) -> str | None:
        return None if now < self.at else _REASON

    def state(self, now: float) -> Mapping[str, object]:
        return {"deadline": {"left_s": max(0.0, self.at - now)}}
