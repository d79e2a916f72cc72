"""The exchange over our own connections: HTTP/1.1 in the clear or inside TLS, no proxy, asyncio only.

Built for the processor time of one exchange: the request's head is made once, there is no request or response object
between, idle connections are a LIFO list (few stay warm, the rest go cold), and all deadlines share one timer. What a
row gets is the same as over `HttpxEndpoint`, by the same code (`arrival`, `faults`) and the same tests.

Every failure of the network is a `Reply` with a `Fault`; only cancellation and bugs are raised. A cancelled exchange
closes its connection.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import httpx

from batcher.endpoint.arrival import Arrivals, Arrived
from batcher.endpoint.connection import Connection, DeadlinePassed
from batcher.endpoint.deadlines import Deadlines
from batcher.endpoint.faults import EXPECTED, IDLE_BODY, deadline_ending
from batcher.endpoint.key import Scrubber
from batcher.endpoint.outgoing import STREAM, request_headers, request_start
from batcher.endpoint.sockets import CONNECT_TIMEOUT_S, IDLE_FOR_S, dial
from batcher.endpoint.tls_connection import TlsConnection
from batcher.endpoint.trust import Distrust, trust_context

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from batcher.endpoint.address import Address
    from batcher.endpoint.faults import Ending
    from batcher.endpoint.key import ApiKey
    from batcher.ports import BodyWatch
    from batcher.records import Reply, Request


_T = TypeVar("_T")


class _Nothing:
    """The traffic of an exchange that never got a connection."""

    fresh: Final = True
    first_write_at: Final = None
    sent_whole_at: Final = None
    received: Final = 0
    answered_early: Final = False
    raw: Final = b""


_NOTHING: Final = _Nothing()
_TOO_LATE: Final = "no connection in time"


class DirectEndpoint:
    """A chat-completions endpoint (`ports.Endpoint`).

    As many connections as exchanges run at once; the caller bounds them. Use within one event loop; `aclose` closes
    the idle connections.

    Args:
        address: where requests go; the key goes to no other origin.
        key: sent as `Authorization: Bearer`; None: no such header.
        headers: further headers of every request.
        ca_file: a PEM file with further certificate authorities.
        wall: seconds since the epoch.

    Raises:
        JobError: headers that are not legal or belong to the endpoint, an unreadable ca_file.
    """

    def __init__(
        self,
        address: Address,
        key: ApiKey | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        url = httpx.URL(address.chat_url)
        self._host, self._port = url.raw_host.decode("ascii"), address.port
        self._is_tls = address.scheme == "https"
        self._context = trust_context(ca_file, tls=self._is_tls)
        self._start = request_start(url, request_headers(url, key, headers or {}))
        self._stream_start = request_start(url, request_headers(url, key, headers or {}, STREAM))
        self._arrivals = Arrivals(Scrubber(key), Distrust(address, direct=True))
        self._wall = wall
        self._idle: list[Connection] = []
        self._deadlines: Deadlines | None = None
        self._is_closed = False

    async def exchange(self, request: Request, *, deadline: float, watch: BodyWatch | None = None) -> Reply:
        """POST the body and return everything that came back; see `ports.Endpoint`.

        Args:
            request: what to send.
            deadline: on the loop's clock, which is that of `anyio.current_time`.
            watch: told of the body while it arrives; see `BodyWatch`.
        """
        wall, began = self._wall(), time.perf_counter()
        try:
            connection = self._take(began, deadline) or await self._connect(deadline)
        except EXPECTED as refused:
            arrived = Arrived()
            ending = await self._arrivals.ending(refused, _NOTHING, arrived)
            return self._arrivals.reply(_NOTHING, arrived, ending, wall=wall, began=began)
        error = await self._perform(connection, request, deadline, watch)
        end = None if error is None else await self._ending(error, connection, deadline)
        reply = self._arrivals.reply(connection, connection.reader.arrived, end, wall=wall, began=began)
        self._release(connection)
        return reply

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed by the end of their exchange."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()
        if self._deadlines is not None:
            self._deadlines.close()
        with anyio.CancelScope(shield=True):
            while not all(connection.is_closed for connection in idle):  # noqa: ASYNC110 - a turn or two
                await asyncio.sleep(0)

    def _take(self, now: float, deadline: float) -> Connection | None:
        """The connection used last, if it may be used again. Raises TimeoutError: the deadline has passed."""
        if deadline <= asyncio.get_running_loop().time():  # a scope may let a few awaits pass
            raise TimeoutError(_TOO_LATE)
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since <= IDLE_FOR_S and connection.is_silent():
                return connection
            connection.abort()
        return None

    def _release(self, connection: Connection) -> None:
        if connection.rest() and not self._is_closed:
            connection.idle_since = time.perf_counter()
            self._idle.append(connection)
        else:
            connection.abort()

    async def _perform(
        self, connection: Connection, request: Request, deadline: float, watch: BodyWatch | None
    ) -> Exception | None:
        """Send and wait; None: a whole reply. The connection is closed when this raises."""
        deadlines = self._deadlines
        assert deadlines is not None
        body = request.body
        observe = None if watch is None else _watching(watch, connection, deadlines, deadline)
        start = self._start if watch is None else self._stream_start
        message = b"%b%d\r\n\r\n%b" % (start, len(body), body)
        waiter = connection.send(message, deadline=deadline, observe=observe)
        deadlines.add(connection)
        try:
            return await waiter
        except BaseException:
            connection.abort()
            raise
        finally:
            deadlines.remove(connection)

    async def _ending(self, error: Exception, connection: Connection, deadline: float) -> Ending:
        connection.abort()
        status = connection.reader.arrived.status
        if isinstance(error, DeadlinePassed):
            if connection.deadline < deadline:
                return IDLE_BODY
            return deadline_ending(connection, status=status)
        if not isinstance(error, EXPECTED):
            raise error
        return await self._arrivals.ending(error, connection, connection.reader.arrived)

    async def _connect(self, deadline: float) -> Connection:
        """A connection that stands, TLS included. Raises OSError; TimeoutError is one."""
        loop = asyncio.get_running_loop()
        if self._deadlines is None:
            self._deadlines = Deadlines(loop)
        sock = await _in_time(dial(self._host, self._port), deadline)
        try:
            _, connection = await loop.create_connection(lambda: self._over(sock, loop), sock=sock)
        except BaseException:
            sock.close()
            raise
        if isinstance(connection, TlsConnection):
            try:
                await _in_time(connection.secure(), deadline)
            except BaseException:
                connection.abort()
                raise
        return connection

    def _over(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> Connection:
        if not self._is_tls:
            return Connection(loop, sock)
        return TlsConnection(loop, sock, context=self._context, host=self._host)


def _watching(
    watch: BodyWatch, connection: Connection, deadlines: Deadlines, deadline: float
) -> Callable[[bytes], None]:
    """Pass pieces on, and from the first one on let the deadline follow them."""
    loop = asyncio.get_running_loop()

    def observe(piece: bytes) -> None:
        watch.on_piece(piece)
        connection.deadline = min(deadline, loop.time() + watch.idle_s)
        deadlines.add(connection)

    return observe


async def _in_time(step: Awaitable[_T], deadline: float) -> _T:
    """One step towards a connection, within its own limit and the exchange's."""
    until = min(deadline, anyio.current_time() + CONNECT_TIMEOUT_S)
    with anyio.CancelScope(deadline=until):
        return await step
    raise TimeoutError(_TOO_LATE)
