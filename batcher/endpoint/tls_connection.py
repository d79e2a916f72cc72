"""A direct connection inside TLS: the same Protocol, with the standard library's TLS object between.

Not the event loop's own TLS transport: what that one holds back between its two buffers is not told, and whether a
request left whole decides whether it may have been paid.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from batcher.endpoint.connection import Connection

if TYPE_CHECKING:
    import asyncio
    import socket

_READ_BYTES = 256 * 1024


class TlsConnection(Connection):
    """Usable once `secure` has returned.

    Args:
        context: decides whom to trust.
        host: the name that the certificate must be for; sent in clear (SNI) unless it is an address.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, *, context: ssl.SSLContext, host: str
    ) -> None:
        super().__init__(loop, sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._secured: asyncio.Future[Exception | None] = loop.create_future()

    async def secure(self) -> None:
        """Wait for the end of the handshake. Raises OSError; ssl.SSLError is one."""
        error = await self._secured
        if error is not None:
            raise error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._secured.done():
            self._shake_hands()
        if self._secured.done():
            self._decrypt()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_handshake(exc or ConnectionResetError("closed during the TLS handshake"))
        super().connection_lost(exc)

    def _write(self, message: bytes) -> None:
        try:
            self._tls.write(message)
        except ssl.SSLError as error:
            self._finish(error)
        self._flush()

    def _shake_hands(self) -> None:
        error: ssl.SSLError | None = None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as refused:
            error = refused
        self._flush()
        self._end_handshake(error)

    def _end_handshake(self, error: Exception | None) -> None:
        if not self._secured.done():
            self._secured.set_result(error)

    def _decrypt(self) -> None:
        try:
            while self._incoming.pending or self._tls.pending():
                plain = self._tls.read(_READ_BYTES)
                if not plain:  # the peer said goodbye
                    self._transport.close()
                    return
                super().data_received(plain)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._finish(error)
            self._transport.abort()
            return
        self._flush()  # an answer of the protocol's own, to a change of keys

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())
