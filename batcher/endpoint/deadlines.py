"""One timer for the deadlines of all exchanges under way.

A timer per exchange is made and cancelled a thousand times a second for deadlines ten minutes away. Here one stands
at the earliest deadline ever asked for; when it rings, the overdue are told and it is set to the earliest that is
left. Joining and leaving is joining and leaving a set.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio

_GRAIN_S: Final = 0.001
"""Timers of some loops ring up to a millisecond early."""


class Timed(Protocol):
    """Something with a deadline on the loop's clock."""

    @property
    def deadline(self) -> float: ...
    def expire(self) -> None: ...


class Deadlines:
    """Tells each member once its deadline has passed; a member's deadline may move while it waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def add(self, member: Timed) -> None:
        self._waiting.add(member)
        if member.deadline < self._rings_at:
            self._set(member.deadline)

    def remove(self, member: Timed) -> None:
        self._waiting.discard(member)

    def close(self) -> None:
        """Leave no timer behind, unless somebody still waits for one."""
        if not self._waiting:
            self._unset()

    def _unset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, math.inf

    def _set(self, when: float) -> None:
        self._unset()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        now = self._loop.time() + _GRAIN_S
        for member in [each for each in self._waiting if each.deadline <= now]:
            self._waiting.discard(member)
            member.expire()
        if self._waiting:
            self._set(min(member.deadline for member in self._waiting))
