"""The one line in which attempts wait for a slot; retries stand in front of first attempts.

Only for the head of the line is `admit()` asked, so a reply does not wake a thousand waiters. An empty line costs
nothing: the first question is asked before anybody queues.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from batcher.policy import Send, admit

if TYPE_CHECKING:
    from batcher.policy import FlowState
    from batcher.records import Request


FIRST_WAITS_S: Final = 60.0
"""Chosen: a first attempt that waited so long goes before retries. Were rows that always fail, slowly, to fill every
slot, nothing else would ever be answered, so nothing would charge them and they would not end."""


class Abandoned(Exception):
    """The run is stopping; what waited is not sent."""


class _Ticket:
    """One attempt that waits, since `since`. While it heads the line `scope` ends its wait when the flow said."""

    __slots__ = ("admitted", "event", "request", "scope", "since")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.since = anyio.current_time()
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
        while not self._closed and (line := self._first_line()):
            ticket = line[0]
            decision = admit(self._flow, ticket.request, anyio.current_time())
            if not isinstance(decision, Send):
                ticket.scope.deadline = decision.until
                return
            line.popleft()
            ticket.admitted = True
            ticket.event.set()

    def close(self) -> None:
        """Nothing is admitted any more; whoever waits is abandoned."""
        self._closed = True
        self._flow.stop()
        for ticket in (*self._retries, *self._firsts):
            ticket.event.set()

    def _stands_free(self, *, retrying: bool) -> bool:
        return not self._retries and (retrying or not self._firsts)

    def _first_line(self) -> deque[_Ticket]:
        """The line that is served now; empty when both are."""
        if self._firsts and self._retries:
            waited = anyio.current_time() - self._firsts[0].since
            return self._retries if waited < FIRST_WAITS_S else self._firsts
        return self._retries or self._firsts

    async def _queue(self, ticket: _Ticket, line: deque[_Ticket]) -> None:
        line.append(ticket)
        self.leave()  # it may head the line now, and then needs a time to ask again
        try:
            while not (ticket.admitted or self._closed):
                with ticket.scope:
                    await ticket.event.wait()
                if ticket.scope.cancelled_caught:
                    ticket.scope = anyio.CancelScope()
                    self.leave()
        except BaseException:
            self._give_up(ticket, line)
            raise
        if self._closed:
            self._give_up(ticket, line)
            raise Abandoned

    def _give_up(self, ticket: _Ticket, line: deque[_Ticket]) -> None:
        """Leave the line, or give back the slot that was granted while the wait ended otherwise."""
        if ticket.admitted:
            self._flow.on_done(anyio.current_time(), ticket.request)
        else:
            line.remove(ticket)
        self.leave()
