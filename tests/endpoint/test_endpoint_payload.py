"""Bodies as bytes: nothing is lost, nothing explodes, whatever comes."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.endpoint.certificate import read_issuer
from batcher.endpoint.payload import decode, decode_cut, head_end, salvage, unchunk
from batcher.records import FaultKind

GZIP = (("content-encoding", "gzip"),)


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


@settings(max_examples=100, deadline=None)
@given(
    body=st.binary(max_size=300), names=st.lists(st.sampled_from(["gzip", "deflate", "identity"]), max_size=3)
)
def test_encodings_are_undone_in_reverse_order(body: bytes, names: list[str]) -> None:
    sent = body
    for name in names:
        if name != "identity":
            sent = gzip.compress(sent) if name == "gzip" else zlib.compress(sent)
    assert decode(sent, (("content-encoding", ", ".join(names)),)) == (body, None)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), cut=st.integers(0, 250), flip=st.none() | st.integers(0, 250))
def test_a_damaged_body_is_either_the_right_one_or_kept_as_it_came(
    body: bytes, cut: int, flip: int | None
) -> None:
    sent = bytearray(gzip.compress(body, mtime=0)[:cut])
    if flip is not None and flip < len(sent):
        sent[flip] ^= 1
    decoded, problem = decode(bytes(sent), GZIP)
    assert decoded == (body if problem is None else bytes(sent))
    assert problem in {None, FaultKind.BAD_ENCODING}


def test_raw_deflate_is_understood_too() -> None:
    raw = zlib.compress(b"hello")[2:-4]
    assert decode(raw, (("content-encoding", "deflate"),)) == (b"hello", None)


def test_what_is_too_large_once_decoded_is_cut_at_the_limit() -> None:
    bomb = gzip.compress(b"x" * 100_000)
    assert decode(bomb, GZIP, most=1000) == (b"x" * 1000, FaultKind.TOO_LARGE)
    many = gzip.compress(b"x" * 600) * 3
    assert decode(many, GZIP, most=1000) == (b"x" * 1000, FaultKind.TOO_LARGE)
    assert decode(b"y" * 1001, (), most=1000) == (b"y" * 1000, FaultKind.TOO_LARGE)
    assert decode(b"y" * 1000, (), most=1000) == (b"y" * 1000, None)


def test_the_beginning_of_a_cut_gzip_body_is_readable() -> None:
    body = bytes(range(256)) * 50
    assert body.startswith(decode_cut(gzip.compress(body)[:-40], GZIP))
    assert decode_cut(b"no gzip", GZIP) == b"no gzip"


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.binary(max_size=40), max_size=5), surplus=st.binary(max_size=10))
def test_chunks_are_joined_and_bytes_behind_them_are_noticed(parts: list[bytes], surplus: bytes) -> None:
    assert unchunk(chunked(parts) + surplus) == (b"".join(parts), bool(surplus))


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=120))
def test_no_bytes_break_the_salvage(raw: bytes) -> None:
    body, _ = unchunk(raw)
    assert len(body) <= len(raw)
    salvage(raw)
    salvage(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + raw)
    assert head_end(raw) <= len(raw)
    read_issuer(raw)


def test_a_head_is_found_behind_interim_ones() -> None:
    raw = b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\nbody"
    assert raw[head_end(raw) :] == b"body"
    saved = salvage(raw)
    assert saved is not None
    assert (saved.status, saved.headers, saved.body) == (200, (("a", "b"),), b"body")
