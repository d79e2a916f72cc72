"""A chat-completions server on loopback that costs little, in a process of its own: nginx with lua, else uvloop.

nginx (Debian: nginx-light, libnginx-mod-http-lua) with one worker; where it is not installed, a small uvloop server
that takes every piece that arrives for one request. Either answers each POST with the same bytes after a delay, or
after one drawn evenly from a spread. It must never be what is measured: at 2 cores it has one and the client the other.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = [Path("/usr/lib/nginx/modules") / name for name in ("ndk_http_module.so", "ngx_http_lua_module.so")]
STARTS_WITHIN_S = 15.0
PROSE = "The number seventeen is prime, and it is the sum of the first four primes: 2 + 3 + 5 + 7. "
_CONFIG = """
%(modules)s
daemon off; master_process off; worker_rlimit_nofile 65536; pid %(folder)s/pid; error_log %(folder)s/error.log crit;
events { worker_connections 32768; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; lua_max_running_timers 65536;
  client_body_buffer_size 1m; client_max_body_size 64m;
  %(temporary)s
  init_by_lua_block { local f = io.open("%(folder)s/reply.json", "rb"); reply = f:read("*a"); f:close() }
  server {
    listen 127.0.0.1:%(port)d backlog=16384 %(tls)s;
    location / { content_by_lua_block {
      ngx.req.discard_body()
      ngx.sleep(%(least)f + math.random() * %(spread)f)
      ngx.header["content-type"] = "application/json"
      ngx.header["content-length"] = #reply
      ngx.header["x-request-id"] = "req_0123456789abcdef"
      ngx.header["openai-processing-ms"] = "87"
      ngx.print(reply)
    } }
  }
}
"""


class Delay(NamedTuple):
    """Seconds until a reply: evenly between the two."""

    least_s: float
    most_s: float

    @classmethod
    def parse(cls, text: str) -> Delay:
        """Milliseconds, as "100" or "50-150". Raises ValueError."""
        least, _, most = text.partition("-")
        found = cls(float(least) / 1000, float(most or least) / 1000)
        if not 0 <= found.least_s <= found.most_s:
            raise ValueError(f"a delay in milliseconds like 100 or 50-150, not {text!r}")
        return found

    def __str__(self) -> str:
        least, most = (f"{each * 1000:.0f}" for each in self)
        return least if least == most else f"{least}-{most}"

    @property
    def mean_s(self) -> float:
        return (self.least_s + self.most_s) / 2


class Serving(NamedTuple):
    """A server that answers.

    Attributes:
        url: base URL.
        kind: "nginx" or "uvloop".
        ca_file: what a client must trust; None without TLS.
    """

    url: str
    kind: str
    ca_file: Path | None


def reply_of(size: int) -> bytes:
    """A chat completion of about that many bytes, as JSON."""
    message = {"role": "assistant", "content": ""}
    reply = {
        "id": "chatcmpl-0123456789",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 200, "total_tokens": 260},
    }
    missing = max(1, size - len(json.dumps(reply)))
    message["content"] = (PROSE * (missing // len(PROSE) + 1))[:missing]
    return json.dumps(reply).encode()


def is_nginx_here() -> bool:
    return shutil.which("nginx") is not None and all(module.exists() for module in MODULES)


@contextmanager
def serving(delay: Delay, *, reply_bytes: int = 1200, tls: bool = False) -> Iterator[Serving]:
    """A server until the end of the block.

    Raises:
        RuntimeError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="batcher-bench-server.") as name:
        folder, port = Path(name), _free_port()
        (folder / "reply.json").write_bytes(reply_of(reply_bytes))
        if tls:
            _certify(folder)
        kind = "nginx" if is_nginx_here() else "uvloop"
        words = (
            _nginx(folder, port, delay, tls=tls) if kind == "nginx" else _own(folder, port, delay, tls=tls)
        )
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(process, port)
            scheme = "https" if tls else "http"
            yield Serving(f"{scheme}://127.0.0.1:{port}/v1", kind, folder / "cert.pem" if tls else None)
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {process.args!r}")


def _certify(folder: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself, as its own authority."""
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    places = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    name = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words.split(), *places, *name], check=True, capture_output=True)


def _nginx(folder: Path, port: int, delay: Delay, *, tls: bool) -> list[str]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    certificate = f"ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem"
    config = _CONFIG % {
        "modules": " ".join(f"load_module {module};" for module in MODULES),
        "folder": folder,
        "port": port,
        "tls": certificate if tls else "",
        "temporary": " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
        "least": delay.least_s,
        "spread": delay.most_s - delay.least_s,
    }
    (folder / "nginx.conf").write_text(config)
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _own(folder: Path, port: int, delay: Delay, *, tls: bool) -> list[str]:
    words = [sys.executable, __file__, str(folder), str(port), str(delay.least_s), str(delay.most_s)]
    return [*words, "tls"] if tls else words


class _Server(asyncio.Protocol):
    def __init__(self, reply: bytes, delay: Delay) -> None:
        self._reply, self._delay = reply, delay

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        del data
        delay_s = random.uniform(*self._delay)
        asyncio.get_running_loop().call_later(delay_s, self._transport.write, self._reply)


async def _serve(folder: Path, port: int, delay: Delay, *, tls: bool) -> None:
    body = (folder / "reply.json").read_bytes()
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0123456789abcdef\r\n"
        b"openai-processing-ms: 87\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = await asyncio.get_running_loop().create_server(
        lambda: _Server(head + body, delay), "127.0.0.1", port, backlog=16384, ssl=context
    )
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    _given = Delay(float(sys.argv[3]), float(sys.argv[4]))
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), _given, tls=sys.argv[5:] == ["tls"]))
