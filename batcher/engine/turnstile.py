"""The one line in which attempts wait for a slot; retries stand in front of first attempts.

Only for the head of the line is `admit()` asked, so a reply does not wake a thousand waiters; where only this row is
held back (the endpoint is down, and it was asked with this row already) those behind it are asked in turn. An empty
line costs nothing: the first question is asked before anybody queues. An answer that no event will ever change (the
budget is used up) stops the run.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import anyio

from batcher.policy import Send, admit

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.policy import FlowState, Wait
    from batcher.records import Request


FIRST_WAITS_S: Final = 60.0
"""Chosen: a first attempt that waited so long goes before retries. Were rows that always fail, slowly, to fill every
slot, nothing else would ever be answered, so nothing would charge them and they would not end."""


class Abandoned(Exception):
    """The run is stopping; what waited is not sent."""


class _Ticket:
    """One attempt that waits in a line, since `since`. While it heads it `scope` ends its wait when the flow said."""

    __slots__ = ("admitted", "event", "line", "request", "scope", "since")

    def __init__(self, request: Request, line: deque[_Ticket], *, since: float) -> None:
        self.request = request
        self.line = line
        self.since = since
        self.event = anyio.Event()
        self.scope = anyio.CancelScope()
        self.admitted = False


class Turnstile:
    """Admission for all attempts of one engine, in the order retries, then first attempts.

    `stop` is told why nothing can be sent any more; it closes the turnstile.
    """

    def __init__(
        self,
        flow: FlowState,
        *,
        stop: Callable[[BaseException], None],
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._flow = flow
        self._clock = clock
        self._stop = stop
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
            admit(self._flow, request, self._clock()), Send
        ):
            return
        # In the line it is asked again: why it waits is looked at in one place.
        line = self._retries if retrying else self._firsts
        await self._queue(_Ticket(request, line, since=self._clock()))

    def leave(self) -> None:
        """A slot came free, or the flow's state changed: admit as many of the line as may go now.

        Whoever leaves serves the line, in one go: were each waiter woken to ask for itself and to wake the next, new
        arrivals would join as fast as the line moves, and slots would stand empty beside it.
        """
        while not self._closed and (line := self._first_line()):
            head = line[0]
            wait = self._offer(head)
            if wait is not None and wait.only_this_row:
                wait = self._offer_behind(head, wait)
            if wait is not None:
                head.scope.deadline = wait.until
                return

    def close(self) -> None:
        """Nothing is admitted any more; whoever waits is abandoned."""
        self._closed = True
        self._flow.stop()
        for ticket in (*self._retries, *self._firsts):
            ticket.event.set()

    def _offer(self, ticket: _Ticket) -> Wait | None:
        """Let it in if the flow admits it; else what it waits for, and the run stops if that is for nothing."""
        answer = admit(self._flow, ticket.request, self._clock())
        if isinstance(answer, Send):
            ticket.line.remove(ticket)
            ticket.admitted = True
            ticket.event.set()
            return None
        if answer.stop is not None:
            self._stop(answer.stop)
        return answer

    def _offer_behind(self, head: _Ticket, wait: Wait) -> Wait | None:
        """The head is held back for its own sake: None when another went in, else what ends first."""
        soonest = wait
        for ticket in chain(self._retries, self._firsts):
            if ticket is head:
                continue
            answer = self._offer(ticket)
            if answer is None:
                return None
            soonest = min(soonest, answer, key=attrgetter("until"))
            if not answer.only_this_row:
                break
        return soonest

    def _stands_free(self, *, retrying: bool) -> bool:
        return not self._retries and (retrying or not self._firsts)

    def _first_line(self) -> deque[_Ticket]:
        """The line that is served now; empty when both are."""
        if self._firsts and self._retries:
            waited = self._clock() - self._firsts[0].since
            return self._retries if waited < FIRST_WAITS_S else self._firsts
        return self._retries or self._firsts

    async def _queue(self, ticket: _Ticket) -> None:
        ticket.line.append(ticket)
        self.leave()  # it may head the line now, and then needs a time to ask again
        try:
            while not (ticket.admitted or self._closed):
                with ticket.scope:
                    await ticket.event.wait()
                if ticket.scope.cancelled_caught:
                    ticket.scope = anyio.CancelScope()
                    self.leave()
        except BaseException:
            self._give_up(ticket)
            raise
        if self._closed:
            self._give_up(ticket)
            raise Abandoned

    def _give_up(self, ticket: _Ticket) -> None:
        """Leave the line, or give back the slot that was granted while the wait ended otherwise."""
        if ticket.admitted:
            self._flow.withdraw(ticket.request, self._clock())
        else:
            ticket.line.remove(ticket)
        self.leave()
