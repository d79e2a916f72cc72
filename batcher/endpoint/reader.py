"""Bytes as they arrive to one reply after another, without I/O: httptools, and h11 where httptools refuses.

The rules:

1. interim (1xx) replies are passed over; 101 is no reply to what we ask
2. a reply is whole by its length, by its last chunk, or, when it names neither, by the end of the stream
3. what stands behind a whole reply is nobody's: the connection is not used again
4. what httptools refuses, or reads otherwise than h11 would (a transfer-encoding beside chunked, a start that is not
   `HTTP/1.`), is read by h11 from its first byte on, so both transports accept the same
5. what h11 refuses too is `NotHttp`; its bytes are kept in `raw`
6. a head is at most 100 KiB, a whole reply at most 64 MiB and a bit

How the bytes were cut into pieces changes nothing of this. One parser per connection: making one costs as much as
reading a small reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools

from batcher.endpoint.arrival import Arrived
from batcher.endpoint.faults import NotHttp, ReplyTooLarge
from batcher.endpoint.odd_reader import MOST_HEAD_BYTES, OddReader
from batcher.endpoint.payload import MOST_BYTES, head_end

if TYPE_CHECKING:
    from collections.abc import Callable

HEADROOM: Final = 256 * 1024
"""Of bytes on the wire beyond the largest body: heads and chunk framing."""
_START: Final = b"HTTP/1."
_MOST_NAMES: Final = 512
_names: Final[dict[bytes, str]] = {}
"""Header names as they came -> lower case; servers send the same few in every reply. Bounded by `_MOST_NAMES`."""
_NOTHING: Final = Arrived()


class ReaderBug(Exception):
    """Its cause came out of our own code, or of who watches: no fault of the server's."""


class ReplyReader:
    """Reads the replies of one connection, one at a time; `begin` before each.

    Attributes:
        arrived: what has come so far.
        received: bytes of it, framing included.
        is_whole: nothing is missing.
        keeps_alive: both sides may use the connection again; known when whole.
        observe: called with each piece of a body when it arrives, as it is on the wire; None: nobody watches.
    """

    __slots__ = (
        "_head_checked",
        "_head_done",
        "_headers",
        "_interim",
        "_is_odd",
        "_odd",
        "_parser",
        "_pieces",
        "_surplus",
        "arrived",
        "is_whole",
        "keeps_alive",
        "observe",
        "received",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = None
        self.is_whole = self.keeps_alive = self._surplus = False
        self.begin()

    def begin(self, observe: Callable[[bytes], None] | None = None) -> None:
        """Forget the last reply and be ready for the next."""
        if self._parser is None or not self.is_reusable:
            self._parser = httptools.HttpResponseParser(self)
        self.arrived = Arrived()
        self._headers: list[tuple[str, str]] = []
        self.arrived.headers = self._headers
        self.observe = observe
        self.received = 0
        self.is_whole = self.keeps_alive = False
        self._pieces: list[bytes] = []
        self._head_done = self._head_checked = self._interim = self._is_odd = self._surplus = False
        self._odd: OddReader | None = None

    def let_go(self) -> None:
        """Keep no bytes of a reply that was taken."""
        self.arrived, self._pieces = _NOTHING, []

    @property
    def raw(self) -> bytes:
        """What arrived, byte for byte; until it is asked for only a second reference to the same bytes."""
        return b"".join(self._pieces)

    @property
    def is_reusable(self) -> bool:
        """Whether the next reply may be read from the same stream."""
        return self.is_whole and self.keeps_alive and not self._surplus

    def feed(self, data: bytes) -> bool:
        """Read on; True when the reply is whole.

        Raises:
            NotHttp: it is no HTTP. ReplyTooLarge: it is over the limit. ReaderBug.
        """
        self._pieces.append(data)
        self.received += len(data)
        if self.received > MOST_BYTES + HEADROOM:
            raise ReplyTooLarge("the reply is over 64 MiB")
        if self._odd is not None:
            return self._feed_odd(data)
        if self.is_whole:
            self._surplus = True
            return True
        self._parse(data)
        if self._is_odd:
            return self._begin_odd()
        if self.received > MOST_HEAD_BYTES and not self._head_checked:
            self._check_head()
        return self.is_whole

    def end(self) -> bool:
        """The stream ended; True when that makes the reply whole. Raises NotHttp."""
        if self.is_whole:
            return True
        if self._odd is not None:
            self.is_whole = self._odd.end()
        elif self._head_done and not self._interim:
            framed = {"content-length", "transfer-encoding"}
            self.is_whole = not any(name in framed for name, _ in self.arrived.headers)
        return self.is_whole

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            raise ReaderBug("while a reply was read") from error.__context__
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser = None
            if self.is_whole:
                self._surplus = True
            else:
                self._is_odd = True

    def _check_head(self) -> None:
        self._head_checked = self._head_done
        end = head_end(self.raw) if self._head_done else self.received
        if end > MOST_HEAD_BYTES:
            self._parser = None
            self.arrived, self.is_whole = Arrived(), False
            raise NotHttp("the head of the reply is over 100 KiB")

    def _begin_odd(self) -> bool:
        self._parser = None
        self.arrived = Arrived()
        self.is_whole = self._surplus = False
        self._odd = OddReader(self.arrived)
        return self._feed_odd(self.raw)

    def _feed_odd(self, data: bytes) -> bool:
        assert self._odd is not None
        known = len(self.arrived.chunks)
        self.is_whole = self._odd.feed(data)
        self.keeps_alive = self._odd.keeps_alive
        if self.observe is not None:
            for chunk in self.arrived.chunks[known:]:
                self.observe(chunk)
        return self.is_whole

    # --- what httptools tells

    def on_message_begin(self) -> None:
        if self.is_whole:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:  # a trailer, or a reply that nobody asked for
            return
        lower = _names.get(name) or _lower(name)
        if lower == "transfer-encoding" and value.lower() != b"chunked":
            self._is_odd = True
        self._headers.append((lower, value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        if self._head_done:
            return
        assert self._parser is not None
        self._head_done = True
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            self._is_odd = self._is_odd or status == 101 or status < 100
            return
        self.arrived.status = status
        if not self._pieces[0].startswith(_START) and not self.raw.startswith(_START):
            self._is_odd = True

    def on_body(self, body: bytes) -> None:
        if self.is_whole:
            return
        self.arrived.chunks.append(body)
        if self.observe is not None:
            self.observe(body)

    def on_message_complete(self) -> None:
        if self.is_whole:
            return
        if self._interim:
            self._interim = self._head_done = False
            self.arrived.headers = self._headers = []
            return
        assert self._parser is not None
        self.keeps_alive = self._parser.should_keep_alive()
        self.is_whole = True


def _lower(name: bytes) -> str:
    lower = name.decode("latin-1").lower()
    if len(_names) < _MOST_NAMES:
        _names[name] = lower
    return lower
