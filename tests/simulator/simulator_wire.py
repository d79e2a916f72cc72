"""A client that hides nothing: every byte that came, and how the connection ended."""

from __future__ import annotations

import re
import socket
from typing import Any, NamedTuple

import orjson

TIMEOUT_S = 10.0
KEY = "sk-test-0123456789abcdef"


class Raw(NamedTuple):
    """Attributes:
    data: all bytes, status line included.
    end: "eof" or "reset".
    """

    data: bytes
    end: str

    @property
    def status(self) -> int | None:
        found = re.match(rb"HTTP/1\.[01] (\d{3}) ", self.data)
        return int(found[1]) if found else None

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


def chat(text: str = "hello", **more: object) -> bytes:
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more})


def post(body: bytes, *, path: str = "/v1/chat/completions", keep: bool = False, extra: str = "") -> bytes:
    close = "" if keep else "connection: close\r\n"
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n{close}{extra}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


def read_all(sock: socket.socket) -> Raw:
    data = bytearray()
    while True:
        try:
            piece = sock.recv(1 << 20)
        except ConnectionResetError:
            return Raw(bytes(data), "reset")
        if not piece:
            return Raw(bytes(data), "eof")
        data += piece


def read_reply(sock: socket.socket) -> Raw:
    """One reply with a correct Content-Length, the connection stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(sock)
    head, _, rest = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head)
    assert found is not None
    while len(rest) < int(found[1]):
        piece = _some(sock)
        rest, data = rest + piece, data + piece
    assert len(rest) == int(found[1])
    return Raw(data, "open")


def _some(sock: socket.socket) -> bytes:
    piece = sock.recv(1 << 20)
    assert piece, "closed before the reply was whole"
    return piece


def ask(port: int, request: bytes) -> Raw:
    """One request on a connection of its own, everything that comes back."""
    with connect(port) as sock:
        sock.sendall(request)
        return read_all(sock)
