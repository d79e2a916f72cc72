"""The exchange over httpx: one single-connection transport per slot, kept in a LIFO list, discarded after
any exception.

Why not one pool: httpcore's rescans every connection for every idle one, hands one idle connection to
several waiters and leaks a slot on cancellation; it was unusable from 64 connections on. Why the transport
and not a client: a client adds cookies, redirects and auth flow, which a batch must not have. LIFO keeps
few connections warm and lets the rest go cold.

Every failure of the network is a `Reply` with a `Fault`; only cancellation and bugs are raised. The key is
scrubbed out of everything that is returned, so nothing behind this door can store it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import anyio
import httpx

from batcher.endpoint.arrival import Arrivals, Arrived
from batcher.endpoint.faults import EXPECTED, IDLE_BODY, deadline_ending
from batcher.endpoint.key import Scrubber
from batcher.endpoint.outgoing import STREAM, request_headers
from batcher.endpoint.payload import head_end, unchunk
from batcher.endpoint.proxies import proxy_for
from batcher.endpoint.sockets import CONNECT_TIMEOUT_S, IDLE_FOR_S, WRITE_TIMEOUT_S, socket_options
from batcher.endpoint.trust import Distrust, trust_context
from batcher.endpoint.wire import Body, Wire
from batcher.errors import JobError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batcher.endpoint.address import Address
    from batcher.endpoint.faults import Ending
    from batcher.endpoint.key import ApiKey
    from batcher.ports import BodyWatch
    from batcher.records import Reply, Request

_CLOSING_S: Final = 1.0


class _Slot:
    """One transport with at most one connection, and the watch on it."""

    __slots__ = ("extensions", "transport", "wire")

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self.transport = transport
        self.wire = Wire()
        self.extensions = {
            "trace": self.wire.trace,
            "timeout": {"connect": CONNECT_TIMEOUT_S, "write": WRITE_TIMEOUT_S, "read": None, "pool": None},
        }


class HttpxEndpoint:
    """A chat-completions endpoint (`ports.Endpoint`).

    As many connections as exchanges run at once; the caller bounds them. Use within one event loop;
    `aclose` closes the idle connections.

    Args:
        address: where requests go; the key goes to no other origin.
        key: sent as `Authorization: Bearer`; None: no such header.
        headers: further headers of every request.
        ca_file: a PEM file with further certificate authorities.
        environ: where HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are looked up; the caller passes `os.environ`.
        wall: seconds since the epoch.

    Raises:
        JobError: headers that are not legal or belong to the endpoint, an unreadable ca_file, an unknown
            proxy.
    """

    def __init__(
        self,
        address: Address,
        key: ApiKey | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url = httpx.URL(address.chat_url)
        self._scrubber = Scrubber(key)
        self._headers = request_headers(self._url, key, headers or {})
        self._stream_headers = request_headers(self._url, key, headers or {}, STREAM)
        self._context = trust_context(ca_file, tls=address.scheme == "https")
        self._proxy = _proxy(address, environ or {}, self._context)
        self._arrivals = Arrivals(self._scrubber, Distrust(address, direct=self._proxy is None))
        self._wall = wall
        self._options = socket_options()
        self._idle: list[_Slot] = []

    async def exchange(self, request: Request, *, deadline: float, watch: BodyWatch | None = None) -> Reply:
        """POST the body and return everything that came back; see `ports.Endpoint` and `BodyWatch`."""
        slot = self._idle.pop() if self._idle else self._open()
        slot.wire.begin(len(request.body))
        arrived = Arrived()
        wall, began = self._wall(), time.perf_counter()
        ending: Ending | None = None
        reusable = False
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                try:
                    observe = None if watch is None else _watching(watch, scope, deadline)
                    await self._perform(slot, request, arrived, observe)
                    reusable = not slot.wire.answered_early and not _has_surplus(slot.wire, arrived)
                except EXPECTED as error:
                    ending = await self._ending(error, slot.wire, arrived)
            if scope.cancelled_caught:
                is_idle = scope.deadline < deadline
                ending = IDLE_BODY if is_idle else deadline_ending(slot.wire, status=arrived.status)
        finally:
            if reusable:
                self._idle.append(slot)
            else:
                await _discard(slot)
        return self._arrivals.reply(slot.wire, arrived, ending, wall=wall, began=began)

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed by the end of their exchange."""
        while self._idle:
            await _discard(self._idle.pop())

    def _open(self) -> _Slot:
        return _Slot(
            httpx.AsyncHTTPTransport(
                verify=self._context,
                limits=httpx.Limits(
                    max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_FOR_S
                ),
                proxy=self._proxy,
                socket_options=self._options,
            )
        )

    async def _perform(
        self, slot: _Slot, request: Request, arrived: Arrived, observe: Callable[[bytes], None] | None
    ) -> None:
        headers = self._headers if observe is None else self._stream_headers
        outgoing = httpx.Request(
            "POST",
            self._url,
            headers=[*headers, (b"content-length", b"%d" % len(request.body))],
            stream=Body(request.body),
            extensions=slot.extensions,
        )
        response = await slot.transport.handle_async_request(outgoing)
        arrived.headers = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw
        )
        arrived.status = response.status_code
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        async for chunk in stream:
            arrived.chunks.append(chunk)
            if observe is not None:
                observe(chunk)
        await stream.aclose()

    async def _ending(self, error: Exception, wire: Wire, arrived: Arrived) -> Ending | None:
        if isinstance(error, httpx.LocalProtocolError):
            # h11 quotes the offending header in its message: the key could be in it.
            told = self._scrubber.text(f"a request that is not HTTP: {error}")
            raise RuntimeError(told) from None  # noqa: TRY004 - a bug, not a wrong type
        if isinstance(error, httpx.ProxyError) and str(error).startswith("407"):
            arrived.status, arrived.chunks = 407, [f"the proxy says: {error}".encode()]
            return None
        return await self._arrivals.ending(error, wire, arrived)


def _watching(watch: BodyWatch, scope: anyio.CancelScope, deadline: float) -> Callable[[bytes], None]:
    """Pass pieces on, and from the first one on let the deadline follow them."""

    def observe(piece: bytes) -> None:
        watch.on_piece(piece)
        scope.deadline = min(deadline, anyio.current_time() + watch.idle_s)

    return observe


async def _discard(slot: _Slot) -> None:
    """Close a slot's connection, also while being cancelled."""
    with anyio.move_on_after(_CLOSING_S, shield=True):
        await slot.transport.aclose()


def _has_surplus(wire: Wire, arrived: Arrived) -> bool:
    """Whether bytes stand behind the body: the parser would take them for the next row's reply."""
    raw = wire.raw
    end = head_end(raw)
    if end < 0:
        return True
    if any(name == "transfer-encoding" for name, _ in arrived.headers):
        return unchunk(raw[end:]).surplus
    return len(raw) - end != sum(len(chunk) for chunk in arrived.chunks)


def _proxy(address: Address, environ: Mapping[str, str], context: ssl.SSLContext) -> httpx.Proxy | None:
    url = proxy_for(address, environ)
    if url is None:
        return None
    try:
        return httpx.Proxy(url, ssl_context=context if url.startswith("https:") else None)
    except (ValueError, httpx.InvalidURL) as error:
        raise JobError("The proxy in the environment is not a URL.") from error
