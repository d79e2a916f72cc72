"""What the simulator does with one request, as values: a plan, and the named modes that make plans.

A delivery is a list of raw steps (bytes, drips, repetitions) and what becomes of the connection after them,
so that a mode can put anything on the wire, HTTP or not. Nothing here touches a socket or a clock: the server
performs it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import orjson

from batcher.simulator.answers import Manner, compose_completion
from batcher.simulator.dice import draw
from batcher.simulator.latency import parse_latency
from batcher.simulator.streaming import DONE, events_of, is_streamed, wants_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.simulator.answers import Completion
    from batcher.simulator.config import SimulatorConfig

REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    520: "Unknown Error",
    521: "Web Server Is Down",
    522: "Connection Timed Out",
    523: "Origin Is Unreachable",
    524: "A Timeout Occurred",
    529: "Site Is Overloaded",
    530: "Origin DNS Error",
}


class End(Enum):
    """What becomes of the connection after the last step."""

    KEEP = "keep"  # kept alive for the next request
    CLOSE = "close"  # FIN
    RESET = "reset"  # RST
    HANG = "hang"  # nothing more is sent; closed after `hold_s`
    OUTAGE = "outage"  # every connection is reset and the port refuses for `outage_s`


@dataclass(frozen=True, slots=True)
class Drip:
    """Bytes sent one at a time, `every_s` seconds apart."""

    content: bytes
    every_s: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """A block sent `times` times, with back-pressure, so that a huge body needs no huge memory."""

    block: bytes
    times: int


@dataclass(frozen=True, slots=True)
class Paced:
    """Pieces sent one by one, `every_s` seconds apart; 0: as fast as they are taken."""

    pieces: tuple[bytes, ...]
    every_s: float


Step = bytes | Drip | Repeat | Paced


@dataclass(frozen=True, slots=True)
class Delivery:
    """Attributes:
    steps: what is written, in order; may be empty.
    status: the status a client can read from it, or None.
    whole: whether a client receives everything that was announced.
    """

    steps: tuple[Step, ...]
    status: int | None
    end: End = End.KEEP
    whole: bool = True


class Call(NamedTuple):
    """One received request, as the script sees it.

    Attributes:
        body: raw bytes (for an early mode: at most the first 64 KiB).
        fields: the body as a JSON object, None when it is not one.
        digest: blake2b-128 of `body`.
        attempt: how often this content has come, from 1.
        authorization: the header's value, or None.
        reused: whether the connection has carried a request before.
        generated: answers generated since the start or the last reset, this one not included.
        now: seconds since the epoch, for Date headers.
        limit_headers: header lines that tell the state of the rate limits, each ending in CRLF, or "".
    """

    body: bytes
    fields: Mapping[str, object] | None
    digest: bytes
    attempt: int = 1
    authorization: str | None = None
    reused: bool = False
    generated: int = 0
    now: float = 0.0
    limit_headers: str = ""

    @property
    def model(self) -> str:
        model = self.fields.get("model") if self.fields else None
        return model if isinstance(model, str) else "unknown"

    @property
    def request_id(self) -> str:
        return f"req_{self.digest.hex()[:20]}{self.attempt:04x}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done with one request.

    Attributes:
        mode: the mode's name; "ok", "limited" (a real rate limit) and "rejected" (an unusable request)
            included.
        generated: an answer is generated, so it is paid for.
        latency_s: seconds from service to the first byte.
        prompt_tokens: as `usage` tells or would tell; 0 when nothing is generated.
        told_wait_s: how long a 429 of a real rate limit asks to wait; None: it does not say, or is none.
    """

    mode: str
    generated: bool
    latency_s: float
    delivery: Delivery
    prompt_tokens: int = 0
    completion_tokens: int = 0
    told_wait_s: float | None = None


