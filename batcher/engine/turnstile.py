"""The one line in which attempts wait for a slot; retries stand in front of first attempts.

Only the head of the line asks `admit()`, so a reply wakes one waiter and not a thousand. An empty line costs nothing:
the first question is asked before anybody queues.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import anyio

from batcher.policy import Send, admit

if TYPE_CHECKING:
    from batcher.policy import FlowState
    from batcher.records import Request


class Abandoned(Exception):
    """The run is stopping; what waited is not sent."""


class _Ticket:
    __slots__ = ("event", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.event = anyio.Event()


class Turnstile:
    """Admission for all attempts of one engine, in the order retries, then first attempts."""

    def __init__(self, flow: FlowState) -> None:
        self._flow = flow
        self._retries: deque[_Ticket] = deque()
        self._firsts: deque[_Ticket] = deque()
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._retries) + len(self._firsts)

    async def enter(self, request: Request, *, retrying: bool) -> None:
        """Return when the request may be sent now; the flow then counts it as in flight.

        Raises:
            Abandoned: the turnstile was closed first.
        """
        if self._closed:
            raise Abandoned
        if self._stands_free(retrying=retrying) and isinstance(
            admit(self._flow, request, anyio.current_time()), Send
        ):
            return
        await self._queue(_Ticket(request), self._retries if retrying else self._firsts)

    def leave(self) -> None:
        """A slot came free, or the flow's state changed: let the head of the line ask again."""
        head = self._head()
        if head is not None:
            head.event.set()

    def close(self) -> None:
        """Nothing is admitted any more; whoever waits is abandoned."""
        self._closed = True
        for ticket in (*self._retries, *self._firsts):
            ticket.event.set()

    def _stands_free(self, *, retrying: bool) -> bool:
        return not self._retries and (retrying or not self._firsts)

    def _head(self) -> _Ticket | None:
        if self._retries:
            return self._retries[0]
        return self._firsts[0] if self._firsts else None

    async def _queue(self, ticket: _Ticket, line: deque[_Ticket]) -> None:
        line.append(ticket)
        try:
            while not self._closed:
                until = math.inf
                if self._head() is ticket:
                    decision = admit(self._flow, ticket.request, anyio.current_time())
                    if isinstance(decision, Send):
                        return
                    until = decision.until
                with anyio.CancelScope(deadline=until):
                    await ticket.event.wait()
                ticket.event = anyio.Event()
        finally:
            line.remove(ticket)
            self.leave()
        raise Abandoned
