"""Watches one connection from below the HTTP library: what was written, what arrived, whether it was used
before.

The library tells too little: whether the request left whole decides whether it may have been paid, and
bytes that its parser refused are still paid bytes. The stream object that httpcore hands out in its trace
events is the one seam that is both public and complete, so its `read` and `write` are replaced on the
instance, per connection, once.

A large body is written in pieces and watched: a server that answers before it has read everything (413)
would otherwise be lost in a reset. What was written by then is then all there is: the connection must not
be used again.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from batcher.endpoint.faults import ReplyTooLarge, WriteStuck
from batcher.endpoint.payload import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE_BYTES: Final = 64 * 1024
"""Bodies up to this size fit the kernel's send buffer, are written at once and need no watching."""
_HEADROOM: Final = 256 * 1024
"""Of bytes on the wire beyond the largest body: heads and chunk framing."""
_CONNECTED: Final = ("connect_tcp.complete", "start_tls.complete")


class Wire:
    """One slot's connection (`faults.Traffic`); `begin` before each exchange."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, body_bytes: int) -> None:
        self._body_left = body_bytes
        self._large = body_bytes > PIECE_BYTES
        self._head: bytes | None = None
        self._raw: list[bytes] = []
        self.fresh = False
        self.first_write_at: float | None = None
        self.sent_whole_at: float | None = None
        self.received = 0
        self.answered_early = False

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """For httpcore's `trace` extension: take hold of the stream when a connection stands."""
        if event.endswith(_CONNECTED):
            self._attach(info["return_value"])

    @property
    def raw(self) -> bytes:
        """What arrived, byte for byte; until it is asked for only a second reference to the same bytes."""
        return b"".join(self._raw)

    def _attach(self, stream: Any) -> None:
        """Also for the TLS stream inside a tunnel: what was written to reach it does not count."""
        self.begin(self._body_left)
        self.fresh = True
        self._stream = stream
        self._read_on, self._write_on = stream.read, stream.write
        stream.read, stream.write = self._read, self._write

    async def _read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's form
        data: bytes = await self._read_on(max_bytes, timeout)
        if self._head is None:  # a proxy's word on the tunnel is no part of the reply
            return data
        self.received += len(data)
        if data:
            self._raw.append(data)
        if self.received > MOST_BYTES + _HEADROOM:
            raise ReplyTooLarge("the reply is over 64 MiB")
        return data

    async def _write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if not buffer or self.answered_early:
            return
        if self._head is None and not buffer.startswith(b"CONNECT "):
            self._head = buffer  # it waits for the body: one write and one packet for both
            return
        data = buffer
        if self._head is not None and self.first_write_at is None:
            self.first_write_at = time.perf_counter()
            data = self._head + buffer
        if self._large:
            await self._write_watchfully(data, timeout)
        else:
            await self._write_on(data, timeout)
        if self._head is not None:
            self._body_left -= len(buffer)
            if self._body_left <= 0:
                self.sent_whole_at = time.perf_counter()

    async def _write_watchfully(self, buffer: bytes, patience_s: float | None) -> None:
        if self._has_answered():
            self.answered_early = True
            return
        with anyio.move_on_after(patience_s) as scope:
            await self._write_on(buffer, None)
        if scope.cancelled_caught:
            self.answered_early = self._has_answered()
            if not self.answered_early:
                raise WriteStuck("the peer reads no further")

    def _has_answered(self) -> bool:
        """Whether the start of a final response waits to be read (not an interim one, not TLS records)."""
        if not self._stream.get_extra_info("is_readable"):
            return False
        with socket.socket(fileno=os.dup(self._stream.get_extra_info("socket").fileno())) as peer:
            try:
                start = peer.recv(12, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except OSError:
                return False
        return start.startswith(b"HTTP/1.") and start[9:10] not in {b"1", b""}


class Body(httpx.AsyncByteStream):
    """A request body, in pieces when it is large.

    An iterator and no generator: a write that fails leaves it half used, and trio complains of such generators.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._start = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._start >= len(self._body):
            raise StopAsyncIteration
        if len(self._body) <= PIECE_BYTES:
            self._start = len(self._body)
            return self._body
        piece = self._body[self._start : self._start + PIECE_BYTES]
        self._start += PIECE_BYTES
        return piece
