"""The state of a run, replayed from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.store.manifest import Publish, RetryOpen, SessionOpen, ShardOpen, ShardSeal, Stop
from batcher.store.run_state import replay

if TYPE_CHECKING:
    from batcher.store.manifest import ManifestRecord


def session(number: int, *lost: list[int]) -> SessionOpen:
    return SessionOpen(number, 1, "host", 0.0, "0", extra={"possibly_paid": list(lost)})


def opened(number: int, first_row: int, rows: int = 10) -> ShardOpen:
    return ShardOpen(number, first_row, rows, input_bytes=1, input_checksum="")


def sealed(number: int, rows: int = 10) -> ShardSeal:
    return ShardSeal(number, rows, 1, "", {})


PUBLISH = Publish("/o", 20, 1, "", {}, 0, {})
RETRY = RetryOpen(1, ("failed",), {}, 2)
RUN: list[ManifestRecord] = [session(1), opened(0, 0), opened(1, 10), sealed(0)]


def test_nothing_has_happened_yet() -> None:
    state = replay([])
    assert (state.session, state.next_shard, state.next_row, state.unfinished) == (0, 0, 0, [])
    assert state.published is None


def test_shards_are_open_until_they_are_sealed() -> None:
    state = replay(RUN)
    assert state.unfinished == [opened(1, 10)]
    assert (state.next_shard, state.next_row, state.sealed_rows) == (2, 20, 10)
    assert replay([*RUN, sealed(1)]).unfinished == []


def test_what_crashes_lost_is_summed_over_sessions() -> None:
    state = replay([session(1), session(2, [1, 5]), session(3, [2, 7], [1, 6])])
    assert state.possibly_paid == [(1, 5), (2, 7), (1, 6)]
    assert state.session == 3


def test_a_stop_belongs_to_its_session() -> None:
    stop = Stop(1, 130, "signal", {})
    assert replay([session(1), stop, session(2)]).stops == {1: stop}


def test_a_retry_begins_a_round_and_numbers_its_shards_on() -> None:
    state = replay([*RUN, sealed(1), PUBLISH, RETRY, session(2)])
    assert state.first_publish == PUBLISH
    assert state.published is None, "the round is not published"
    assert (state.opened, state.sealed, state.next_row) == ({}, {}, 0)
    assert state.next_shard == 2
    again = replay([*RUN, sealed(1), PUBLISH, RETRY, opened(2, 0, 20), sealed(2, 20), PUBLISH])
    assert again.published == PUBLISH
    assert again.retry == RETRY


def test_a_shard_sealed_before_its_end_ends_the_rows() -> None:
    state = replay([opened(0, 0), opened(1, 10), opened(2, 20), sealed(0), sealed(1, 4)])
    assert state.next_row == 14
    assert sorted(state.opened) == [0, 1]
    assert state.next_shard == 3, "numbers are never used twice"