@dataclass(slots=True)
class Occasion:
    """What a mode's builder may look at: the call, the configuration, and the answer a healthy server would
    give.
    """

    call: Call
    config: SimulatorConfig
    composed: Completion | None = field(default=None)

    def completion(self) -> Completion:
        """The good answer, composed once; a builder may change the returned dictionary."""
        if self.composed is None:
            self.composed = compose_completion(
                self.call.fields or {},
                self.call.body,
                self.call.digest,
                self.config.seed,
                self.config.max_sentences,
                Manner(self.config.realistic_tokens, self.config.answer_words),
            )
            self._bill(self.composed)
        return self.composed

    @property
    def is_streamed(self) -> bool:
        return is_streamed(self.call.fields)

    def events(self, *, usage_always: bool = False) -> list[bytes]:
        """The answer as events, the one that says that it is done not among them."""
        asked = wants_usage(self.call.fields)
        return events_of(self.completion().content, with_usage=asked, usage_always=usage_always)

    def body(self) -> bytes:
        """The answer in the form that was asked for, all at once."""
        if self.is_streamed:
            return b"".join([*self.events(), DONE])
        return orjson.dumps(self.completion().content)

    def stream(
        self, pieces: Sequence[bytes], *, headers: str = "", end: End = End.KEEP, whole: bool = True
    ) -> Delivery:
        """Pieces of a body that came one by one, at this content's pace, in chunked framing; `whole`: with its end."""
        framing = "transfer-encoding: chunked\r\n"
        head = self.head(200, framing, headers=headers, content_type="text/event-stream")
        framed = tuple(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        call = self.call
        gap_s = parse_latency(self.config.chunk_latency).sample(
            draw(call.digest, call.attempt, self.config.seed + 1)
        )
        last = (b"0\r\n\r\n",) if whole else ()
        return Delivery((head, Paced(framed, gap_s), *last), 200, end, whole)

    def _bill(self, answer: Completion) -> None:
        """What the configuration wants usage to say beside the counts."""
        usage, share = answer.content["usage"], self.config.cached_share
        assert isinstance(usage, dict)
        if share is not None:
            usage["prompt_tokens_details"]["cached_tokens"] = int(answer.prompt_tokens * share)
        if self.config.gateway_price is not None and not self.config.gateway_header:
            usage["cost"] = self._gateway_usd(answer)

    def _gateway_usd(self, answer: Completion) -> float:
        assert self.config.gateway_price is not None
        return (answer.prompt_tokens + answer.completion_tokens) * self.config.gateway_price / 1_000_000

    def head(
        self,
        status: int,
        framing: str,
        *,
        headers: str = "",
        content_type: str | None = None,
        version: str = "1.1",
    ) -> bytes:
        """A status line and headers. `framing` and `headers` are whole header lines, each ending in CRLF; without
        `content_type` it is that of the answer.
        """
        call = self.call
        if content_type is None:
            content_type = "text/event-stream" if self.is_streamed else "application/json"
        return (
            f"HTTP/{version} {status} {REASONS.get(status, 'Unknown')}\r\n"
            f"date: {http_date(int(call.now))}\r\n"
            f"content-type: {content_type}\r\n{framing}x-request-id: {call.request_id}\r\n"
            f"x-batcher-simulated: 1\r\n{call.limit_headers}{headers}\r\n"
        ).encode("latin-1", "replace")

    def reply(
        self,
        status: int,
        body: bytes,
        *,
        headers: str = "",
        content_type: str = "application/json",
        end: End = End.KEEP,
    ) -> Delivery:
        """A reply that is correct HTTP."""
        framing = "" if status in {204, 304} else f"content-length: {len(body)}\r\n"
        if end is End.CLOSE:
            framing += "connection: close\r\n"
        head = self.head(status, framing, headers=headers, content_type=content_type)
        return Delivery((head + body,), status, end)

    def answer(self, *, headers: str = "") -> Delivery:
        if self.config.gateway_price is not None and self.config.gateway_header:
            headers += f"x-litellm-response-cost: {self._gateway_usd(self.completion())}\r\n"
        if self.is_streamed:
            return self.stream([*self.events(), DONE], headers=headers)
        return self.reply(200, orjson.dumps(self.completion().content), headers=headers)


@dataclass(frozen=True, slots=True)
class Mode:
    """One named behaviour.

    Attributes:
        description: what the client meets.
        paid: an answer is generated for it, so a provider would charge.
        table_line: the condition of the failure table that judges it, verbatim (see `lines`).
        persistent: true of the content on every attempt; else only on its first `faulty_attempts` attempts.
        build: pure; makes the delivery.
        odd_reply: the item of the list of odd replies that it is, or None.
        early: acts before the request body is read.
        reused_only: acts on a reused connection only; on a fresh one the answer is good.
    """

    name: str
    description: str
    paid: bool
    table_line: str
    persistent: bool
    build: Callable[[Occasion], Delivery]
    odd_reply: str | None = None
    early: bool = False
    reused_only: bool = False


@lru_cache(maxsize=64)
def http_date(epoch_s: int) -> str:
    """IMF-fixdate; Python never sets LC_TIME, so the names are English."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(epoch_s))
