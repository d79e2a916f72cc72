"""What ended an exchange: exceptions of httpx, sockets and TLS, and what the wire saw, to a FaultKind and
a Progress. Pure.

By type and number, never by message. The rules, in order:

1. nothing of the request was written: a connection fault (DNS, TLS, refused, timeout, failed)
2. a status line came: the body is cut
3. bytes came that are no status line: not HTTP (an end in the middle of one: no reply)
4. the request did not leave whole: not sent; on a reused connection that died at once: stale
5. it left whole, on a reused connection that ended within 100 ms of it without a byte: stale, so not paid
6. it left whole: reset, end, or timeout, by the exception
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import httpx

from batcher.records import FaultKind, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

STALE_WITHIN_S: Final = 0.1
"""A reset this soon after sending on a reused connection is the answer to the packet, not to the request."""


class ReplyTooLarge(Exception):
    """More bytes came than a reply may have; raised where they are read, so that everything above unwinds."""


class WriteStuck(Exception):
    """The peer reads no further and has not answered."""


class PeerClosed(Exception):
    """The stream ended before the reply was whole."""


class NotHttp(Exception):
    """What came is no HTTP reply, as far as it was read."""


EXPECTED: Final = (httpx.TransportError, OSError, ReplyTooLarge, WriteStuck, PeerClosed, NotHttp)
"""What an exchange may end with (ssl.SSLError is an OSError); anything else is a bug and passes through."""


class Traffic(Protocol):
    """What one connection saw in one exchange, times on `time.perf_counter`.

    Attributes:
        fresh: this exchange opened the connection.
        first_write_at: None: nothing of the request was written.
        sent_whole_at: when the last byte of the request was with the operating system; None: it was not.
        received: bytes that arrived.
        answered_early: the reply began before the request had left; the connection is not usable any more.
        raw: what arrived, byte for byte.
    """

    @property
    def fresh(self) -> bool: ...
    @property
    def first_write_at(self) -> float | None: ...
    @property
    def sent_whole_at(self) -> float | None: ...
    @property
    def received(self) -> int: ...
    @property
    def answered_early(self) -> bool: ...
    @property
    def raw(self) -> bytes: ...


class Ending(NamedTuple):
    kind: FaultKind
    progress: Progress
    message: str


IDLE_BODY: Final = Ending(FaultKind.READ_TIMEOUT, Progress.CUT, "the rest of the body did not come in time")
"""Of a body that is watched while it arrives: too long from one piece to the next."""


def ending_of(error: BaseException, wire: Traffic, *, status: int | None, now: float) -> Ending:
    """Name what ended the exchange; `status` is the final response's, `now` on the wire's clock."""
    message = _message(error)
    if wire.first_write_at is None:
        return Ending(_connect_kind(error), Progress.NOT_SENT, message)
    if status is not None:
        kind = FaultKind.TOO_LARGE if isinstance(error, ReplyTooLarge) else FaultKind.BODY_CUT
        return Ending(kind, Progress.CUT, message)
    if wire.received:
        return _started(wire, message)
    return _silent(error, wire, message, now=now)


def _silent(error: BaseException, wire: Traffic, message: str, *, now: float) -> Ending:
    """Something was written, and not a byte came back."""
    kind = _after_sending(error)
    ended = kind in {FaultKind.RESET, FaultKind.EOF}
    if wire.sent_whole_at is None:
        stale = ended and not wire.fresh and not isinstance(error, WriteStuck)
        return Ending(FaultKind.STALE if stale else FaultKind.NOT_SENT, Progress.NOT_SENT, message)
    if ended and not wire.fresh and now - wire.sent_whole_at <= STALE_WITHIN_S:
        return Ending(FaultKind.STALE, Progress.NOT_SENT, message)
    return Ending(kind, Progress.SENT, message)


def deadline_ending(wire: Traffic, *, status: int | None) -> Ending:
    """The attempt's own deadline passed: what that means depends on how far it had come."""
    if wire.first_write_at is None:
        return Ending(FaultKind.CONNECT_TIMEOUT, Progress.NOT_SENT, "no connection in time")
    if status is not None:
        return Ending(FaultKind.DEADLINE, Progress.CUT, "the body was not whole in time")
    if wire.sent_whole_at is None and not wire.answered_early:
        return Ending(FaultKind.NOT_SENT, Progress.NOT_SENT, "not sent whole in time")
    return Ending(FaultKind.DEADLINE, Progress.SENT, "no reply in time")


def verification_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The refused certificate among the causes, if that is what it was."""
    found = (each for each in _causes(error) if isinstance(each, ssl.SSLCertVerificationError))
    return next(found, None)


def _started(wire: Traffic, message: str) -> Ending:
    head = wire.raw[:7]
    if b"HTTP/1.".startswith(head) or head.startswith(b"HTTP/1."):
        return Ending(FaultKind.EOF, Progress.SENT, message)
    return Ending(FaultKind.BAD_HTTP, Progress.SENT, "what came back is not HTTP")


def _after_sending(error: BaseException) -> FaultKind:
    for cause in _causes(error):
        if isinstance(cause, (httpx.TimeoutException, TimeoutError)) or (
            isinstance(cause, OSError)
            and cause.errno in {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
        ):
            return FaultKind.READ_TIMEOUT
        if isinstance(cause, (httpx.RemoteProtocolError, PeerClosed)):
            return FaultKind.EOF
    return FaultKind.RESET


def _connect_kind(error: BaseException) -> FaultKind:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return FaultKind.DNS
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
        ):
            return FaultKind.TLS
    if any(isinstance(cause, (httpx.TimeoutException, TimeoutError)) for cause in causes):
        return FaultKind.CONNECT_TIMEOUT
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return FaultKind.CONNECT_REFUSED
    return FaultKind.CONNECT_FAILED


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and everything it was raised from, exception groups (happy eyeballs) opened."""
    open_, seen = [error], set[int]()
    while open_:
        each = open_.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            open_.extend(each.exceptions)
        cause = each.__cause__ or each.__context__
        if cause is not None:
            open_.append(cause)


def _message(error: BaseException) -> str:
    """The deepest cause that says something; the library's own wrapping is often empty."""
    said = [str(each) for each in _causes(error) if str(each) and not isinstance(each, BaseExceptionGroup)]
    return said[-1] if said else type(error).__name__
