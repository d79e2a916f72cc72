"""What the flow control changed and why, as a bounded list that the engine drains.

Growth can happen at every reply, so changes of one part for one reason within a second are told as one: the
old value of the first, the new value of the last. Nothing here may grow without bound when nobody drains.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from batcher.policy.constants import EVENTS_KEPT, EVENTS_MERGED_S


class FlowEvent(NamedTuple):
    """One change.

    Attributes:
        at: on the caller's clock, of the first change that is told here.
        part: "window", "pace", "gate" or "breaker".
        reason: why, in few words.
        old: the value before: requests (window), requests or tokens per minute (pace), seconds that it is
            closed (gate), 0 closed or 1 open (breaker); None: none yet.
        new: the value after; None: no limit any more.
    """

    at: float
    part: str
    reason: str
    old: float | None
    new: float | None


class EventLog:
    """Appended to by the parts, drained by the engine; keeps the latest 1,000."""

    def __init__(self) -> None:
        self._events: deque[FlowEvent] = deque(maxlen=EVENTS_KEPT)

    def tell(self, at: float, part: str, reason: str, *, old: float | None, new: float | None) -> None:
        last = self._events[-1] if self._events else None
        if last is not None and (last.part, last.reason) == (part, reason) and at - last.at < EVENTS_MERGED_S:
            self._events[-1] = last._replace(new=new)
        else:
            self._events.append(FlowEvent(at, part, reason, old, new))

    def drain(self) -> list[FlowEvent]:
        """What was told since the last time, oldest first."""
        drained = list(self._events)
        self._events.clear()
        return drained
