"""Start a simulator in its own process, talk to it, end it. Blocking, standard library only.

Its own process, because it must not share the client's event loop, its CPU or its death; in its own
session, because Ctrl-C in a terminal must leave it alive until the client has drained.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import orjson

from batcher.simulator.config import SimulatorConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 60.0


class SimulatorError(RuntimeError):
    """The simulator did not start, or refused what it was asked."""


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator.

    Attributes:
        base_url: what an OpenAI client takes, `http://127.0.0.1:PORT/v1`.
        pid: of its process.
    """

    port: int
    pid: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def ledger(self, *, since: int = 0) -> list[dict[str, Any]]:
        """Entries with a sequence above `since`, in order of arrival; their fields: `ledger.Entry`."""
        lines = self._call("GET", f"/ledger?since={since}").splitlines()
        return [orjson.loads(line) for line in lines]

    def totals(self) -> dict[str, Any]:
        """The fields of `ledger.Totals`."""
        return self._object("GET", "/ledger?summary=1")

    def control(self, **changes: object) -> dict[str, Any]:
        """Change settings while it runs, each as a whole; gives all settings. Raises SimulatorError for a
        bad one.
        """
        return self._object("POST", "/control", orjson.dumps(changes))

    def reset(self) -> None:
        """Forget every request and attempt."""
        self._call("POST", "/reset", b"{}")

    def outage(self) -> None:
        """Reset every connection and refuse new ones for `outage_s`, starting in 20 ms."""
        self._call("POST", "/outage", b"{}")

    def _object(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self._call(method, path, body))
        return found

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=CALL_TIMEOUT_S)
        try:
            connection.request(method, path, body, {"connection": "close"})
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        if reply.status != 200:
            raise SimulatorError(f"{method} {path}: {reply.status} {content.decode('utf-8', 'replace')}")
        return content


@contextmanager
def launch(config: SimulatorConfig | None = None) -> Iterator[Simulator]:
    """A simulator for the time of a `with` block; it also ends when this process dies, however it dies.

    Raises:
        SimulatorError: it did not tell its port within 30 s.
    """
    settings = (config or SimulatorConfig()).to_json().decode()
    # -P: the working directory is the user's, a random.py in it must not be imported
    command = [sys.executable, "-P", "-m", "batcher.simulator", "--config-json", settings]
    command += ["--parent-pid", str(os.getpid())]
    process = subprocess.Popen(  # noqa: S603  # our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield Simulator(_read_port(process), process.pid)
    finally:
        _stop(process)


def _read_port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline() if readable else b""
    if not line:
        raise SimulatorError(f"the simulator did not start (exit code {process.poll()})")
    port: int = orjson.loads(line)["port"]
    return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
