"""One direct connection: a request out, a reply in, one exchange at a time.

An asyncio Protocol, because streams cost twice as much. The write buffer's high-water mark is 0, so "not paused"
means "everything is with the operating system": that is how `sent_whole_at` is known. Reading goes on while a large
body is being written, so a server that answers before it has read everything (413) is heard.

A connection that did not end its exchange whole is closed, never mended. Between exchanges nobody may speak: bytes,
an end or a reset make it unusable, and what the event loop has not told yet is found by asking the socket.
"""

from __future__ import annotations

import asyncio
import select
import time
from typing import TYPE_CHECKING, cast

from batcher.endpoint import sockets
from batcher.endpoint.faults import NotHttp, PeerClosed, ReplyTooLarge, WriteStuck
from batcher.endpoint.reader import ReaderBug, ReplyReader

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_WRITE_LOOKS = 5
"""How often within the write timeout the progress of a slow write is looked at."""


class DeadlinePassed(Exception):
    """The attempt's own deadline."""


class Connection(asyncio.Protocol):
    """A connection over a socket that stands (`faults.Traffic`).

    Attributes:
        fresh: its first exchange is still under way.
        deadline: of the exchange under way, on the loop's clock.
        idle_since: when its last exchange ended, on `time.perf_counter`.
        is_closed: the transport is gone, and the socket with it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._reader = ReplyReader()
        self._waiter: asyncio.Future[Exception | None] | None = None
        self._paused = False
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self.fresh = True
        self.first_write_at: float | None = None
        self.sent_whole_at: float | None = None
        self.deadline = 0.0
        self.idle_since = 0.0
        self.is_closed = False

    # --- one exchange

    def send(
        self, message: bytes, *, deadline: float, observe: Callable[[bytes], None] | None = None
    ) -> asyncio.Future[Exception | None]:
        """Write a request; the future holds None when its reply is whole, else what ended the exchange."""
        self._reader.begin(observe)
        self.deadline = deadline
        self._waiter = waiter = self._loop.create_future()
        self.sent_whole_at = None
        self.first_write_at = time.perf_counter()
        self._write(message)
        if self._paused:
            self._watch_write(self._transport.get_write_buffer_size(), self._loop.time())
        elif not self._transport.is_closing():
            self.sent_whole_at = time.perf_counter()
        return waiter

    def expire(self) -> None:
        """End the exchange under way: its deadline has passed."""
        self._finish(DeadlinePassed())

    def rest(self) -> bool:
        """Let go of the reply; True when the connection may carry another exchange."""
        is_reusable = self._reader.is_reusable and self.sent_whole_at is not None and not self.is_closed
        self._reader.let_go()
        self.fresh = False
        return is_reusable

    def is_silent(self) -> bool:
        """Whether the peer has said nothing and not hung up since the last exchange; asks the socket."""
        return not self.is_closed and not self._transport.is_closing() and not self._poll.poll(0)

    def abort(self) -> None:
        """Close at once; the socket is closed in the next turn of the loop."""
        self._waiter = None
        self._transport.abort()

    # --- what the exchange saw

    @property
    def reader(self) -> ReplyReader:
        return self._reader

    @property
    def received(self) -> int:
        return self._reader.received

    @property
    def raw(self) -> bytes:
        return self._reader.raw

    @property
    def answered_early(self) -> bool:
        return self.sent_whole_at is None and self._reader.arrived.status is not None

    # --- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:  # nobody asked
            self._transport.abort()
            return
        try:
            is_whole = self._reader.feed(data)
        except (NotHttp, ReplyTooLarge, ReaderBug) as error:
            self._finish(error)
            return
        if is_whole:
            self._finish(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._waiter is not None and self.sent_whole_at is None:
            self.sent_whole_at = time.perf_counter()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._waiter is None:
            return
        if exc is not None:
            self._finish(exc)
            return
        try:
            is_whole = self._reader.end()
        except NotHttp as error:
            self._finish(error)
        else:
            self._finish(
                None if is_whole else PeerClosed("the connection was closed before the reply was whole")
            )

    # --- inside

    def _write(self, message: bytes) -> None:
        self._transport.write(message)

    def _finish(self, error: Exception | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(error)

    def _watch_write(self, left: int, since: float) -> None:
        """Look again soon whether the peer reads on; `left` bytes wait since then."""
        self._loop.call_later(
            sockets.WRITE_TIMEOUT_S / _WRITE_LOOKS, self._look_at_write, self._waiter, left, since
        )

    def _look_at_write(
        self, waiter: asyncio.Future[Exception | None] | None, left: int, since: float
    ) -> None:
        if waiter is None or waiter is not self._waiter or self.sent_whole_at is not None:
            return
        now, size = self._loop.time(), self._transport.get_write_buffer_size()
        if size != left:
            self._watch_write(size, now)
        elif now - since < sockets.WRITE_TIMEOUT_S:
            self._watch_write(left, since)
        elif not self._reader.received:
            self._finish(WriteStuck("the peer reads no further"))
