"""When a streamed answer first said something: looked for in the bytes while they arrive, and nowhere else.

Only time to the first token must be known early; what the stream says is read once, when it is whole. So the pieces are
searched for the first that holds text, a call or a thought, and after it nothing is looked at any more.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from batcher.ports import BodyWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.records import Reply

_SAYS: Final = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|thinking|refusal|arguments)"\s{0,8}:\s{0,8}"[^"]'
    rb'|"tool_calls"\s{0,8}:\s{0,8}\[\s{0,8}\{'
)
_LONGEST: Final = 64
"""Bytes, more than any match of `_SAYS` has: so much is kept of what came, for a match cut between two pieces."""


class FirstWords:
    """Watches one body.

    Args:
        wall: seconds since the epoch, as the endpoint's.
        idle_s: see `BodyWatch`.
    """

    def __init__(self, wall: Callable[[], float], *, idle_s: float) -> None:
        self._wall = wall
        self._tail = b""
        self._first_at: float | None = None
        self._said_at: float | None = None
        self.watch = BodyWatch(self._see, idle_s=idle_s)

    def _see(self, piece: bytes) -> None:
        if self._said_at is not None:
            return
        if self._first_at is None:
            self._first_at = self._wall()
        seen = self._tail + piece
        if _SAYS.search(seen):
            self._said_at = self._wall()
        self._tail = seen[-_LONGEST:]

    def told(self, reply: Reply) -> Reply:
        """The reply with its `ttft_ms`; where nothing was said, the time of the first piece."""
        at = self._first_at if self._said_at is None else self._said_at
        if at is None:
            return reply
        ms = (at - reply.sent_at) * 1000
        return replace(reply, ttft_ms=round(min(max(ms, 0.0), reply.latency_ms), 3))
