"""The exchange against servers that say exactly these bytes: httpx on both event loops, direct on both of asyncio's."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import zlib
from typing import TYPE_CHECKING

import anyio
import pytest
from carriers import BODY, KEY, Carrier, asking, endpoint_of, httpx_only, once, one_reply, saying, served
from carriers import anyio_backend as anyio_backend  # noqa: PLC0414 - a fixture
from carriers import carrier as carrier  # noqa: PLC0414 - a fixture
from carriers import certificate as certificate  # noqa: PLC0414 - a fixture
from wireserver import Peer, WireServer

from batcher import __version__
from batcher.endpoint import HttpxEndpoint, parse_address
from batcher.endpoint.sockets import socket_options
from batcher.errors import JobError
from batcher.records import FaultKind, Progress, Reply

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


# --- whole replies ---


async def test_a_whole_reply_comes_back_with_its_headers_and_times(carrier: Carrier) -> None:
    before = time.time()
    with WireServer(served) as server:
        endpoint = endpoint_of(carrier, server)
        reply = await once(endpoint)
        await endpoint.aclose()
    assert (reply.status, reply.body, reply.fault) == (200, BODY, None)
    assert reply.progress is Progress.COMPLETE
    assert reply.header("content-length") == str(len(BODY))
    assert before <= reply.sent_at <= reply.received_at <= time.time()
    assert 0 < reply.latency_ms < 20_000
    assert not reply.reused_connection


async def test_the_request_carries_the_key_the_body_and_our_name_and_nothing_else(carrier: Carrier) -> None:
    seen: list[bytes] = []

    def handler(peer: Peer) -> None:
        seen.append(peer.request())
        peer.reply(BODY)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server, headers={"X-Team": "support"})
        await once(endpoint, asking(b'{"a": "\xc3\xa9"}'))
        await endpoint.aclose()
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:]) == sorted(
        [
            f"host: localhost:{server.port}",
            "content-type: application/json",
            "accept: application/json",
            "accept-encoding: gzip, deflate",
            f"user-agent: batcher/{__version__}",
            "authorization: bearer sk-test-0123456789abcdef",
            "x-team: support",
            "content-length: 11",
        ]
    )
    assert body == b'{"a": "\xc3\xa9"}'


async def test_without_a_key_no_authorization_is_sent(carrier: Carrier) -> None:
    seen: list[bytes] = []

    def handler(peer: Peer) -> None:
        seen.append(peer.request())
        peer.reply(BODY)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server, key=None)
        await once(endpoint)
        await endpoint.aclose()
    assert b"authorization" not in seen[0].lower()


async def test_connections_are_kept_alive_and_the_last_one_is_used_first(carrier: Carrier) -> None:
    with WireServer(served) as server:
        endpoint = endpoint_of(carrier, server)
        replies = [await once(endpoint) for _ in range(5)]
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(once, endpoint)
        opened = server.connections
        replies += [await once(endpoint) for _ in range(8)]
        assert server.connections == opened <= 8
        await endpoint.aclose()
    assert [reply.reused_connection for reply in replies] == [False] + [True] * 12
    assert all(reply.fault is None for reply in replies)


async def test_a_server_that_closes_idle_connections_costs_no_failed_attempt(carrier: Carrier) -> None:
    closed = threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        peer.reply(BODY)
        peer.sock.close()
        closed.set()

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        for _ in range(10):
            reply = await once(endpoint)
            assert (reply.status, reply.fault) == (200, None)
            assert closed.wait(10)
            closed.clear()
        await endpoint.aclose()
        assert server.connections == 10


async def test_interim_replies_are_passed_over(carrier: Carrier) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"

    def handler(peer: Peer) -> None:
        while peer.request():
            peer.say(interim)
            peer.reply(BODY)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        first, second = await once(endpoint), await once(endpoint)
        await endpoint.aclose()
    assert (first.status, first.body, second.status) == (200, BODY, 200)
    assert second.reused_connection


async def test_an_http_1_0_body_ends_with_the_connection(carrier: Carrier) -> None:
    reply = await one_reply(carrier, saying(b"HTTP/1.0 200 OK\r\ncontent-type: x\r\n\r\n" + BODY))
    assert (reply.status, reply.body, reply.fault) == (200, BODY, None)


async def test_a_chunked_body_is_put_together_and_its_connection_kept(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        while peer.request():
            peer.say(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\n2;x=y\r\nok\r\n0\r\n\r\n"
            )

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        replies = [await once(endpoint) for _ in range(3)]
        await endpoint.aclose()
        assert server.connections == 1
    assert [reply.body for reply in replies] == [b"{}\nok"] * 3


async def test_redirects_are_not_followed(carrier: Carrier) -> None:
    reply = await one_reply(
        carrier, saying(b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n")
    )
    assert (reply.status, reply.header("location")) == (307, "http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY[:4], mtime=0) + gzip.compress(BODY[4:], mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
    ],
)
async def test_encoded_bodies_are_decoded(carrier: Carrier, name: str, data: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {name}\r\ncontent-length: {len(data)}\r\n\r\n"
    reply = await one_reply(carrier, saying(head.encode() + data))
    assert (reply.body, reply.fault) == (BODY, None)


@pytest.mark.parametrize(
    ("name", "data"), [("gzip", BODY), ("gzip", gzip.compress(BODY, mtime=0)[:-6]), ("br", b"\x0b\x02\x80")]
)
async def test_a_body_that_cannot_be_decoded_is_kept_as_it_came(
    carrier: Carrier, name: str, data: bytes
) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {name}\r\ncontent-length: {len(data)}\r\n\r\n"
    reply = await one_reply(carrier, saying(head.encode() + data))
    assert reply.fault is not None
    assert (reply.fault.kind, reply.progress, reply.body) == (FaultKind.BAD_ENCODING, Progress.COMPLETE, data)


async def test_bytes_behind_a_reply_never_become_the_next_rows_reply(carrier: Carrier) -> None:
    evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"

    def handler(peer: Peer) -> None:
        while peer.request():
            peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood" + evil)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        replies = [await once(endpoint) for _ in range(4)]
        await endpoint.aclose()
        assert server.connections == 4
    assert [reply.body for reply in replies] == [b"good"] * 4


# --- faults ---


def faulty(reply: Reply) -> tuple[FaultKind, Progress]:
    assert reply.fault is not None
    assert reply.fault.message
    return reply.fault.kind, reply.progress


async def test_a_refused_connection_was_not_sent(carrier: Carrier) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    endpoint = carrier(parse_address(f"http://127.0.0.1:{port}/v1"))
    reply = await once(endpoint)
    assert faulty(reply) == (FaultKind.CONNECT_REFUSED, Progress.NOT_SENT)
    assert reply.status is None


async def test_an_unknown_host_is_a_dns_fault(carrier: Carrier) -> None:
    endpoint = carrier(parse_address("https://nowhere.invalid/v1"))
    assert faulty(await once(endpoint)) == (FaultKind.DNS, Progress.NOT_SENT)


async def test_a_connection_that_never_stands_is_a_connect_timeout(carrier: Carrier) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        endpoint = carrier(parse_address(f"http://127.0.0.1:{full.getsockname()[1]}/v1"))
        reply = await once(endpoint, within_s=0.3)
        for filler in fillers:
            filler.close()
    assert faulty(reply) == (FaultKind.CONNECT_TIMEOUT, Progress.NOT_SENT)


async def test_a_reset_on_a_new_connection_may_have_been_paid(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.request()
        peer.reset()

    assert faulty(await one_reply(carrier, handler)) == (FaultKind.RESET, Progress.SENT)


async def test_an_end_without_a_reply_may_have_been_paid(carrier: Carrier) -> None:
    assert faulty(await one_reply(carrier, saying(b""))) == (FaultKind.EOF, Progress.SENT)


@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_reused_connection_that_dies_at_once_was_not_paid(carrier: Carrier, abruptly: bool) -> None:
    def handler(peer: Peer) -> None:
        peer.request()
        peer.reply(BODY)
        peer.request()
        if abruptly:
            peer.reset()

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        assert (await once(endpoint)).fault is None
        reply = await once(endpoint)
        await endpoint.aclose()
    assert faulty(reply) == (FaultKind.STALE, Progress.NOT_SENT)
    assert reply.reused_connection


async def test_a_reused_connection_that_dies_later_may_have_been_paid(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.request()
        peer.reply(BODY)
        peer.request()
        threading.Event().wait(0.2)  # the rule's 100 ms, twice

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        await once(endpoint)
        reply = await once(endpoint)
        await endpoint.aclose()
    assert faulty(reply) == (FaultKind.EOF, Progress.SENT)


async def test_silence_ends_with_the_attempts_deadline(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.request()
        peer.wait_for_close()

    assert faulty(await one_reply(carrier, handler, within_s=0.2)) == (FaultKind.DEADLINE, Progress.SENT)


async def test_headers_then_silence_keep_what_came(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        peer.wait_for_close()

    reply = await one_reply(carrier, handler, within_s=0.2)
    assert faulty(reply) == (FaultKind.DEADLINE, Progress.CUT)
    assert (reply.status, reply.body) == (200, b"half")


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", b"half"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\npaid", b"paid"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\npaid", b"paid"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\npa\r\nzz\r\nid", b"pazz\r\nid"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\npaid", b"paid"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npaid\r\n", b"paid"),
    ],
)
async def test_a_broken_body_is_cut_and_no_byte_of_it_is_lost(
    carrier: Carrier, raw: bytes, body: bytes
) -> None:
    reply = await one_reply(carrier, saying(raw))
    assert faulty(reply) == (FaultKind.BODY_CUT, Progress.CUT)
    assert (reply.status, reply.body) == (200, body)


async def test_what_is_not_http_is_kept_and_named(carrier: Carrier) -> None:
    reply = await one_reply(carrier, saying(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"))
    assert faulty(reply) == (FaultKind.BAD_HTTP, Progress.SENT)
    assert (reply.status, reply.body) == (None, b"SSH-2.0-OpenSSH_9.7\r\n\r\n")


async def test_a_reply_over_the_limit_is_cut_off(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wire", "reader", "arrival"):
        monkeypatch.setattr(f"batcher.endpoint.{module}.MOST_BYTES", 1_000_000)

    def handler(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.say(b"x" * 65536)

    reply = await one_reply(carrier, handler)
    assert faulty(reply) == (FaultKind.TOO_LARGE, Progress.CUT)
    assert (reply.status, len(reply.body)) == (200, 1_000_000)


async def test_a_small_bomb_is_not_unpacked(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.compress(b"x" * 70 * 2**20)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(data)}\r\n\r\n"
    reply = await one_reply(carrier, saying(head.encode() + data))
    assert faulty(reply) == (FaultKind.TOO_LARGE, Progress.CUT)


LARGE = asking(b"x" * 12_000_000)


async def test_a_reply_before_the_request_was_fully_sent_counts_by_its_status(carrier: Carrier) -> None:
    seen: list[int] = []

    def handler(peer: Peer) -> None:
        seen.append(peer.number)
        peer.sock.recv(100_000)
        peer.reply(b"too big", status="413 Payload Too Large")
        peer.wait_for_close()

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        first, second = await once(endpoint, LARGE), await once(endpoint, LARGE)
        await endpoint.aclose()
    assert [(reply.status, reply.body) for reply in (first, second)] == [(413, b"too big")] * 2
    assert seen == [1, 2], "the connection still owes the rest of the first body"


async def test_a_peer_that_reads_no_further_was_not_sent_the_request(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("httpx_endpoint", "sockets"):
        monkeypatch.setattr(f"batcher.endpoint.{module}.WRITE_TIMEOUT_S", 0.3)
    done = threading.Event()

    def handler(peer: Peer) -> None:
        peer.sock.recv(1000)
        done.wait(10)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        reply = await once(endpoint, LARGE)
        done.set()
        await endpoint.aclose()
    assert faulty(reply) == (FaultKind.NOT_SENT, Progress.NOT_SENT)


async def test_a_connection_closed_while_the_body_is_written_was_not_paid(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.reset()

    assert faulty(await one_reply(carrier, handler, LARGE)) == (FaultKind.NOT_SENT, Progress.NOT_SENT)


async def test_cancellation_passes_through_and_closes_the_connection(carrier: Carrier) -> None:
    gone, arrived = threading.Event(), threading.Event()

    def handler(peer: Peer) -> None:
        peer.request()
        if peer.number == 1:
            arrived.set()
            peer.wait_for_close()
            gone.set()
        else:
            peer.reply(BODY)

    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        async with anyio.create_task_group() as group:
            group.start_soon(once, endpoint)
            await anyio.to_thread.run_sync(arrived.wait, 10)
            group.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(gone.wait, 10)
        reply = await once(endpoint)
        assert (reply.status, reply.reused_connection) == (200, False)
        await endpoint.aclose()


# --- TLS ---


async def test_an_untrusted_certificate_is_refused_with_its_issuer_and_a_hint(
    carrier: Carrier, certificate: Path
) -> None:
    with WireServer(served, certificate=certificate) as server:
        endpoint = endpoint_of(carrier, server)
        reply = await once(endpoint)
        await endpoint.aclose()
    assert faulty(reply) == (FaultKind.TLS, Progress.NOT_SENT)
    assert reply.fault is not None
    for part in ("O=Test House, CN=house authority", "endpoint.ca_file", f"localhost:{server.port}"):
        assert part in reply.fault.message


async def test_with_its_ca_file_the_same_certificate_is_trusted_and_kept_alive(
    carrier: Carrier, certificate: Path
) -> None:
    with WireServer(served, certificate=certificate) as server:
        endpoint = endpoint_of(carrier, server, ca_file=certificate)
        replies = [await once(endpoint) for _ in range(3)]
        large = await once(endpoint, asking(b"y" * 300_000))
        await endpoint.aclose()
        assert server.connections == 1
    assert [(reply.status, reply.body) for reply in (*replies, large)] == [(200, BODY)] * 4


async def test_a_certificate_for_another_name_is_a_tls_fault(carrier: Carrier, certificate: Path) -> None:
    with WireServer(served, certificate=certificate) as server:
        address = parse_address(f"https://127.0.0.1:{server.port}/v1")
        endpoint = carrier(address, KEY, ca_file=certificate)
        assert faulty(await once(endpoint)) == (FaultKind.TLS, Progress.NOT_SENT)
        await endpoint.aclose()


async def test_tls_with_a_server_that_speaks_plain_http_is_a_tls_fault(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.sock.recv(100)
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with WireServer(handler) as server:
        endpoint = carrier(parse_address(server.url.replace("http:", "https:")), KEY)
        assert faulty(await once(endpoint)) == (FaultKind.TLS, Progress.NOT_SENT)


# --- proxies ---


@httpx_only
async def test_a_proxy_that_wants_a_password_answers_407() -> None:
    seen: list[bytes] = []

    def handler(peer: Peer) -> None:
        seen.append(peer.request())
        peer.reply(b"", status="407 Proxy Authentication Required")

    with WireServer(handler) as proxy:
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        endpoint = HttpxEndpoint(parse_address("https://api.example/v1"), KEY, environ=environ)
        reply = await once(endpoint)
    assert (reply.status, reply.fault) == (407, None)
    assert b"sk-test" not in seen[0]


@httpx_only
async def test_a_proxy_that_refuses_the_tunnel_is_a_connection_fault() -> None:
    with WireServer(saying(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")) as proxy:
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        endpoint = HttpxEndpoint(parse_address("https://api.example/v1"), KEY, environ=environ)
        assert faulty(await once(endpoint)) == (FaultKind.CONNECT_FAILED, Progress.NOT_SENT)


@httpx_only
async def test_a_request_through_a_tunnel_arrives(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen: list[bytes] = []

    def handler(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(peer.sock, server_side=True) as inner:
            tunnelled = Peer(inner, peer.number)
            while request := tunnelled.request():
                seen.append(request)
                tunnelled.reply(BODY)

    with WireServer(handler) as proxy:
        # Loopback is never proxied, so the tunnel is asked for by a name that only the certificate knows.
        address = parse_address("https://localhost/v1")
        object.__setattr__(address, "host", "localhost.example")
        endpoint = HttpxEndpoint(
            address, KEY, ca_file=certificate, environ={"https_proxy": f"127.0.0.1:{proxy.port}"}
        )
        first, second = await once(endpoint), await once(endpoint)
        await endpoint.aclose()
    assert [(reply.status, reply.fault, reply.reused_connection) for reply in (first, second)] == [
        (200, None, False),
        (200, None, True),
    ]
    assert b"Bearer sk-test" in seen[0]


@httpx_only
async def test_a_refused_certificate_inside_a_tunnel_is_no_reply_of_the_proxy(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def handler(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        context.wrap_socket(peer.sock, server_side=True).close()

    with WireServer(handler) as proxy:
        environ = {"https_proxy": f"127.0.0.1:{proxy.port}"}
        endpoint = HttpxEndpoint(parse_address("https://api.example/v1"), KEY, environ=environ)
        reply = await once(endpoint)
    assert faulty(reply) == (FaultKind.TLS, Progress.NOT_SENT)
    assert (reply.status, reply.body) == (None, b"")


# --- the key ---


async def test_a_key_that_the_server_echoes_comes_no_further_than_this_door(carrier: Carrier) -> None:
    def handler(peer: Peer) -> None:
        peer.request()
        body = b'{"error": {"message": "bad key sk-test-0123456789abcdef"}}'
        peer.reply(body, status="401 Unauthorized", headers="x-echo: Bearer sk-test-0123456789abcdef\r\n")

    reply = await one_reply(carrier, handler)
    assert (reply.status, reply.header("x-echo")) == (401, "Bearer ***")
    assert reply.body == b'{"error": {"message": "bad key ***"}}'
    assert "sk-test" not in repr(reply)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "line\r\nx-b: injected"),
        ("x-a", "caf\u00e9"),
        ("x a", "some-value"),
        ("Authorization", "Bearer x"),
        ("", "some-value"),
    ],
)
def test_headers_that_are_not_legal_are_refused_without_their_value(name: str, value: str) -> None:
    with pytest.raises(JobError) as refused:
        HttpxEndpoint(parse_address("http://localhost:1"), headers={name: value})
    assert value not in str(refused.value)


def test_an_unreadable_ca_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"absent\.pem"):
        HttpxEndpoint(parse_address("https://api.example/v1"), ca_file=tmp_path / "absent.pem")


def test_sockets_get_keep_alive_and_a_limit_on_unacknowledged_data() -> None:
    with socket.socket() as sock:
        for option in socket_options():
            sock.setsockopt(*option)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 5
