"""Modes of answers that were asked for as streams: cut, stalled, broken by an error, and written in other ways.

To a request that asks for no stream they are the good answer, but for `streamed_unasked`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import orjson

from batcher.simulator import lines
from batcher.simulator.plan import End, Mode
from batcher.simulator.streaming import DONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batcher.simulator.plan import Delivery, Occasion

_PING = b": ping\n\n"


def _half(events: Sequence[bytes]) -> Sequence[bytes]:
    return events[: max(1, len(events) // 2)]


def _on_stream(build: Callable[[Occasion], Delivery]) -> Callable[[Occasion], Delivery]:
    return lambda occasion: build(occasion) if occasion.is_streamed else occasion.answer()


def _cut(occasion: Occasion, *, end: End) -> Delivery:
    return occasion.stream(_half(occasion.events()), end=end, whole=False)


def _cut_clean(occasion: Occasion) -> Delivery:
    return occasion.stream(_half(occasion.events()))


def _cut_late(occasion: Occasion) -> Delivery:
    events = [event for event in occasion.events() if b'"choices":[]' not in event]
    return occasion.stream(events, end=End.CLOSE, whole=False)


def _error(occasion: Occasion) -> Delivery:
    error = {"error": {"message": "Provider disconnected", "type": "server_error", "code": 502}}
    return occasion.stream([*_half(occasion.events()), b"data: %b\n\n" % orjson.dumps(error), DONE])


def _rewritten(occasion: Occasion, *, rewrite: Callable[[bytes], bytes]) -> Delivery:
    return occasion.stream([rewrite(event) for event in [*occasion.events(), DONE]])


def _crlf(event: bytes) -> bytes:
    return event.replace(b"\n", b"\r\n")


def _pinged(event: bytes) -> bytes:
    return _PING + event


def _byte_by_byte(occasion: Occasion) -> Delivery:
    whole = b"".join([*occasion.events(), DONE])
    return occasion.stream([bytes((value,)) for value in whole])


def _plain(occasion: Occasion) -> Delivery:
    return occasion.reply(200, orjson.dumps(occasion.completion().content))


def _unasked(occasion: Occasion) -> Delivery:
    return occasion.stream([*occasion.events(), DONE])


def _mode(name: str, description: str, line: str, build: Callable[[Occasion], Delivery]) -> Mode:
    persistent = line == lines.OK
    return Mode(name, f"a stream: {description}", True, line, persistent, _on_stream(build))


STREAMS: tuple[Mode, ...] = (
    _mode("stream_cut", "half of it, then closed", lines.BODY_CUT, partial(_cut, end=End.CLOSE)),
    _mode("stream_cut_reset", "half of it, then reset", lines.BODY_CUT, partial(_cut, end=End.RESET)),
    _mode("stream_cut_clean", "half of it, in correct HTTP", lines.BODY_CUT, _cut_clean),
    _mode("stream_cut_late", "closed behind the last word, before usage and [DONE]", lines.USAGE, _cut_late),
    _mode("stream_stall", "half of it, then nothing", lines.NO_REPLY, partial(_cut, end=End.HANG)),
    _mode("stream_error", "half of it, then an error object", lines.ERROR_IN_200, _error),
    _mode("stream_no_done", "transformers serve: without [DONE]", lines.OK, lambda o: o.stream(o.events())),
    _mode("stream_crlf", "lines end in CRLF", lines.OK, partial(_rewritten, rewrite=_crlf)),
    _mode("stream_pings", "comments between the events", lines.OK, partial(_rewritten, rewrite=_pinged)),
    _mode("stream_bytes", "one byte a packet", lines.OK, _byte_by_byte),
    _mode(
        "stream_usage_always",
        "usage in every chunk",
        lines.OK,
        lambda occasion: occasion.stream([*occasion.events(usage_always=True), DONE]),
    ),
    _mode("stream_plain", "answered with a plain reply", lines.OK, _plain),
    Mode("streamed_unasked", "200, paid: a stream that nobody asked for", True, lines.OK, True, _unasked),
)
