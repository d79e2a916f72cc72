"""What came back, made into a `Reply`: its end named, its body decoded, the key scrubbed out of it.

Both transports end here, so a row's reply does not depend on the one that carried it. Nothing leaves this room
unscrubbed, and nothing that arrived is thrown away: what the HTTP parser refused is salvaged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from batcher.endpoint.faults import Ending, ending_of
from batcher.endpoint.payload import MOST_BYTES, decode, decode_cut, salvage
from batcher.records import Fault, FaultKind, Progress, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.endpoint.faults import Traffic
    from batcher.endpoint.key import Scrubber
    from batcher.endpoint.trust import Distrust

MOST_MESSAGE: Final = 2_000


class Arrived:
    """What has come back so far of one reply.

    Attributes:
        status: of the final response; None before its head is whole.
        headers: names in lower case.
        chunks: the body, content-encoding not undone.
    """

    __slots__ = ("chunks", "headers", "status")

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: Sequence[tuple[str, str]] = ()
        self.chunks: list[bytes] = []


class Arrivals:
    """Makes replies for one endpoint."""

    def __init__(self, scrubber: Scrubber, distrust: Distrust) -> None:
        self._scrubber = scrubber
        self._distrust = distrust

    async def ending(self, error: Exception, traffic: Traffic, arrived: Arrived) -> Ending:
        """Name the end of the exchange, and save what the HTTP parser refused."""
        if traffic.received:
            saved = salvage(traffic.raw)
            if saved is not None:
                arrived.status, arrived.headers, arrived.chunks = (
                    saved.status,
                    saved.headers,
                    [saved.body[:MOST_BYTES]],
                )
        ending = ending_of(error, traffic, status=arrived.status, now=time.perf_counter())
        if ending.kind is FaultKind.TLS:
            ending = ending._replace(message=await self._distrust.words(error, ending.message))
        return ending

    def reply(
        self, traffic: Traffic, arrived: Arrived, ending: Ending | None, *, wall: float, began: float
    ) -> Reply:
        """What the caller gets; `wall` and `began` are the same moment on two clocks."""
        ended = time.perf_counter()
        wrote = began if traffic.first_write_at is None else traffic.first_write_at
        body = b"".join(arrived.chunks)
        status, headers = arrived.status, tuple(arrived.headers)
        if ending is None:
            body, problem = decode(body, headers)
            if problem is not None:
                whole = Progress.COMPLETE if problem is FaultKind.BAD_ENCODING else Progress.CUT
                ending = Ending(problem, whole, f"content-encoding {_encoding(headers)}: {problem.value}")
        else:
            body = decode_cut(body, headers) if status is not None else traffic.raw
        scrub = self._scrubber
        return Reply(
            status=status,
            headers=scrub.headers(headers),
            body=scrub.bytes(body, is_answer=_is_answer(status, body)),
            progress=Progress.COMPLETE if ending is None else ending.progress,
            fault=None if ending is None else Fault(ending.kind, scrub.text(ending.message)[:MOST_MESSAGE]),
            sent_at=wall + (wrote - began),
            received_at=wall + (ended - began),
            latency_ms=round((ended - wrote) * 1000, 3),
            reused_connection=not traffic.fresh and traffic.first_write_at is not None,
        )


def _is_answer(status: int | None, body: bytes) -> bool:
    """Whether a body may hold what a model wrote, where a short key could be an ordinary word."""
    return status is not None and 200 <= status < 300 and b'"choices"' in body


def _encoding(headers: Sequence[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name == "content-encoding"), "none")[:100]
