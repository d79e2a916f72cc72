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

import socket
import ssl
import sys
import time
from typing import TYPE_CHECKING, Final

import anyio
import httpx

from batcher import __version__
from batcher.endpoint.certificate import issuer_of
from batcher.endpoint.faults import EXPECTED, Ending, deadline_ending, ending_of, verification_error
from batcher.endpoint.key import ApiKey, Scrubber
from batcher.endpoint.payload import (
    ACCEPTED_ENCODINGS,
    MOST_BYTES,
    decode,
    decode_cut,
    head_end,
    salvage,
    unchunk,
)
from batcher.endpoint.proxies import proxy_for
from batcher.endpoint.wire import Body, Wire
from batcher.errors import JobError
from batcher.records import Fault, FaultKind, Progress, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batcher.endpoint.address import Address

CONNECT_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0
IDLE_FOR_S: Final = 30.0
"""Chosen: an idle connection older than this is opened anew; many servers and NATs forget one after 60 s."""
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 30
KEEPALIVE_PROBES: Final = 5
DEAD_PEER_S: Final = 210
"""A dead peer or path is found within this: 60 + 5 x 30, and unacknowledged data as long."""
MOST_MESSAGE: Final = 2_000
_CLOSING_S: Final = 1.0
_DARWIN_KEEPALIVE: Final = 0x10
_DARWIN_RXT_CONNDROPTIME: Final = 0x80
_OWN_HEADERS: Final = frozenset(
    {"host", "authorization", "content-length", "transfer-encoding", "connection", "accept-encoding", "te"}
)


def socket_options() -> list[tuple[int, int, int]]:
    """Keep-alive 60/30/5 s and a limit of 210 s on unacknowledged data, by this platform's names."""
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
    ]
    if sys.platform == "darwin":
        options.append((socket.IPPROTO_TCP, _DARWIN_KEEPALIVE, KEEPALIVE_IDLE_S))
        options.append((socket.IPPROTO_TCP, _DARWIN_RXT_CONNDROPTIME, DEAD_PEER_S))
    else:
        options.append((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S))
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_S * 1000))
    return options


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


