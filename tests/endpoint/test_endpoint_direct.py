"""The direct endpoint under attack: servers that hang up when they like, cancellation at any moment, slow peers, TLS
that goes wrong; and what both endpoints tell of a body while it arrives.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from carriers import (
    BODY,
    Carrier,
    asking,
    direct_only,
    endpoint_of,
    httpx_only,
    once,
    one_reply,
    served,
)
from carriers import anyio_backend as anyio_backend  # noqa: PLC0414 - a fixture
from carriers import carrier as carrier  # noqa: PLC0414 - a fixture
from carriers import certificate as certificate  # noqa: PLC0414 - a fixture
from wireserver import Peer, WireServer

from batcher.endpoint import DirectEndpoint, HttpxEndpoint, open_endpoint, parse_address
from batcher.endpoint.deadlines import Deadlines
from batcher.endpoint.reader import ReaderBug
from batcher.endpoint.sockets import Place, connect_first, dial, in_turn
from batcher.ports import BodyWatch
from batcher.records import FaultKind, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def settled_files(most: int) -> int:
    """Open files once the loop had a few turns to close what it was told to close."""
    with anyio.move_on_after(10):
        while open_files() > most:  # noqa: ASYNC110 - no event tells
            await anyio.sleep(0.005)
    return open_files()


# --- connections that the server closes


@direct_only
async def test_a_server_that_hangs_up_at_random_never_costs_a_charged_attempt(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        rng = random.Random(peer.number)
        for _ in range(rng.randrange(1, 5)):
            if not peer.request():
                return
            peer.reply(BODY)
        threading.Event().wait(rng.choice([0.0, 0.0005, 0.002]))
        if rng.random() < 0.3:
            peer.reset()

    kinds: list[FaultKind | None] = []

    async def worker() -> None:
        for _ in range(40):
            reply = await once(endpoint)
            assert reply.progress in {Progress.COMPLETE, Progress.NOT_SENT}
            kinds.append(None if reply.fault is None else reply.fault.kind)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(worker)
        await endpoint.aclose()
    assert set(kinds) <= {None, FaultKind.STALE}, "only what costs a row nothing"
    assert kinds.count(None) > 160


@direct_only
async def test_what_a_server_says_unasked_is_never_taken_for_a_reply(carrier: Carrier) -> None:
    said = threading.Event()

    def handler(peer: Peer) -> None:
        while peer.request():
            peer.reply(BODY)
            threading.Event().wait(0.01)
            peer.reply(b"nobody asked")
            said.set()

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        for told in (True, False) * 3:
            assert (await once(endpoint)).body == BODY
            said.wait(10)  # the loop sleeps: only asking the socket can tell
            said.clear()
            if told:
                await anyio.sleep(0.01)
        await endpoint.aclose()
        assert server.connections == 6


@direct_only
async def test_a_tls_server_that_says_goodbye_is_not_asked_again(carrier: Carrier, certificate: Path) -> None:
    gone = threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        peer.reply(BODY)
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.settimeout(0.05)
        with pytest.raises(OSError):
            peer.sock.unwrap()  # says goodbye, and waits in vain for ours
        gone.set()

    with WireServer(handler, certificate=certificate) as server:
        endpoint = endpoint_of(carrier, server, ca_file=certificate)
        for _ in range(3):
            assert (await once(endpoint)).fault is None
            assert gone.wait(10)
            gone.clear()
        await endpoint.aclose()


# --- cancellation


@direct_only
@pytest.mark.parametrize("tls", [False, True])
async def test_cancelled_at_any_moment_nothing_stays_open(
    carrier: Carrier, certificate: Path, tls: bool
) -> None:
    def handler(peer: Peer) -> None:
        while request := peer.request():
            peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf")
            threading.Event().wait(0.0005)
            peer.say(b"x" * 16 if len(request) % 2 else b"x" * 15)

    rng = random.Random(6)
    await anyio.to_thread.run_sync(int)  # what it opens stays open
    with WireServer(handler, certificate=certificate if tls else None) as server:
        endpoint = endpoint_of(carrier, server, ca_file=certificate if tls else None)
        assert (await once(endpoint, within_s=0.01)).progress in Progress
        before = {"files": open_files() + 2, "tasks": len(asyncio.all_tasks())}
        for number in range(60):
            with anyio.move_on_after(rng.choice([0.0, 0.0002, 0.001, 0.003, 0.01])):
                async with anyio.create_task_group() as group:
                    for _ in range(4):
                        group.start_soon(once, endpoint, asking(b"y" * number))
        assert len(asyncio.all_tasks()) == before["tasks"]
        await endpoint.aclose()
        assert await settled_files(before["files"]) <= before["files"], "the server's ends are closed as well"


@direct_only
async def test_cancelled_while_it_shakes_hands_it_hangs_up(carrier: Carrier) -> None:
    began, gone = threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        peer.sock.recv(1)
        began.set()
        peer.wait_for_close()
        gone.set()

    with WireServer(handler) as server:
        address = parse_address(server.url.replace("http:", "https:"))
        endpoint = carrier(address)
        async with anyio.create_task_group() as group:
            group.start_soon(once, endpoint)
            await anyio.to_thread.run_sync(began.wait, 10)
            group.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(gone.wait, 10)
        reply = await once(endpoint, within_s=0.1)
        await endpoint.aclose()
    assert reply.fault is not None
    assert (reply.fault.kind, reply.progress) == (FaultKind.CONNECT_TIMEOUT, Progress.NOT_SENT)


@direct_only
async def test_an_exchange_that_outlives_the_endpoint_still_ends_by_its_deadline(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.request()
        asked.set()
        peer.wait_for_close()

    kinds: list[FaultKind | None] = []

    async def exchange() -> None:
        reply = await once(endpoint, within_s=0.3)
        kinds.append(None if reply.fault is None else reply.fault.kind)

    asked = threading.Event()
    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        async with anyio.create_task_group() as group:
            group.start_soon(exchange)
            await anyio.to_thread.run_sync(asked.wait, 10)
            await endpoint.aclose()
    assert kinds == [FaultKind.DEADLINE]


@direct_only
async def test_an_exchange_that_outlives_the_endpoint_closes_its_connection(carrier: Carrier) -> None:
    asked, go_on, gone = threading.Event(), threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        asked.set()
        go_on.wait(10)
        peer.reply(BODY)
        peer.wait_for_close()
        gone.set()

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        async with anyio.create_task_group() as group:
            group.start_soon(once, endpoint)
            await anyio.to_thread.run_sync(asked.wait, 10)
            await endpoint.aclose()
            go_on.set()
        assert await anyio.to_thread.run_sync(gone.wait, 10)


# --- peers that are slow, TLS that goes wrong


@direct_only
async def test_a_peer_that_reads_slowly_is_given_its_time(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batcher.endpoint.sockets.WRITE_TIMEOUT_S", 0.2)

    def handler(peer: Peer) -> None:
        left = 12_000_000
        while left > 0:
            left -= len(peer.sock.recv(400_000))
            threading.Event().wait(0.02)
        peer.reply(BODY)

    reply = await one_reply(carrier, handler, asking(b"x" * 12_000_000))
    assert (reply.status, reply.fault) == (200, None)
    assert reply.latency_ms > 500


@direct_only
async def test_a_large_reply_inside_tls_is_whole_and_a_cut_one_is_not(
    carrier: Carrier, certificate: Path
) -> None:
    body = random.Random(1).randbytes(3_000_000)

    def handler(peer: Peer) -> None:
        while peer.request():
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(body) + peer.number - 1)
            peer.say(head + body)
            if peer.number > 1:
                peer.sock.close()
                return

    with WireServer(handler, certificate=certificate) as server:
        endpoint = endpoint_of(carrier, server, ca_file=certificate)
        whole = await once(endpoint)
        async with anyio.create_task_group() as group:
            group.start_soon(once, endpoint)  # takes the idle connection
            await anyio.lowlevel.checkpoint()
            cut = await once(endpoint)
        await endpoint.aclose()
    assert (whole.body == body, whole.fault) == (True, None)
    assert cut.fault is not None
    assert (cut.fault.kind, cut.progress, cut.body == body) == (FaultKind.BODY_CUT, Progress.CUT, True)


@direct_only
async def test_a_server_that_hangs_up_in_the_handshake_was_sent_nothing(carrier: Carrier) -> None:
    with WireServer(lambda peer: peer.sock.close()) as server:
        endpoint = carrier(parse_address(server.url.replace("http:", "https:")))
        reply = await once(endpoint)
        await endpoint.aclose()
    assert reply.fault is not None
    assert (reply.fault.kind, reply.progress) == (FaultKind.CONNECT_FAILED, Progress.NOT_SENT)


@direct_only
async def test_a_deadline_that_has_passed_sends_nothing(carrier: Carrier) -> None:
    seen: list[bytes] = []

    def handler(peer: Peer) -> None:
        while request := peer.request():
            seen.append(request)
            peer.reply(BODY)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        late = [await once(endpoint, within_s=-1.0)]
        await once(endpoint)
        late.append(await once(endpoint, within_s=-1.0))
        await endpoint.aclose()
    assert [(reply.fault and reply.fault.kind, reply.progress) for reply in late] == [
        (FaultKind.CONNECT_TIMEOUT, Progress.NOT_SENT)
    ] * 2
    assert len(seen) == 1


# --- watching a body while it arrives


def dripping(pieces: int, pause_s: float) -> Callable[[Peer], None]:
    """A chunked body of so many pieces, then silence."""

    def handler(peer: Peer) -> None:
        peer.request()
        threading.Event().wait(
            0.15
        )  # longer than the patience between pieces: the first has the whole deadline
        peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(pieces):
            peer.say(b"1\r\n%d\r\n" % (number % 10))
            threading.Event().wait(pause_s)
        peer.wait_for_close()

    return handler


async def test_a_watched_body_that_stops_coming_is_given_up_and_keeps_what_came(carrier: Carrier) -> None:
    seen: list[bytes] = []
    with WireServer(dripping(4, 0.04)) as server:
        endpoint = endpoint_of(carrier, server)
        began = time.monotonic()
        reply = await endpoint.exchange(
            asking(), deadline=anyio.current_time() + 20, watch=BodyWatch(seen.append, idle_s=0.1)
        )
        took_s = time.monotonic() - began
        await endpoint.aclose()
    assert reply.fault is not None
    assert (reply.fault.kind, reply.progress) == (FaultKind.READ_TIMEOUT, Progress.CUT)
    assert (b"".join(seen), reply.status, reply.body) == (b"0123", 200, b"0123")
    assert 0.3 < took_s < 10


async def test_a_watched_body_is_asked_for_unpacked_and_others_on_the_same_connection_are_not(
    carrier: Carrier,
) -> None:
    heads: list[bytes] = []

    def handler(peer: Peer) -> None:
        for _ in range(2):
            heads.append(peer.request())
            peer.reply(b"{}")
        peer.wait_for_close()

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        watch = BodyWatch(lambda _: None, idle_s=10)
        await endpoint.exchange(asking(), deadline=anyio.current_time() + 20, watch=watch)
        assert (await once(endpoint)).reused_connection
        await endpoint.aclose()
    streamed, plain = (head.lower() for head in heads)
    assert b"accept: text/event-stream, application/json\r\naccept-encoding: identity\r\n" in streamed
    assert b"accept: application/json\r\naccept-encoding: gzip, deflate\r\n" in plain


async def test_a_watched_body_still_ends_by_the_deadline(carrier: Carrier) -> None:
    seen: list[bytes] = []
    with WireServer(dripping(40, 0.02)) as server:
        endpoint = endpoint_of(carrier, server)
        watch = BodyWatch(seen.append, idle_s=10)
        reply = await endpoint.exchange(asking(), deadline=anyio.current_time() + 0.4, watch=watch)
        await endpoint.aclose()
    assert reply.fault is not None
    assert (reply.fault.kind, reply.progress) == (FaultKind.DEADLINE, Progress.CUT)
    assert reply.body == b"".join(seen) != b""


@direct_only
async def test_a_bug_in_who_watches_is_raised_and_the_connection_closed(carrier: Carrier) -> None:
    def broken(piece: bytes) -> None:
        raise ZeroDivisionError(piece)

    with WireServer(served) as server:
        endpoint = endpoint_of(carrier, server)
        with pytest.raises(ReaderBug):
            await endpoint.exchange(
                asking(), deadline=anyio.current_time() + 20, watch=BodyWatch(broken, idle_s=10)
            )
        assert not (await once(endpoint)).reused_connection
        await endpoint.aclose()


# --- how a connection comes to stand


@direct_only
async def test_an_address_that_does_not_answer_gives_way_to_the_next_after_a_moment() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_server(("127.0.0.1", 0)) as good,
        socket.socket() as first,
        socket.socket() as second,
        socket.socket() as third,
    ):
        for filler in (first, second, third):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        before = open_files()
        places = [Place(socket.AF_INET, each.getsockname()) for each in (full, good)]
        began = time.monotonic()
        with await connect_first(places) as won:
            assert won.getpeername() == good.getsockname()
        assert 0.2 < time.monotonic() - began < 5
        assert open_files() == before, "the one that lost is closed"


@direct_only
async def test_when_no_address_answers_the_reasons_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = Place(socket.AF_INET, closed.getsockname())
    with pytest.raises(OSError) as refused:
        await connect_first([place, place])
    assert isinstance(refused.value.__cause__, ExceptionGroup)
    assert all(isinstance(each, ConnectionRefusedError) for each in refused.value.__cause__.exceptions)


@direct_only
async def test_a_socket_says_at_once_what_it_has_and_notices_a_dead_path() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        await dial("127.0.0.1", server.getsockname()[1]) as sock,
    ):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 30
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 210_000


def test_both_families_of_addresses_are_tried_in_turn() -> None:
    four = [Place(socket.AF_INET, (f"10.0.0.{number}", 1)) for number in range(3)]
    six = [Place(socket.AF_INET6, ("::1", 1, 0, 0))]
    assert in_turn([*six, *four]) == [six[0], *four]
    assert in_turn([*four, *six]) == [four[0], six[0], *four[1:]]


# --- which endpoint carries a run


@direct_only
async def test_on_asyncio_the_direct_endpoint_is_opened_unless_a_proxy_stands_between() -> None:
    address = parse_address("https://api.example/v1")
    proxy = {"HTTPS_PROXY": "http://127.0.0.1:9"}
    for environ, expected in (
        ({}, DirectEndpoint),
        (proxy, HttpxEndpoint),
        ({**proxy, "NO_PROXY": "api.example"}, DirectEndpoint),
    ):
        endpoint = open_endpoint(address, headers={}, ca_file=None, environ=environ)
        assert type(endpoint) is expected


@httpx_only
async def test_on_trio_exchanges_go_over_httpx(anyio_backend: tuple[str, dict[str, bool]]) -> None:
    endpoint = open_endpoint(parse_address("http://localhost:1"), headers={}, ca_file=None, environ={})
    assert isinstance(endpoint, HttpxEndpoint) == (anyio_backend[0] == "trio")


# --- one timer for all deadlines


class Clock:
    """A loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None], threading.Event]] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Clock.Handle:
        self.set += 1
        cancelled = threading.Event()
        self.timers.append((when, callback, cancelled))
        return self.Handle(cancelled)

    class Handle:
        def __init__(self, cancelled: threading.Event) -> None:
            self.cancel = cancelled.set

    def move_to(self, now: float) -> None:
        self.now = now
        due = [each for each in self.timers if each[0] <= now]
        self.timers = [each for each in self.timers if each[0] > now]
        for _, callback, cancelled in due:
            if not cancelled.is_set():
                callback()


class Member:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1


def test_each_deadline_is_told_once_and_in_time_by_one_timer() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)  # type: ignore[arg-type]
    rng = random.Random(9)
    members = [Member(rng.uniform(1, 100)) for _ in range(200)]
    for member in members:
        deadlines.add(member)
    gone, moved = members[::5], members[1::5]
    for member in gone:
        deadlines.remove(member)
    for member in moved:
        member.deadline = rng.uniform(1, 200)
        deadlines.add(member)
    for tenth in range(1, 2100):
        clock.move_to(tenth / 10)
        for member in members:
            is_due = member not in gone and member.deadline <= clock.now
            assert member.expired == is_due, (member.deadline, clock.now)
    assert not clock.timers


def test_a_thousand_exchanges_that_end_in_time_set_hardly_a_timer() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)  # type: ignore[arg-type]
    for step in range(10_000):
        clock.move_to(step / 100)
        member = Member(clock.now + 10)
        deadlines.add(member)
        deadlines.remove(member)
    assert clock.set <= 11
    deadlines.close()
    clock.move_to(1000)
    assert clock.set <= 11
