"""A reply that the fast parser refuses, read by h11: bare line feeds, folded headers, a length said twice.

Slow and rare. Exists so that a server that was understood yesterday is understood today.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11

from batcher.endpoint.faults import NotHttp

if TYPE_CHECKING:
    from batcher.endpoint.arrival import Arrived

MOST_HEAD_BYTES: Final = 100 * 1024


class OddReader:
    """Reads one reply into `arrived`.

    Attributes:
        keeps_alive: the connection may be used again; known when the reply is whole.
    """

    def __init__(self, arrived: Arrived) -> None:
        self._arrived = arrived
        self._is_whole = False
        self.keeps_alive = False
        self._stream = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD_BYTES)
        # It wants to have sent the request itself; only the method matters for how a reply is read.
        self._stream.send(
            h11.Request(method="POST", target="/", headers=[("host", "-"), ("content-length", "0")])
        )
        self._stream.send(h11.EndOfMessage())

    def feed(self, data: bytes) -> bool:
        """Read on; True when the reply is whole. Raises NotHttp."""
        return self._read(data)

    def end(self) -> bool:
        """The stream ended; True when that makes the reply whole. Raises NotHttp."""
        return self._read(b"")

    def _read(self, data: bytes) -> bool:
        if self._is_whole:  # what comes now is nobody's
            self.keeps_alive = False
            return True
        try:
            self._stream.receive_data(data)
            while not self._is_whole:
                event = self._stream.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                self._take(event)
        except h11.RemoteProtocolError as error:
            raise NotHttp(str(error)) from None
        return self._is_whole

    def _take(self, event: object) -> None:
        arrived = self._arrived
        if isinstance(event, h11.Response):
            arrived.status = event.status_code
            arrived.headers = [
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in event.headers
            ]
        elif isinstance(event, h11.Data):
            arrived.chunks.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._is_whole = True
            self.keeps_alive = self._stream.their_state is h11.DONE and not self._stream.trailing_data[0]
