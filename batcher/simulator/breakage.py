"""Modes that break the connection, the HTTP framing or the body's bytes: what proxies, crashes and networks
do.

Where an answer may have been generated before the line broke, the mode generates one, so `paid` is the
worse case.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import TYPE_CHECKING

from batcher.simulator import lines
from batcher.simulator.plan import Delivery, Drip, End, Mode, Repeat
from batcher.simulator.replies import error_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.plan import Occasion

BLOCK = b" " * 65_536


def _body(occasion: Occasion) -> bytes:
    return occasion.body()


def _nothing(_: Occasion, *, end: End) -> Delivery:
    return Delivery((), None, end, whole=False)


def _silent_body(occasion: Occasion) -> Delivery:
    head = occasion.head(200, f"content-length: {len(_body(occasion))}\r\n")
    return Delivery((head,), 200, End.HANG, whole=False)


def _drip(occasion: Occasion) -> Delivery:
    body = _body(occasion)
    head = occasion.head(200, f"content-length: {len(body)}\r\n")
    return Delivery((head, Drip(body, occasion.config.drip_s)), 200)


def _cut(occasion: Occasion, *, end: End) -> Delivery:
    body = _body(occasion)
    head = occasion.head(200, f"content-length: {len(body)}\r\n")
    return Delivery((head + body[: len(body) // 2],), 200, end, whole=False)


def _length_line(occasion: Occasion, *, line: str, end: End = End.CLOSE, whole: bool = False) -> Delivery:
    """The good body under a framing line in which {n} is its length, {more} more than it, {less} less."""
    body = _body(occasion)
    framing = line.format(n=len(body), more=len(body) + 100, less=len(body) // 2)
    return Delivery((occasion.head(200, framing) + body,), 200, end, whole)


def _chunks(occasion: Occasion, *, ending: bytes, size: bytes = b"%x", end: End = End.CLOSE) -> Delivery:
    body = _body(occasion)
    half = len(body) // 2
    framed = b"%x\r\n%b\r\n" % (half, body[:half])
    framed += (size % (len(body) - half) if b"%" in size else size) + b"\r\n" + body[half:] + b"\r\n" + ending
    return Delivery(
        (occasion.head(200, "transfer-encoding: chunked\r\n") + framed,), 200, end, whole=end is End.KEEP
    )


def _gzip(occasion: Occasion, *, share: float, packed: bool = True) -> Delivery:
    """A body under `content-encoding: gzip`: `share` of the packed bytes, or the plain ones."""
    body = _body(occasion)
    if packed:
        packer = zlib.compressobj(wbits=31)
        body = packer.compress(body) + packer.flush()
    return occasion.reply(200, body[: int(len(body) * share)], headers="content-encoding: gzip\r\n")


def _half_json(occasion: Occasion) -> Delivery:
    body = _body(occasion)
    return occasion.reply(200, body[: len(body) * 2 // 3])


def _bad_utf8(occasion: Occasion) -> Delivery:
    body = _body(occasion)
    # inside a string that every reply has
    return occasion.reply(200, body.replace(b'"chat.completion', b'"chat.\xff\xfe completion', 1))


def _fixed(occasion: Occasion, *, body: bytes, content_type: str = "application/json") -> Delivery:
    return occasion.reply(200, body, content_type=content_type)


def _raw(_: Occasion, *, sent: bytes) -> Delivery:
    return Delivery((sent,), None, End.CLOSE, whole=False)


def _http_10(occasion: Occasion) -> Delivery:
    head = occasion.head(200, "", version="1.0")
    return Delivery((head + _body(occasion),), 200, End.CLOSE)


def _huge(occasion: Occasion) -> Delivery:
    body = _body(occasion)
    times = max(0, occasion.config.huge_body_bytes - len(body)) // len(BLOCK) + 1
    head = occasion.head(200, f"content-length: {len(body) + times * len(BLOCK)}\r\n")
    return Delivery((head, Repeat(BLOCK, times), body), 200)


def _informational(occasion: Occasion) -> Delivery:
    before = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"
    answer = occasion.answer()
    return Delivery((before, *answer.steps), 200)


def _in_pieces(occasion: Occasion) -> Delivery:
    """Head and body byte by byte: no reader may believe that a line comes at once."""
    whole = occasion.head(200, f"content-length: {len(_body(occasion))}\r\n") + _body(occasion)
    return Delivery((Drip(whole, 0.0),), 200)


def _answer_then_close(occasion: Occasion) -> Delivery:
    answer = occasion.answer()
    return Delivery(answer.steps, 200, End.CLOSE)


def _early(occasion: Occasion, *, status: int, body: bytes) -> Delivery:
    return occasion.reply(status, body, end=End.CLOSE)


def _passing(
    name: str,
    description: str,
    line: str,
    build: Callable[[Occasion], Delivery],
    *,
    paid: bool = True,
    odd: str | None = None,
    early: bool = False,
    reused_only: bool = False,
) -> Mode:
    return Mode(
        name, description, paid, line, False, build, odd_reply=odd, early=early, reused_only=reused_only
    )


def _unanswered() -> list[Mode]:
    line, before = lines.NO_REPLY, lines.BEFORE_BODY
    reset, close = partial(_nothing, end=End.RESET), partial(_nothing, end=End.CLOSE)
    return [
        _passing(
            "outage",
            "every connection is reset, and the port refuses for `outage_s`",
            lines.CONNECT,
            partial(_nothing, end=End.OUTAGE),
            paid=False,
        ),
        _passing(
            "close_before_body", "closed before the body is read", before, close, paid=False, early=True
        ),
        _passing("reset_before_body", "reset before the body is read", before, reset, paid=False, early=True),
        _passing(
            "stale_reset",
            "reset at once on a reused connection; good on a fresh one",
            before,
            reset,
            paid=False,
            reused_only=True,
        ),
        _passing(
            "stale_close",
            "closed at once on a reused connection; good on a fresh one",
            before,
            close,
            paid=False,
            reused_only=True,
        ),
        _passing(
            "keepalive_close",
            "the good answer, then the kept-alive connection is closed unannounced",
            lines.OK,
            _answer_then_close,
            odd=lines.KEPT_ALIVE_CLOSED,
        ),
        _passing("reset", "reset after the request, an answer was generated", line, reset),
        _passing("reset_unpaid", "reset after the request, nothing was generated", line, reset, paid=False),
        _passing("no_reply", "closed after the request, an answer was generated", line, close),
        _passing("silence", "not one byte of a reply", line, partial(_nothing, end=End.HANG)),
        _passing(
            "headers_then_silence",
            "headers, then nothing",
            line,
            _silent_body,
            odd=lines.HEADERS_THEN_SILENCE,
        ),
        _passing("drip", "the body one byte every `drip_s`", line, _drip, odd=lines.ONE_BYTE_A_MINUTE),
    ]


def _bad_framing() -> list[Mode]:
    line, odd = lines.BODY_CUT, lines.CONTENT_LENGTH
    length = partial(partial, _length_line)
    return [
        _passing("body_cut", "half of the body, then closed", line, partial(_cut, end=End.CLOSE)),
        _passing("body_cut_reset", "half of the body, then reset", line, partial(_cut, end=End.RESET)),
        _passing(
            "content_length_long",
            "100 bytes fewer than announced, then closed",
            line,
            length(line="content-length: {more}\r\n"),
            odd=odd,
        ),
        _passing(
            "content_length_short",
            "half of the length announced, surplus follows",
            line,
            length(line="content-length: {less}\r\n"),
            odd=odd,
        ),
        _passing(
            "content_length_repeated",
            "two lengths that differ",
            line,
            length(line="content-length: {n}\r\ncontent-length: {less}\r\n"),
            odd=odd,
        ),
        _passing(
            "content_length_negative",
            "a length below zero",
            line,
            length(line="content-length: -{n}\r\n"),
            odd=odd,
        ),
        _passing(
            "content_length_garbage",
            "a length that is no number",
            line,
            length(line="content-length: many\r\n"),
            odd=odd,
        ),
        _passing(
            "chunk_broken",
            "a chunk size that is no number",
            line,
            partial(_chunks, size=b"zz", ending=b"0\r\n\r\n"),
        ),
        _passing("chunk_cut", "chunked, closed without a last chunk", line, partial(_chunks, ending=b"")),
        _passing(
            "gzip_over_plain",
            "content-encoding gzip over plain JSON",
            line,
            partial(_gzip, share=1.0, packed=False),
            odd=lines.GZIP_OVER_PLAIN,
        ),
        _passing(
            "gzip_cut", "gzip that ends in the middle, length as announced", line, partial(_gzip, share=0.5)
        ),
        _passing(
            "not_http",
            "bytes that are not HTTP",
            line,
            partial(_raw, sent=b"SSH-2.0-OpenSSH_9.6\r\n"),
            paid=False,
        ),
    ]


def _bad_bodies() -> list[Mode]:
    line = lines.BODY_CUT
    html = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>It works!</body></html>"
    return [
        _passing("malformed_json", "JSON that stops in the middle, in a whole body", line, _half_json),
        _passing(
            "html_200",
            "an HTML page with status 200",
            line,
            partial(_fixed, body=html, content_type="text/html; charset=utf-8"),
        ),
        _passing(
            "text_200",
            "plain text with status 200",
            line,
            partial(_fixed, body=b"upstream connect error", content_type="text/plain"),
        ),
        _passing("empty_200", "status 200 and no bytes", line, partial(_fixed, body=b"")),
        _passing("bad_utf8", "JSON with bytes that are not UTF-8", line, _bad_utf8),
        Mode("body_over_64_mib", "a body of `huge_body_bytes`", True, lines.TOO_LARGE, True, _huge),
    ]


def _unusual_but_good() -> list[Mode]:
    too_large = error_body("Request body too large.", "invalid_request_error", "request_too_large")
    overloaded = error_body("Overloaded.", "server_error")
    return [
        _passing(
            "chunked",
            "the good answer in chunks",
            lines.OK,
            partial(_chunks, ending=b"0\r\n\r\n", end=End.KEEP),
        ),
        _passing("gzip", "the good answer in gzip, asked for or not", lines.OK, partial(_gzip, share=1.0)),
        _passing("in_pieces", "the good answer byte by byte, without pause", lines.OK, _in_pieces),
        _passing(
            "informational",
            "100 and 103 before the good answer",
            lines.OK,
            _informational,
            odd=lines.INFORMATIONAL,
        ),
        _passing(
            "http_10",
            "HTTP/1.0 without a length, the good answer ends with the connection",
            lines.OK,
            _http_10,
            odd=lines.HTTP_10,
        ),
        _passing(
            "early_503",
            "503 before the request body is read, then closed",
            lines.SERVER_ERROR,
            partial(_early, status=503, body=overloaded),
            paid=False,
            odd=lines.EARLY_REPLY,
            early=True,
        ),
        Mode(
            "early_413",
            "413 before the request body is read, then closed",
            False,
            lines.CONTEXT,
            True,
            partial(_early, status=413, body=too_large),
            odd_reply=lines.EARLY_REPLY,
            early=True,
        ),
    ]


BREAKAGE: tuple[Mode, ...] = (*_unanswered(), *_bad_framing(), *_bad_bodies(), *_unusual_but_good())
