"""How many bytes of requests and replies may be held at once: memory is bounded by bytes, never by rows.

A row is in hand from the building of its request to its end: waiting for its turn, in flight, or waiting for another
attempt, its body is in memory all that time. Two questions, one limit:

- may another row be taken in hand (`has_room`): the bodies in hand, and for each an expected reply, are below it
- may a request go out (`ask`): the bodies in flight, and for each an expected reply, stay within it

So one row more than the limit may be in hand, and a row larger than the limit goes alone. The expected reply is the
running mean over about 50 replies, 0 at first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.policy.constants import REPLY_SIZE_MEMORY
from batcher.policy.part import Part, Wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.policy.part import Observation
    from batcher.records import Request

_REASON: Final = "memory"
_FULL: Final = Wait(math.inf, _REASON)


class Memory(Part):
    """`most_bytes`: >= 1."""

    def __init__(self, most_bytes: int) -> None:
        if most_bytes < 1:
            raise ValueError(f"the bytes in flight must be at least 1, got {most_bytes}")
        self._most = most_bytes
        self._rows = 0
        self._bodies = 0
        self._rows_flying = 0
        self._bodies_flying = 0
        self._replies = 0
        self._reply = 0.0  # expected bytes

    # --- rows in hand ---

    @property
    def has_room(self) -> bool:
        """Whether another row may be taken in hand."""
        return self._bodies + self._rows * self._reply < self._most or not self._rows

    def take(self, request: Request) -> None:
        """The row is in hand."""
        self._rows += 1
        self._bodies += len(request.body)

    def give(self, request: Request) -> None:
        """The row is done, or goes back undone."""
        self._rows -= 1
        self._bodies -= len(request.body)

    # --- requests in flight ---

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        flying = self._rows_flying
        if not flying:
            return None
        need = self._bodies_flying + len(request.body) + (flying + 1) * self._reply
        return _FULL if need > self._most else None

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        self._rows_flying += 1
        self._bodies_flying += len(request.body)

    def on_reply(self, seen: Observation) -> None:
        self._landed(seen.request)
        if self._replies < REPLY_SIZE_MEMORY:
            self._replies += 1
        self._reply += (seen.reply_bytes - self._reply) / self._replies

    def on_unanswered(self, request: Request, now: float) -> None:  # noqa: ARG002
        self._landed(request)

    def holding(self, now: float) -> str | None:  # noqa: ARG002
        return None if self.has_room else _REASON

    def state(self, now: float) -> Mapping[str, object]:  # noqa: ARG002
        return {
            "memory": {
                "most_bytes": self._most,
                "bytes_in_hand": self._bodies,
                "rows_in_hand": self._rows,
                "bytes_in_flight": self._bodies_flying,
                "reply_bytes_expected": round(self._reply),
            }
        }

    def _landed(self, request: Request) -> None:
        self._rows_flying -= 1
        self._bodies_flying -= len(request.body)
