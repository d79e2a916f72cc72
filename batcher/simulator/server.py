"""The simulator as a process: listens on loopback, tells its address, ends on a signal or with its parent.

Never bound to anything but 127.0.0.1: it repeats keys and obeys whoever can reach `/control`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from batcher.simulator.connection import Connection
from batcher.simulator.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.config import SimulatorConfig

try:
    import uvloop
except ImportError:  # a platform without uvloop: slower, otherwise the same
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

HOST = "127.0.0.1"
BACKLOG = 4096
PARENT_CHECK_S = 1.0
RELISTEN_S = 0.1


class Server:
    """A listener and its connections."""

    def __init__(self, config: SimulatorConfig, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._service = Service(config, loop)
        self._service.on_outage = self._begin_outage
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._recovery: asyncio.Task[None] | None = None
        self.port = config.port

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        factory = partial(Connection, self._service, self._connections, self._loop)
        self._listener = await self._loop.create_server(factory, HOST, self.port, backlog=BACKLOG)
        self.port = self._listener.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Stop listening and reset every connection; also ends an outage."""
        if self._recovery is not None:
            self._recovery.cancel()
        self._cut_off()

    def _cut_off(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in tuple(self._connections):
            connection.reset()

    def _begin_outage(self) -> None:
        if self._listener is not None:
            self._cut_off()
            self._recovery = self._loop.create_task(self._recover())

    async def _recover(self) -> None:
        await asyncio.sleep(self._service.config.outage_s)
        while self._listener is None:
            try:
                await self.start()
            except OSError:  # another process took the port for a moment
                await asyncio.sleep(RELISTEN_S)


def serve(
    config: SimulatorConfig,
    *,
    on_ready: Callable[[int], None],
    parent_pid: int | None = None,
    watch_stdin: bool = False,
) -> int:
    """Run until a signal or, with a parent, until it is gone; blocks.

    Args:
        config: the behaviour at the start.
        on_ready: called once with the port.
        parent_pid: end when this process is no longer our parent.
        watch_stdin: end with standard input, a pipe from the parent, too; SIGINT and SIGHUP, which a terminal
            sends to parent and child alike, are then left to the parent.

    Returns:
        The exit code: 128 + the signal, 0 when the parent is gone.
    """
    loop = new_event_loop()
    try:
        return loop.run_until_complete(_serve(config, on_ready, parent_pid, watch_stdin=watch_stdin))
    finally:
        loop.close()


async def _serve(
    config: SimulatorConfig, on_ready: Callable[[int], None], parent_pid: int | None, *, watch_stdin: bool
) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        lives_on = watch_stdin and number != signal.SIGTERM
        loop.add_signal_handler(number, (lambda: None) if lives_on else partial(end, 128 + number))
    server = Server(config, loop)
    await server.start()
    watch = loop.create_task(_watch_parent(parent_pid, end)) if parent_pid is not None else None
    if watch_stdin:
        loop.add_reader(sys.stdin.fileno(), _read_stdin, loop, end)
    on_ready(server.port)
    code = await ended
    if watch is not None:
        watch.cancel()
    server.stop()
    return code


async def _watch_parent(parent_pid: int, end: Callable[[int], None]) -> None:
    """Beside the pipe, because a forked sibling may hold that open."""
    while os.getppid() == parent_pid:  # noqa: ASYNC110  # no event tells of an adoption
        await asyncio.sleep(PARENT_CHECK_S)
    end(0)


def _read_stdin(loop: asyncio.AbstractEventLoop, end: Callable[[int], None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        end(0)
