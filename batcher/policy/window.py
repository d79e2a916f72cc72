"""How many requests may be in flight: here a fixed number. And the part that lets nothing more out at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.policy.part import Part, Wait

if TYPE_CHECKING:
    from batcher.records import Request

_FULL: Final = Wait(math.inf, "concurrency")
_STOPPING: Final = Wait(math.inf, "stopping")


class Window(Part):
    """At most `limit` requests in flight; a full window is the normal state and holds nothing back by
    name.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"concurrency must be at least 1, got {limit}")
        self.limit = limit
        self.in_flight = 0

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        return None if self.in_flight < self.limit else _FULL

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        self.in_flight += 1

    def on_done(self, now: float) -> None:  # noqa: ARG002
        if self.in_flight < 1:
            raise RuntimeError("an attempt ended that was never admitted")
        self.in_flight -= 1


class Stopping(Part):
    """Once closed, nothing is admitted any more."""

    def __init__(self) -> None:
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002
        return _STOPPING if self._closed else None

    def holding(self, now: float) -> str | None:  # noqa: ARG002
        return _STOPPING.reason if self._closed else None
