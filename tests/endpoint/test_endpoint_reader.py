"""The parser side of the direct endpoint, without a socket: whatever comes, however it is cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.endpoint.arrival import Arrived
from batcher.endpoint.faults import NotHttp, ReplyTooLarge
from batcher.endpoint.odd_reader import OddReader
from batcher.endpoint.reader import ReaderBug, ReplyReader

FULL = settings(max_examples=250, deadline=None)


class Read(NamedTuple):
    """What a stream of bytes, ended, was read as; the rest is empty unless it is whole."""

    end: str
    status: int | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def read(raw: bytes, cuts: list[int] | None = None, reader: ReplyReader | None = None) -> Read:
    reader = reader or ReplyReader()
    reader.begin()
    places = sorted({min(cut, len(raw)) for cut in cuts or []} | {0, len(raw)})
    try:
        for start, end in pairwise(places):
            reader.feed(raw[start:end])
        is_whole = reader.end()
    except NotHttp:
        assert not reader.is_reusable
        return Read("not http")
    assert reader.raw == raw
    if not is_whole:
        return Read("open")
    arrived = reader.arrived
    return Read("whole", arrived.status, b"".join(arrived.chunks), tuple(arrived.headers))


def read_by_h11(raw: bytes) -> Read:
    arrived = Arrived()
    odd = OddReader(arrived)
    try:
        is_whole = odd.feed(raw) or odd.end()
    except NotHttp:
        return Read("not http")
    return Read("whole", arrived.status, b"".join(arrived.chunks)) if is_whole else Read("open")


@dataclass(frozen=True)
class Script:
    """A valid reply and what must be read in it."""

    raw: bytes
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    by_end_of_stream: bool


TOKENS = st.text("abcXYZ019-_", min_size=1, max_size=12).map(lambda text: f"x-{text}")
VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30).map(
    lambda text: text.strip(" ").strip("\xa0\x85")
)
INTERIM = st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n"])


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=5))
    body = b"".join(pieces)
    status = draw(st.sampled_from([200, 201, 204, 304, 400, 429, 500, 599]))
    headers = draw(st.lists(st.tuples(TOKENS, VALUES), max_size=6))
    framing = draw(st.sampled_from(["length", "chunks", "end"]))
    if status in {204, 304}:
        body, sent = b"", b""
    elif framing == "chunks":
        mark = draw(st.sampled_from([b"", b';name="value"', b";a"]))
        sent = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), mark, piece) for piece in pieces)
        sent += b"0\r\n" + draw(st.sampled_from([b"", b"x-trailer: 1\r\n"])) + b"\r\n"
    else:
        sent = body
    if framing == "length":
        name = draw(st.sampled_from(["content-length", "Content-Length", "CONTENT-LENGTH"]))
        headers.insert(draw(st.integers(0, len(headers))), (name, str(len(body))))
    elif framing == "chunks":
        headers.append((draw(st.sampled_from(["transfer-encoding", "Transfer-Encoding"])), "chunked"))
    head = "".join(f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{value}\r\n" for name, value in headers)
    start = b"".join(draw(st.lists(INTERIM, max_size=2)))
    line = f"HTTP/1.1 {status}{draw(st.sampled_from(['', ' ', ' OK', ' Not a Reason']))}\r\n"
    raw = start + line.encode() + head.encode("latin-1") + b"\r\n" + sent
    known = tuple((name.lower(), value) for name, value in headers)
    return Script(raw, status, body, known, framing == "end" and status not in {204, 304})


CUTS = st.lists(st.integers(0, 600), max_size=8)


@FULL
@given(script=scripts(), cuts=CUTS)
def test_a_valid_reply_is_read_the_same_however_it_is_cut(script: Script, cuts: list[int]) -> None:
    expected = Read("whole", script.status, script.body, script.headers)
    assert read(script.raw) == expected
    assert read(script.raw, cuts) == expected
    assert read(script.raw, list(range(len(script.raw)))) == expected


@FULL
@given(first=scripts(), second=scripts(), surplus=st.binary(max_size=20), cuts=CUTS)
def test_a_connection_is_used_again_only_when_nothing_stands_behind_the_reply(
    first: Script, second: Script, surplus: bytes, cuts: list[int]
) -> None:
    reader = ReplyReader()
    expected = Read("whole", first.status, first.body, first.headers)
    if not first.by_end_of_stream:
        assert read(first.raw + surplus, cuts, reader)[:3] == expected[:3]
        assert reader.is_reusable <= (not surplus.strip(b"\r\n"))
    assert read(first.raw, cuts, reader) == expected, "nothing of the surplus is left"
    assert reader.is_reusable == (not first.by_end_of_stream)
    assert read(second.raw, cuts, reader).body == second.body, "nothing of the first is left"


PARTS = [
    *(
        b"HTTP/1.1 ",
        b"HTTP/1.0 200\r\n",
        b"200 OK",
        b"204 N",
        b"100 C",
        b"101 S",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
    ),
    *(
        b"content-length: ",
        b"5",
        b"0",
        b"-1",
        b"99999999999999999999",
        b"transfer-encoding: chunked",
        b"gzip, ",
    ),
    *(
        b"connection: close\r\n",
        b"upgrade: x\r\nconnection: upgrade\r\n",
        b"a\r\nhellohello\r\n",
        b"0\r\n\r\n",
    ),
    *(b":", b" ", b"\t", b",", b"\x00", b"\xff", b"x: y\r\n", b"hello", b"5;e=1\r\nhello\r\n"),
]
CHANGES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 6), st.sampled_from(PARTS) | st.binary(max_size=2)),
    max_size=4,
)
GARBAGE = st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join) | st.binary(max_size=80)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = draw(scripts()).raw
    for place, removed, put_in in draw(CHANGES):
        raw = raw[:place] + put_in + raw[place + removed :]
    return raw[: draw(st.integers(0, 600))]


@FULL
@given(raw=damaged() | GARBAGE, cuts=CUTS)
def test_whatever_comes_is_read_the_same_however_it_is_cut_and_never_as_another_body(
    raw: bytes, cuts: list[int]
) -> None:
    whole = read(raw)
    assert read(raw, cuts) == whole
    assert read(raw, list(range(len(raw)))) == whole
    other = read_by_h11(raw)
    if other.end == "whole":
        assert whole[:3] == other[:3], "what one transport takes for a reply, the other does too"


ODD = [
    (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", "bare line feeds"),
    (b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 2\r\n\r\nok", "a folded header"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\nok", "the same length twice"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "the same length twice in one line"),
    (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "chunks and a length",
    ),
    (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\t\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "a tab behind the word chunked",
    ),
    (
        b"HTTP/1.1 100 C\r\nconnection: close\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "an interim reply that says close",
    ),
]


@pytest.mark.parametrize(("raw", "what"), ODD, ids=[what for _, what in ODD])
def test_odd_replies_are_understood_and_their_connection_is_kept(raw: bytes, what: str) -> None:
    reader = ReplyReader()
    for cuts in ([], list(range(len(raw)))):
        found = read(raw, cuts, reader)
        assert (found.end, found.status, found.body) == ("whole", 200, b"ok"), what
        assert reader.is_reusable
    assert read(raw + b"x", [], reader).body == b"ok"
    assert not reader.is_reusable


REFUSED = [
    b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
    b"RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok",
    b"SSH-2.0-OpenSSH_9.7\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x28",
    b"HTTP/1.1 200 OK\r\nx: " + b"a" * 110_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 100 C\r\n\r\n" * 10_000,
]


@pytest.mark.parametrize("raw", REFUSED, ids=lambda raw: repr(raw[:70]))
def test_what_is_no_reply_is_refused_and_the_next_one_is_read_afresh(raw: bytes) -> None:
    reader = ReplyReader()
    assert read(raw, [], reader).end == "not http"
    assert read(raw, list(range(0, len(raw), 1 if len(raw) < 1000 else 9973)), reader).end in {
        "not http",
        "open",
    }
    assert read(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", [], reader).body == b"ok"


def test_a_reply_over_the_limit_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.endpoint.reader.MOST_BYTES", 1_000_000)
    reader = ReplyReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    while reader.received < 1_000_000:
        reader.feed(b"x" * 65536)
    with pytest.raises(ReplyTooLarge):
        reader.feed(b"x" * 300_000)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\n"], ids=["usual", "odd"])
def test_who_watches_sees_each_piece_of_the_body_once_and_in_order(start: bytes) -> None:
    seen: list[bytes] = []
    reader = ReplyReader()
    reader.begin(seen.append)
    line = start[15:]
    reader.feed(start + b"transfer-encoding: chunked" + line + line + b"2\r\nab\r\n3\r\ncd")
    assert b"".join(seen) == b"abcd"
    reader.feed(b"e\r\n0\r\n\r\n")
    assert b"".join(seen) == b"abcde" == b"".join(reader.arrived.chunks)


def test_a_bug_in_who_watches_is_no_fault_of_the_server() -> None:
    def broken(piece: bytes) -> None:
        raise ZeroDivisionError(piece)

    reader = ReplyReader()
    reader.begin(broken)
    with pytest.raises(ReaderBug) as bug:
        reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert isinstance(bug.value.__cause__, ZeroDivisionError)
