"""One client connection: bytes to requests, plans to bytes. An asyncio Protocol, because streams cost twice
as much.

The write buffer's high-water mark is 0, so "not paused" means "everything is with the operating system".
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from batcher.simulator.plan import REASONS, Drip, End, Paced, Repeat
from batcher.simulator.script import EARLY_BYTES
from batcher.simulator.service import CHAT
from batcher.simulator.wire import MOST_HEAD_BYTES, NotHttpError, parse_head, take_chunked

if TYPE_CHECKING:
    from batcher.simulator.plan import Delivery, Step
    from batcher.simulator.service import Exchange, Service
    from batcher.simulator.wire import Head

LINGER_ZERO = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """Requests are served one after another; what a client pipelines waits in the buffer."""

    def __init__(
        self, service: Service, open_connections: set[Connection], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._service = service
        self._open_connections = open_connections
        self._loop = loop
        self._buffer = bytearray()
        self._head: Head | None = None
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._served = 0
        self._written = 0
        self._unread = 0  # body bytes of a request that was answered early
        self._paused = False
        self._lost = False

    # --- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self._open_connections.add(self)
        self._service.ledger.totals.connections += 1

    def data_received(self, data: bytes) -> None:
        if self._unread:
            self._discard(len(data))
            return
        self._buffer += data
        self._advance()

    def eof_received(self) -> bool:
        return False  # close

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # why does not matter: the client sees to its side
        self._lost = True
        self._open_connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        if self._exchange is not None:
            self._service.end(self._exchange, bytes_written=self._written, complete=False)
        elif self._head is not None and self._head.path.endswith(CHAT):
            self._service.abort(self._head, bytes(self._buffer))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- reading

    def _advance(self) -> None:
        try:
            while self._exchange is None and not self._lost and self._take_request():
                pass
        except NotHttpError as err:
            self._answer_plainly(400, b'{"error":{"message":"%b"}}' % str(err).encode(), keep=False)

    def _take_request(self) -> bool:
        """One step forward in the buffer; False when more bytes are needed."""
        buffer = self._buffer
        if self._head is None:
            if not buffer:
                return False
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(buffer) > MOST_HEAD_BYTES or not buffer[:1].isalpha():
                    # a TLS client's first bytes would otherwise wait for an empty line for ever
                    raise NotHttpError("what came does not begin like a request, or its head is too long")
                return False
            self._head = parse_head(bytes(buffer[:end]))
            del buffer[: end + 4]
            if self._head.expects_continue and not buffer:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = self._head
        if self._service.script.has_early and head.path.endswith(CHAT) and self._answer_early(head):
            return False
        if head.chunked:
            taken = take_chunked(bytes(buffer))
            if taken is None:
                return False
            body, used = taken
        elif len(buffer) < head.length:
            return False
        else:
            body, used = bytes(buffer[: head.length]), head.length
        del buffer[:used]
        self._begin(head, body)
        return True

    def _begin(self, head: Head, body: bytes) -> None:
        if head.method == "POST" and head.path.endswith(CHAT):
            self._written = 0
            self._exchange = self._service.begin(self, head, body, reused=self._served > 0)
            return
        status, content = self._service.administer(head, body)
        self._answer_plainly(status, content, keep=head.keep_alive)

    def _answer_early(self, head: Head) -> bool:
        wanted = min(head.length, EARLY_BYTES)
        if head.chunked or len(self._buffer) < wanted:
            return False
        exchange = self._service.begin_early(self, head, bytes(self._buffer[:wanted]))
        if exchange is None:
            return False
        self._exchange = exchange
        self._written = 0
        self._unread = head.length - len(self._buffer)
        self._buffer.clear()
        if self._unread > 0:
            self._transport.pause_reading()
        return True

    def _discard(self, size: int) -> None:
        """The client goes on sending a body whose answer it already has; close when it is through."""
        self._unread = max(0, self._unread - size)
        if not self._unread:
            self._transport.close()

    def _answer_plainly(self, status: int, content: bytes, *, keep: bool) -> None:
        reason = REASONS.get(status, "")
        self._transport.write(
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nx-request-id: req_admin\r\n"
            "x-batcher-simulated: 1\r\n\r\n".encode()
            + content
        )
        self._head = None
        self._served += 1
        if not keep:
            self._transport.close()
            self._lost = True

    # --- writing

    def perform(self, exchange: Exchange) -> None:
        """Carry an exchange's plan out; nothing is done for one that is over."""
        if exchange.over or self._lost or exchange.plan is None:
            return
        delivery = exchange.plan.delivery
        steps = delivery.steps
        if len(steps) == 1 and isinstance(steps[0], bytes) and delivery.end is End.KEEP:
            self._write(steps[0])
            if not self._paused:
                self._finish(exchange, delivery)
                return
            delivery = type(delivery)((), delivery.status, delivery.end, delivery.whole)
        self._task = self._loop.create_task(self._perform_steps(exchange, delivery))

    async def _perform_steps(self, exchange: Exchange, delivery: Delivery) -> None:
        await self._drain()
        for step in delivery.steps:
            await self._perform_step(step)
        if delivery.end is End.HANG:
            await asyncio.sleep(self._service.config.hold_s)
        self._task = None
        self._finish(exchange, delivery)

    async def _perform_step(self, step: Step) -> None:
        match step:
            case bytes():
                await self._send(step)
            case Drip(content, every_s):
                for value in content:
                    await self._send(bytes((value,)))
                    await asyncio.sleep(every_s)
            case Paced(pieces, every_s):
                for piece in pieces:
                    await self._send(piece)
                    if every_s:
                        await asyncio.sleep(every_s)
            case Repeat(block, times):
                for _ in range(times):
                    await self._send(block)

    async def _send(self, data: bytes) -> None:
        self._write(data)
        await self._drain()

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        self._written += len(data)

    async def _drain(self) -> None:
        while self._paused:
            self._drained = self._loop.create_future()
            await self._drained

    def _finish(self, exchange: Exchange, delivery: Delivery) -> None:
        complete = delivery.whole and not self._transport.is_closing()
        self._service.end(exchange, bytes_written=self._written, complete=complete)
        self._exchange = None
        keep_alive, self._head = self._head is None or self._head.keep_alive, None
        self._served += 1
        match delivery.end:
            case End.RESET:
                self.reset()
            case End.OUTAGE:
                self._service.on_outage()
            case End.KEEP if keep_alive:
                if self._buffer:
                    self._advance()
            case _ if self._unread > 0 and delivery.steps:
                # closing now would reset the connection and take the reply with it
                self._transport.resume_reading()
            case _:
                self._transport.close()

    def reset(self) -> None:
        """RST instead of FIN: lingering for 0 seconds throws away what is unsent."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self._transport.abort()
