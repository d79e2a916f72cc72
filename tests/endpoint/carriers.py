"""Both endpoints on the event loops they run on, and the words that tests of an exchange are written in."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import anyio
import pytest
from wireserver import Peer, WireServer

from batcher.endpoint import ApiKey, DirectEndpoint, HttpxEndpoint, parse_address
from batcher.records import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Carrier = type[HttpxEndpoint] | type[DirectEndpoint]
AnEndpoint = HttpxEndpoint | DirectEndpoint
Backend = tuple[str, dict[str, bool]]

KEY = ApiKey("sk-test-0123456789abcdef", variable="TEST_KEY")
BODY = b'{"choices": []}'
LONG_S = 30.0

CARRIERS: dict[str, tuple[Backend, Carrier]] = {
    "httpx-asyncio": (("asyncio", {"use_uvloop": False}), HttpxEndpoint),
    "httpx-trio": (("trio", {}), HttpxEndpoint),
    "direct-asyncio": (("asyncio", {"use_uvloop": False}), DirectEndpoint),
    "direct-uvloop": (("asyncio", {"use_uvloop": True}), DirectEndpoint),
}

httpx_only = pytest.mark.parametrize("anyio_backend", ["httpx-asyncio", "httpx-trio"], indirect=True)
direct_only = pytest.mark.parametrize("anyio_backend", ["direct-asyncio", "direct-uvloop"], indirect=True)


@pytest.fixture(params=CARRIERS)
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    return CARRIERS[request.param][0]


@pytest.fixture
def carrier(request: pytest.FixtureRequest) -> Carrier:
    return CARRIERS[request.node.callspec.params["anyio_backend"]][1]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost and its key, in one PEM file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/O=Test House/CN=house authority"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both


def asking(body: bytes = b'{"model": "m"}') -> Request:
    return Request(row_index=0, body=body, request_hash="0" * 32, model="m")


def endpoint_of(
    carrier: Carrier, server: WireServer, *, key: ApiKey | None = KEY, **more: object
) -> AnEndpoint:
    return carrier(parse_address(server.url), key, **more)  # type: ignore[arg-type]


async def once(endpoint: AnEndpoint, request: Request | None = None, *, within_s: float = LONG_S) -> Reply:
    return await endpoint.exchange(request or asking(), deadline=anyio.current_time() + within_s)


async def one_reply(
    carrier: Carrier,
    handler: Callable[[Peer], None],
    request: Request | None = None,
    *,
    within_s: float = LONG_S,
) -> Reply:
    with WireServer(handler) as server:
        endpoint = endpoint_of(carrier, server)
        reply = await once(endpoint, request, within_s=within_s)
        await endpoint.aclose()
    return reply


def saying(data: bytes) -> Callable[[Peer], None]:
    """A server that answers every connection's first request with these bytes and closes."""

    def handler(peer: Peer) -> None:
        peer.request()
        peer.say(data)

    return handler


def served(peer: Peer) -> None:
    """A healthy server."""
    while peer.request():
        peer.reply(BODY)
