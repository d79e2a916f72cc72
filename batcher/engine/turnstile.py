"""The one line in which attempts wait for a slot; retries stand in front of first attempts.

Only for the head of the line is `admit()` asked, so a reply does not wake a thousand waiters. An empty line costs
nothing: the first question is asked before anybody queues.
"""

from __future__ import annotations

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
    """One attempt that waits. `scope` ends its wait at the time the flow named, while it heads the line."""

    __slots__ = ("admitted", "event", "request", "scope")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.event = anyio.Event()
        self.scope = anyio.CancelScope()
        self.admitted = False


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
        """A slot came free, or the flow's state changed: admit as many of the line as may go now.

        Whoever leaves serves the line, in one go: were each waiter woken to ask for itself and to wake the next, new
        arrivals would join as fast as the line moves, and slots would stand empty beside it.
        """
        while not self._closed and (ticket := self._head()) is not None:
            decision = admit(self._flow, ticket.request, anyio.current_time())
            if not isinstance(decision, Send):
                ticket.scope.deadline = decision.until
                return
            (self._retries or self._firsts).popleft()
            ticket.admitted = True
            ticket.event.set()

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
            self.leave()  # it may head the line now, and then needs a time to ask again
            while not (ticket.admitted or self._closed):
                with ticket.scope:
                    await ticket.event.wait()
                if ticket.scope.cancelled_caught:
                    ticket.scope = anyio.CancelScope()
                    self.leave()
        except BaseException:
            if ticket.admitted:
                self._flow.on_done(anyio.current_time())
            raise
        finally:
            if not ticket.admitted:
                line.remove(ticket)
            self.leave()
        if not ticket.admitted:
            raise Abandoned