class _Arrived:
    """What has come back so far."""

    __slots__ = ("chunks", "headers", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self.chunks: list[bytes] = []


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
        self._address = address
        self._url = httpx.URL(address.chat_url)
        self._scrubber = Scrubber(key)
        self._headers = _head(self._url, key, headers or {})
        self._context = _context(ca_file, tls=address.scheme == "https")
        self._proxy = _proxy(address, environ or {}, self._context)
        self._wall = wall
        self._options = socket_options()
        self._idle: list[_Slot] = []
        self._issuer: str | None = None

    async def exchange(self, request: Request, *, deadline: float) -> Reply:
        """POST the body and return everything that came back; see `ports.Endpoint`."""
        slot = self._idle.pop() if self._idle else self._open()
        slot.wire.begin(len(request.body))
        arrived = _Arrived()
        wall, began = self._wall(), time.perf_counter()
        ending: Ending | None = None
        reusable = False
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                try:
                    await self._perform(slot, request, arrived)
                    reusable = not slot.wire.answered_early and not _has_surplus(slot.wire, arrived)
                except EXPECTED as error:
                    ending = await self._ending(error, slot.wire, arrived)
            if scope.cancelled_caught:
                ending = deadline_ending(slot.wire, status=arrived.status)
        finally:
            if reusable:
                self._idle.append(slot)
            else:
                await _discard(slot)
        return self._reply(slot.wire, arrived, ending, wall=wall, began=began)

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

    async def _perform(self, slot: _Slot, request: Request, arrived: _Arrived) -> None:
        outgoing = httpx.Request(
            "POST",
            self._url,
            headers=[*self._headers, (b"content-length", b"%d" % len(request.body))],
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
        await stream.aclose()

    async def _ending(self, error: Exception, wire: Wire, arrived: _Arrived) -> Ending | None:
        """Name the end of the exchange, and save what the HTTP parser refused."""
        if isinstance(error, httpx.LocalProtocolError):
            # h11 quotes the offending header in its message: the key could be in it.
            told = self._scrubber.text(f"a request that is not HTTP: {error}")
            raise RuntimeError(told) from None  # noqa: TRY004 - a bug, not a wrong type
        if isinstance(error, httpx.ProxyError) and str(error).startswith("407"):
            arrived.status, arrived.chunks = 407, [f"the proxy says: {error}".encode()]
            return None
        if wire.received:
            saved = salvage(wire.raw)
            if saved is not None:
                arrived.status, arrived.headers, arrived.chunks = (
                    saved.status,
                    saved.headers,
                    [saved.body[:MOST_BYTES]],
                )
        ending = ending_of(error, wire, status=arrived.status, now=time.perf_counter())
        if ending.kind is FaultKind.TLS:
            ending = ending._replace(message=await self._tls_message(error, ending.message))
        return ending

    async def _tls_message(self, error: Exception, message: str) -> str:
        refused = verification_error(error)
        if refused is None:
            return f"TLS with {self._address.host}:{self._address.port} failed: {message}"
        if self._issuer is None and self._proxy is None:
            self._issuer = await issuer_of(self._address)
        by = f", issued by {self._issuer}" if self._issuer else ""
        return (
            f"the certificate of {self._address.host}:{self._address.port}{by}, is not trusted:"
            f" {refused.verify_message}. If that is your own authority: endpoint.ca_file = its PEM file"
        )

    def _reply(
        self, wire: Wire, arrived: _Arrived, ending: Ending | None, *, wall: float, began: float
    ) -> Reply:
        ended = time.perf_counter()
        wrote = began if wire.first_write_at is None else wire.first_write_at
        body = b"".join(arrived.chunks)
        if ending is None:
            body, problem = decode(body, arrived.headers)
            if problem is not None:
                whole = Progress.COMPLETE if problem is FaultKind.BAD_ENCODING else Progress.CUT
                ending = Ending(problem, whole, f"content-encoding {_encoding(arrived)}: {problem.value}")
        else:
            body = decode_cut(body, arrived.headers) if arrived.status is not None else wire.raw
        scrub = self._scrubber
        return Reply(
            status=arrived.status,
            headers=tuple((name, scrub.text(value)) for name, value in arrived.headers),
            body=scrub.bytes(body, is_answer=_is_answer(arrived.status, body)),
            progress=Progress.COMPLETE if ending is None else ending.progress,
            fault=None if ending is None else Fault(ending.kind, scrub.text(ending.message)[:MOST_MESSAGE]),
            sent_at=wall + (wrote - began),
            received_at=wall + (ended - began),
            latency_ms=round((ended - wrote) * 1000, 3),
            reused_connection=not wire.fresh and wire.first_write_at is not None,
        )


def _is_answer(status: int | None, body: bytes) -> bool:
    """Whether a body may hold what a model wrote, where a short key could be an ordinary word."""
    return status is not None and 200 <= status < 300 and b'"choices"' in body


async def _discard(slot: _Slot) -> None:
    """Close a slot's connection, also while being cancelled."""
    with anyio.move_on_after(_CLOSING_S, shield=True):
        await slot.transport.aclose()


def _has_surplus(wire: Wire, arrived: _Arrived) -> bool:
    """Whether bytes stand behind the body: the parser would take them for the next row's reply."""
    raw = wire.raw
    end = head_end(raw)
    if end < 0:
        return True
    if any(name == "transfer-encoding" for name, _ in arrived.headers):
        return unchunk(raw[end:]).surplus
    return len(raw) - end != sum(len(chunk) for chunk in arrived.chunks)


def _encoding(arrived: _Arrived) -> str:
    return next((value for name, value in arrived.headers if name == "content-encoding"), "none")[:100]


def _head(url: httpx.URL, key: ApiKey | None, further: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers of every request but its length, checked, so that no library ever has to quote one."""
    mine = {
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": ACCEPTED_ENCODINGS,
        "user-agent": f"batcher/{__version__}",
    }
    if key is not None:
        mine["authorization"] = f"Bearer {key.reveal()}"
    for name, value in further.items():
        if name.lower() in _OWN_HEADERS:
            raise JobError(f"endpoint.headers may not set {name!r}: the endpoint sets it.")
        if not _is_token(name) or not _is_field_value(value):
            raise JobError(f"endpoint.headers: {name!r} is not a legal header (its value is not shown).")
        mine[name.lower()] = value.strip()
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in mine.items()]


def _is_token(name: str) -> bool:
    return bool(name) and all(
        each.isascii() and (each.isalnum() or each in "!#$%&'*+-.^_`|~") for each in name
    )


def _is_field_value(value: str) -> bool:
    return all(" " <= each <= "~" or each == "\t" for each in value)


def _context(ca_file: Path | None, *, tls: bool) -> ssl.SSLContext:
    """One context for all connections: building one reads 140 certificates."""
    if not tls:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = httpx.create_ssl_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise JobError(f"endpoint.ca_file {str(ca_file)!r} cannot be used: {error}") from error
    return context


def _proxy(address: Address, environ: Mapping[str, str], context: ssl.SSLContext) -> httpx.Proxy | None:
    url = proxy_for(address, environ)
    if url is None:
        return None
    try:
        return httpx.Proxy(url, ssl_context=context if url.startswith("https:") else None)
    except (ValueError, httpx.InvalidURL) as error:
        raise JobError("The proxy in the environment is not a URL.") from error
