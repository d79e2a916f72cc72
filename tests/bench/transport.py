"""CPU per exchange of the transports, in one process each, against the same loopback server, in turn.

    python tests/bench/transport.py [--rounds 3] [--aiohttp PYTHON]

The server answers every request with 1.2 kB after a delay of 100 ms. `direct` and `httpx` are our two endpoints,
`direct+httpx` is the direct one behind httpx's transport interface (what an httpx Request and Response would add), and
`aiohttp` is a bare loop of workers over one session; PYTHON names an interpreter that has aiohttp, without it that line
is left out. Everything runs on uvloop. Figures are user + system time of the client process between the first and the
last exchange after every connection has been used once; trust the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Exchange = Callable[[], Awaitable[int]]

DELAY_S = 0.1
CONNECTIONS = (64, 512)
EXCHANGES_EACH = 60
"""Per connection, at 64; 512 make half as many."""
BODY = json.dumps(
    {"model": "m", "messages": [{"role": "user", "content": "Say something nice about the number 17. " * 5}]}
).encode()
PROSE = "The number seventeen is prime, and it is also the sum of the first four primes: 2 + 3 + 5 + 7. " * 10
ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": PROSE[:900]}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 60, "completion_tokens": 200, "total_tokens": 260},
    }
).encode()
REPLY = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\ncontent-type: application/json\r\n"
    b"connection: keep-alive\r\nserver: bench\r\nx-request-id: req_0123456789abcdef\r\n"
    b"openai-processing-ms: 87\r\nstrict-transport-security: max-age=31536000\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
)


class Server(asyncio.Protocol):
    """Takes every piece that arrives for one request: a small one comes in one."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        del data
        asyncio.get_running_loop().call_later(DELAY_S, self._transport.write, REPLY)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- clients; only what they need is imported, because one runs where batcher is not installed


async def our_exchange(kind: str, port: int) -> Exchange:
    endpoint_room = importlib.import_module("batcher.endpoint")
    records = importlib.import_module("batcher.records")
    address = endpoint_room.parse_address(f"http://127.0.0.1:{port}/v1")
    key = endpoint_room.ApiKey("sk-bench-0123456789abcdefghij", variable="BENCH")
    request = records.Request(row_index=0, body=BODY, request_hash="0" * 32, model="m")
    made = endpoint_room.HttpxEndpoint if kind == "httpx" else endpoint_room.DirectEndpoint
    endpoint = made(address, key)
    now = asyncio.get_running_loop().time

    async def exchange() -> int:
        reply = await endpoint.exchange(request, deadline=now() + 600.0)
        assert reply.status == 200, reply.fault
        return len(reply.body)

    return exchange if kind != "direct+httpx" else behind_httpx(endpoint, address.chat_url, request, now)


def behind_httpx(endpoint: Any, url: str, request: Any, now: Callable[[], float]) -> Exchange:
    """What `httpx.AsyncBaseTransport` makes of it: a Request in, a Response with a stream out."""
    httpx = importlib.import_module("httpx")
    target, headers = httpx.URL(url), [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]

    async def exchange() -> int:
        outgoing = httpx.Request("POST", target, headers=headers, content=BODY)
        await outgoing.aread()
        reply = await endpoint.exchange(request, deadline=now() + 600.0)
        response = httpx.Response(
            reply.status, headers=list(reply.headers), stream=httpx.ByteStream(reply.body), request=outgoing
        )
        return len(await response.aread())

    return exchange


async def aiohttp_exchange(port: int) -> Exchange:
    aiohttp = importlib.import_module("aiohttp")
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    url, headers = (
        f"http://127.0.0.1:{port}/v1/chat/completions",
        {"authorization": "Bearer sk-bench-0123456789abcdef"},
    )

    async def exchange() -> int:
        async with session.post(url, data=BODY, headers=headers) as response:
            return len(await response.read())

    return exchange


async def client(kind: str, port: int, connections: int, each: int) -> None:
    """Print CPU us per exchange."""
    exchange = await (aiohttp_exchange(port) if kind == "aiohttp" else our_exchange(kind, port))

    async def worker(count: int) -> None:
        for _ in range(count):
            assert await exchange() == len(ANSWER)

    await asyncio.gather(*(worker(2) for _ in range(connections)))
    began, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker(each) for _ in range(connections)))
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    print(json.dumps([cpu / (connections * each) * 1e6, connections * each / wall]))


def measured(python: str, kind: str, port: int, connections: int) -> tuple[float, float]:
    """(CPU us per exchange, exchanges per second)."""
    each = EXCHANGES_EACH if connections <= 64 else EXCHANGES_EACH // 2
    words = [python, __file__, "client", kind, str(port), str(connections), str(each)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    cpu_us, rate = json.loads(said.splitlines()[-1])
    return cpu_us, rate


def main(rounds: int, aiohttp_python: str | None) -> None:
    pythons = {"direct": sys.executable, "direct+httpx": sys.executable, "httpx": sys.executable}
    if aiohttp_python is not None:
        pythons["aiohttp"] = aiohttp_python
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            for connections in CONNECTIONS:
                found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in pythons}
                for _ in range(rounds):
                    for kind, python in pythons.items():
                        found[kind].append(measured(python, kind, port, connections))
                show(connections, found)
        finally:
            server.kill()


def show(connections: int, found: dict[str, list[tuple[float, float]]]) -> None:
    least = min(cpu for cpu, _ in found["direct"])
    print(f"{connections} connections, {DELAY_S * 1000:.0f} ms, {len(ANSWER)} bytes")
    for kind, figures in found.items():
        cpu, rate = min(cpu for cpu, _ in figures), statistics.median(rate for _, rate in figures)
        print(f"  {kind:<13} {cpu:7.1f} us CPU/exchange  {cpu / least:5.2f}x  {rate:7.0f}/s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve())
    elif sys.argv[1:2] == ["client"]:
        uvloop.run(client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--aiohttp", metavar="PYTHON")
        given = parser.parse_args()
        main(given.rounds, given.aiohttp)
