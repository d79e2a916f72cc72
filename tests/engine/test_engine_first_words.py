"""When a stream first says something: by the bytes, however they are cut."""

from __future__ import annotations

import pytest

from batcher.engine.first_words import FirstWords
from batcher.records import Progress, Reply

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":"","refusal":null}}]}\n\n'
HI = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'


def ttft_of(pieces: list[bytes], *, latency_ms: float = 1_000_000.0) -> float | None:
    """A piece arrives every second, the first one a second after sending."""
    now = 100.0

    def wall() -> float:
        return now

    first = FirstWords(wall, idle_s=5.0)
    for piece in pieces:
        now += 1.0
        first.watch.on_piece(piece)
    return first.told(Reply(200, (), b"", Progress.COMPLETE, None, 100.0, now, latency_ms)).ttft_ms


@pytest.mark.parametrize(
    ("pieces", "at"),
    [
        ([ROLE, HI, HI], 2),
        ([b": ping\n\n", ROLE, b": ping\n\n", HI], 4),
        ([HI[:20], HI[20:39], HI[39:]], 3),
        ([ROLE, b'data: {"delta":{"content": "\\n"}}'], 2),
        ([ROLE, b'data: {"delta":{"reasoning_content":"Hm"}}', HI], 2),
        ([ROLE, b'data: {"delta":{"tool_calls":[]}}', b'data: {"delta":{"tool_calls":[{"index":0}]}}'], 3),
        ([b'{"choices":[{"message":', b'{"content":"Hi"}}]}'], 2),
        ([b"data: " + b"x" * 100_000, HI], 2),
        ([b"data: never says anything", b"at all"], 1),
        ([], None),
    ],
)
def test_the_first_piece_that_says_something_counts_else_the_first(
    pieces: list[bytes], at: int | None
) -> None:
    assert ttft_of(pieces) == (None if at is None else at * 1000)


def test_byte_by_byte_the_first_letter_counts() -> None:
    whole = ROLE + HI
    assert ttft_of([bytes((value,)) for value in whole]) == (whole.index(b"Hi") + 1) * 1000


def test_a_clock_that_was_set_gives_no_time_beyond_the_whole_exchange() -> None:
    assert ttft_of([HI], latency_ms=10.0) == 10.0
