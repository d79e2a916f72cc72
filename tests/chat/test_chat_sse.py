"""Server-sent events by the book, whatever line ends and pieces they come in."""

from __future__ import annotations

import pytest

from batcher.chat.sse import events, looks_streamed


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b": ping\n\n: ping\ndata: a\n:\n\n:\n\n", [b"a"]),
        (b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"]),
        (b"event: x\nid: 7\nretry: 10\ndata: a\n\n", [b"a"]),
        (b"event: x\n\ndata: a\n\n", [b"a"]),
        (b"datum: b\nDATA: c\n data: d\ndata: a\n\n", [b"a"]),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"", []),
    ],
)
def test_events_are_told_apart_by_the_book(body: bytes, data: list[bytes]) -> None:
    found = events(body)
    assert (found.data, found.errors, found.is_open) == (data, frozenset(), False)


@pytest.mark.parametrize(
    "body", [b"data: a\n\ndata: b", b"data: a\n\ndata: b\n", b"data: a\r\n\r\ndata: b\r\n"]
)
def test_the_event_that_the_end_of_the_stream_left_open_counts(body: bytes) -> None:
    assert (events(body).data, events(body).is_open) == ([b"a", b"b"], True)


@pytest.mark.parametrize(
    "body", [b"data: a\n\nevent: error\ndata: b\n\ndata: c\n\n", b"data: a\n\nerror: b\n\ndata: c\n\n"]
)
def test_events_of_errors_are_known(body: bytes) -> None:
    assert (events(body).data, events(body).errors) == ([b"a", b"b", b"c"], frozenset({1}))


@pytest.mark.parametrize(
    ("body", "streamed"),
    [
        (b"data: {}\n\n", True),
        (b"\xef\xbb\xbfdata:{}", True),
        (b"\r\n: ping\n\n", True),
        (b"event: x\n", True),
        (b'error: {"code": 400}', True),
        (b"error: no such page", False),
        (b'{"data": 1}', False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_a_stream_is_known_by_its_first_bytes(body: bytes, streamed: bool) -> None:
    assert looks_streamed(body) is streamed
