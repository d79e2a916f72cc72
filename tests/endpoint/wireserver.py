"""A server that says exactly these bytes: one handler per connection, in threads, on an ephemeral port."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    Handler = Callable[["Peer"], None]

PATIENCE_S = 20.0


class Peer:
    """One accepted connection, as the script sees it."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self._buffer = b""

    def request(self) -> bytes:
        """Read one whole request; b"" when the client has closed."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not self._more():
                return b""
        head = self._buffer[: end + 4]
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(self._buffer) < len(head) + length:
            if not self._more():
                return b""
        whole = self._buffer[: len(head) + length]
        self._buffer = self._buffer[len(whole) :]
        return whole

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self, body: bytes, *, status: str = "200 OK", headers: str = "") -> None:
        self.say(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)

    def reset(self) -> None:
        """Close so that the client sees a reset and not an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_close(self) -> None:
        """Say nothing more until the client goes away."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)


class WireServer:
    """Runs `handler` once per connection.

    Attributes:
        connections: how many were accepted.
    """

    def __init__(self, handler: Handler, *, certificate: Path | None = None) -> None:
        self._handler = handler
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []
        self._closing = False

    @property
    def url(self) -> str:
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://localhost:{self.port}/v1"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a connection of the server never ended"

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            self._handler(Peer(sock, number))
        with contextlib.suppress(OSError):
            sock.close()
