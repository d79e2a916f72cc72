"""A TCP connection to a host name: addresses tried side by side, options set before the first packet.

Addresses of both families are tried in turn, each 250 ms after the one before or as soon as that one has failed
(RFC 8305), and the first that stands is taken; every other socket is closed, also under cancellation. Written here
because not every event loop does it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from itertools import chain, zip_longest
from typing import Final, NamedTuple

import anyio

CONNECT_TIMEOUT_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 30.0
"""Without a byte accepted by the peer."""
IDLE_FOR_S: Final = 30.0
"""Chosen: an idle connection older than this is opened anew; many servers and NATs forget one after 60 s."""
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_INTERVAL_S: Final = 30
KEEPALIVE_PROBES: Final = 5
DEAD_PEER_S: Final = 210
"""A dead peer or path is found within this: 60 + 5 x 30, and unacknowledged data as long."""
STAGGER_S: Final = 0.25
"""Between one address and the next (RFC 8305, section 8)."""
_DARWIN_KEEPALIVE: Final = 0x10
_DARWIN_RXT_CONNDROPTIME: Final = 0x80


class Place(NamedTuple):
    """A family and an address in the form of `socket.connect`."""

    family: int
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


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


async def dial(host: str, port: int) -> socket.socket:
    """A connected, non-blocking socket on asyncio; whoever gets it closes it.

    Args:
        host: a name or an address without brackets, in ASCII.
        port: from 1 to 65535.

    Raises:
        OSError: the name is unknown (socket.gaierror), or no address could be connected to; with several addresses
            the cause is the group of their errors.
    """
    name = host.encode(
        "ascii"
    )  # as bytes: the standard library would encode a str once more, and refuse some
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return await connect_first(in_turn([Place(family, address) for family, _, _, _, address in found]))


async def connect_first(places: list[Place]) -> socket.socket:
    """As `dial`, with the addresses known."""
    if len(places) == 1:
        return await _connect(places[0])
    race = _Race()
    try:
        await race.run(places)
    except BaseException:
        race.close()
        raise
    if race.winner is None:
        raise OSError("none of its addresses could be connected to") from ExceptionGroup("", race.errors)
    return race.winner


class _Race:
    """Connects to several places side by side; the first connection is the `winner`."""

    def __init__(self) -> None:
        self.winner: socket.socket | None = None
        self.errors: list[OSError] = []

    async def run(self, places: list[Place]) -> None:
        async with anyio.create_task_group() as group:
            for place in places:
                failed = anyio.Event()
                group.start_soon(self._try, place, failed, group.cancel_scope)
                with anyio.move_on_after(STAGGER_S):
                    await failed.wait()

    def close(self) -> None:
        if self.winner is not None:
            self.winner.close()

    async def _try(self, place: Place, failed: anyio.Event, scope: anyio.CancelScope) -> None:
        try:
            sock = await _connect(place)
        except OSError as error:
            self.errors.append(error)
            failed.set()
            return
        if self.winner is not None:  # two arrived in the same turn of the loop
            sock.close()
            return
        self.winner = sock
        scope.cancel()


async def _connect(place: Place) -> socket.socket:
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in socket_options():
            sock.setsockopt(*option)
        await asyncio.get_running_loop().sock_connect(sock, place.address)
    except BaseException:
        sock.close()
        raise
    return sock


def in_turn(places: list[Place]) -> list[Place]:
    """IPv6 and IPv4 alternately, in the resolver's order, beginning with the family that it put first."""
    first = [each for each in places if each.family == places[0].family]
    second = [each for each in places if each.family != places[0].family]
    return [each for each in chain.from_iterable(zip_longest(first, second)) if each is not None]
