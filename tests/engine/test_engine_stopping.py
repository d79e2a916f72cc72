"""How a run stops: nothing new goes out, what is paid comes home, and what stopped it is nobody's result."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from engine_world import HANG, REFUSED, Bug, Builder, Setup, Step, World, error, ok, play

from batcher.errors import (
    AccountError,
    BatcherError,
    EndpointUnavailable,
    EndpointUnusable,
    Interrupted,
    StorageError,
    TooManyFailures,
)
from batcher.records import EndRecord, IntentRecord, Outcome, ReopenRecord, ReplyRecord, VoidRecord

WRONG_KEY = error(401, code="invalid_api_key", message="invalid api key")


# --- the canary -------------------------------------------------------------------------------------------


def test_one_request_goes_alone_until_its_first_reply() -> None:
    world = play(lambda row, attempt, now: ok(seconds=3.0), Setup(rows=40, concurrency=8))
    assert [sent.at for sent in world.sent[:9]] == [0.0] + [3.0] * 8
    assert world.endpoint.most == 8


def test_after_15_s_the_others_no_longer_wait_for_a_slow_first_reply() -> None:
    world = play(
        lambda row, attempt, now: ok(seconds=100.0 if row == 0 else 1.0), Setup(rows=40, concurrency=8)
    )
    assert world.sent[1].at == 15.0
    assert world.outcomes() == {Outcome.OK: 40}


def test_a_wrong_key_costs_one_request() -> None:
    world = play(lambda row, attempt, now: WRONG_KEY, Setup(rows=1000, concurrency=64))
    assert isinstance(world.error, AccountError)
    assert len(world.sent) == 1
    assert not world.store.ended


def test_three_refused_connections_at_the_very_beginning_stop_the_run() -> None:
    world = play(lambda row, attempt, now: REFUSED, Setup(rows=1000, concurrency=64))
    assert isinstance(world.error, EndpointUnavailable)
    assert len(world.sent) == 3
    assert all(sent.in_flight == 1 for sent in world.sent)
    assert not world.store.ended


def test_refused_connections_later_on_do_not_stop_the_run() -> None:
    world = play(lambda row, attempt, now: REFUSED if 5 < now < 60 else ok(), Setup(rows=300))
    assert world.error is None


# --- run-fatal replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (WRONG_KEY, AccountError),
        (error(429, code="insufficient_quota"), AccountError),
        (error(404), EndpointUnusable),
        (Step(302, b"", 0.1), EndpointUnusable),
        (Step(200, b'{"error":{"code":"invalid_api_key","message":"no"}}', 0.1), AccountError),
    ],
    ids=["401", "quota", "404", "302", "401 inside a 200"],
)
def test_a_fatal_reply_in_mid_run_drains_what_is_in_flight_and_ends_no_row(
    step: Step, kind: type[BatcherError]
) -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return step if row >= 20 else ok(seconds=5.0)

    world = play(script, Setup(rows=200, concurrency=8))
    assert isinstance(world.error, kind)
    assert world.outcomes() == {Outcome.OK: 20}, "answers in flight came home, refusals are no results"
    assert not [record for record in world.store.journal if isinstance(record, EndRecord)]
    stopped_at = min(sent.at for sent in world.sent if sent.row >= 20) + 0.1
    assert not [sent for sent in world.sent if sent.at > stopped_at]


def test_rows_that_wait_for_a_retry_are_pending_and_known_to_be_unpaid() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if row < 4 else WRONG_KEY if now > 8 else ok()

    world = play(script, Setup(rows=400))
    assert isinstance(world.error, AccountError)
    for row in range(4):
        assert row not in world.store.ended or world.end_of(row).attempts == 5
        assert world.store.history(row).open_intents == 0


def test_a_row_refused_more_often_than_voids_are_written_is_voided_when_the_run_stops() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(30)
        world.engine.stop(Interrupted(2))

    def script(row: int, attempt: int, now: float) -> Step:
        return error(429, retry_after_ms="100") if row == 0 else ok()

    world = play(script, Setup(rows=4000, meanwhile=interrupt))
    assert len(world.endpoint.of(0)) > 5
    assert world.store.history(0).open_intents == 0
    assert isinstance(world.store.of(0)[-1], VoidRecord)


def test_what_fails_on_most_rows_stops_the_run_and_its_rows_are_pending_again() -> None:
    unknown = error(400, code="unknown_parameter")

    def script(row: int, attempt: int, now: float) -> Step:
        return error(400, code="other") if row == 1 else unknown if row % 3 else ok()

    world = play(script, Setup(rows=1000, concurrency=4))
    assert isinstance(world.error, TooManyFailures)
    assert world.outcomes().keys() == {Outcome.OK, Outcome.FAILED}
    assert [row for row, outcome in world.store.ended.items() if outcome is Outcome.FAILED] == [1]
    reopened = [record for record in world.store.journal if isinstance(record, ReopenRecord)]
    assert len(reopened) == 19, "the twentieth stopped the run and was never ended"


def test_the_count_of_rows_done_forgets_what_was_reopened() -> None:
    world = play(lambda row, attempt, now: error(400, code="unknown_parameter"), Setup(rows=1000))
    assert isinstance(world.error, TooManyFailures)
    assert (world.tally.rows, +world.tally.failures, world.tally.examples) == (0, {}, {})


def test_paid_failures_stay_when_their_cause_stops_the_run() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        unknown = error(400, code="unknown_parameter", seconds=1.0)
        return Step(200, b"", 0.1) if row == 0 and attempt == 1 else unknown

    world = play(script, Setup(rows=1000))
    assert isinstance(world.error, TooManyFailures)
    assert world.store.ended == {0: Outcome.FAILED}
    assert world.end_of(0).paid_attempts == 1


def test_replies_that_are_no_api_stop_the_run_before_they_end_rows() -> None:
    world = play(lambda row, attempt, now: Step(200, b"<html>", 0.1), Setup(rows=1000, concurrency=8))
    assert isinstance(world.error, EndpointUnusable)
    assert not world.store.ended


def test_the_row_whose_last_allowed_reply_stops_the_run_is_pending_and_not_failed() -> None:
    world = play(lambda row, attempt, now: Step(200, b"<html>", 0.1), Setup(rows=2, concurrency=1))
    assert isinstance(world.error, EndpointUnusable)
    assert len(world.sent) == 6, "the third of each row"
    assert len(world.store.ended) == 1


def test_what_drains_with_the_fatal_failure_is_never_written_as_ended() -> None:
    unknown = error(400, code="unknown_parameter", seconds=1.0)
    world = play(lambda row, attempt, now: unknown, Setup(rows=1000, concurrency=8))
    assert isinstance(world.error, TooManyFailures)
    assert len(world.sent) > 20
    ends = [record for record in world.store.journal if isinstance(record, EndRecord)]
    assert len(ends) == 19


# --- the disk, and bugs -----------------------------------------------------------------------------------


def test_a_reply_that_cannot_be_kept_stops_the_run_with_its_intent_open() -> None:
    async def fill_up(world: World) -> None:
        await anyio.sleep(10.5)
        world.store.fail_keep = StorageError("no space left")

    world = play(lambda row, attempt, now: ok(), Setup(rows=400, meanwhile=fill_up))
    assert isinstance(world.error, StorageError)
    flying = [sent.row for sent in world.sent if sent.at >= 10]
    assert len(flying) == 4, "nothing was sent after the first write that failed"
    assert all(world.store.history(row).open_intents == 1 for row in flying)
    assert world.outcomes() == {Outcome.OK: len(world.sent) - 4}


def test_an_intent_that_cannot_be_written_sends_nothing() -> None:
    def prepare(world: World) -> None:
        world.store.fail_intent = StorageError("no space left")

    world = play(lambda row, attempt, now: ok(), Setup(rows=40, prepare=prepare))
    assert isinstance(world.error, StorageError)
    assert not world.sent
    assert world.flow.in_flight == 0


def test_rows_that_cannot_be_read_stop_the_run() -> None:
    def prepare(world: World) -> None:
        world.store.fail_rows = StorageError("damaged")

    world = play(lambda row, attempt, now: ok(), Setup(rows=40, prepare=prepare))
    assert isinstance(world.error, StorageError)


def test_a_bug_in_building_a_request_stops_the_run_after_paid_neighbours_are_stored() -> None:
    world = play(
        lambda row, attempt, now: ok(seconds=5.0), Setup(rows=40, concurrency=8, builder=Builder(broken=[10]))
    )
    assert isinstance(world.error, Bug)
    assert 10 not in world.store.ended
    assert {sent.row for sent in world.sent} == set(world.store.ended)
    assert len(world.sent) >= 9


def test_a_bug_in_an_exchange_stops_the_run_after_paid_neighbours_are_stored() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        if row == 10:
            raise Bug
        return ok(seconds=5.0)

    world = play(script, Setup(rows=100, concurrency=8))
    assert isinstance(world.error, Bug)
    assert set(world.store.ended) == {sent.row for sent in world.sent} - {10}
    assert world.store.history(10).open_intents == 1, "it may have been paid"


def test_a_bug_on_a_later_attempt_is_not_swallowed() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        if attempt == 2:
            raise Bug
        return error(500)

    world = play(script, Setup(rows=1))
    assert isinstance(world.error, Bug)
    assert not world.store.ended


# --- signals ----------------------------------------------------------------------------------------------


def test_stop_drains_what_is_in_flight_and_ends_when_it_is_home() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(21)
        world.engine.stop(Interrupted(2))

    world = play(
        lambda row, attempt, now: error(500) if row == 3 else ok(seconds=10.0),
        Setup(rows=400, meanwhile=interrupt),
    )
    assert isinstance(world.error, Interrupted)
    assert world.seconds == pytest.approx(30, abs=1), "rows in back-off are not waited for"
    assert not [sent for sent in world.sent if sent.at > 21]
    assert set(world.store.ended) == {sent.row for sent in world.sent} - {3}
    assert world.tally.in_flight == world.flow.in_flight == 0


def test_stop_while_everybody_is_held_back_sends_nothing_more() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(100)
        world.engine.stop(Interrupted(15))

    world = play(lambda row, attempt, now: error(429, retry_after="500"), Setup(rows=40, meanwhile=interrupt))
    assert isinstance(world.error, Interrupted)
    assert world.seconds == 100


def test_stop_while_the_store_has_no_rows_ends_at_once() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(100)
        world.engine.stop(Interrupted(15))

    world = play(
        lambda row, attempt, now: ok(), Setup(rows=40, seconds_per_chunk=1000.0, meanwhile=interrupt)
    )
    assert isinstance(world.error, Interrupted)
    assert world.seconds == 100


def test_stop_before_the_run_sends_nothing() -> None:
    world = play(
        lambda row, attempt, now: ok(), Setup(prepare=lambda world: world.engine.stop(Interrupted(2)))
    )
    assert isinstance(world.error, Interrupted)
    assert not world.log


def test_the_first_reason_to_stop_is_the_one_that_is_raised() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(0.05)
        world.engine.stop(Interrupted(2))
        world.engine.stop(StorageError("later"))

    world = play(lambda row, attempt, now: WRONG_KEY, Setup(rows=40, meanwhile=interrupt))
    assert isinstance(world.error, Interrupted)
    assert not world.store.ended


def test_abandon_cancels_what_is_in_flight_and_leaves_its_intents() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(21)
        assert world.engine.is_running
        world.engine.stop(Interrupted(2))
        await anyio.sleep(5)
        world.engine.abandon()

    world = play(
        lambda row, attempt, now: HANG if now > 10 else ok(),
        Setup(rows=400, concurrency=8, meanwhile=interrupt),
    )
    assert isinstance(world.error, Interrupted)
    assert world.seconds == 26
    flying = {sent.row for sent in world.sent} - set(world.store.ended)
    assert len(flying) == 8
    assert all([type(record) for record in world.store.of(row)] == [IntentRecord] for row in flying)
    assert world.tally.in_flight == world.flow.in_flight == 0
    assert not world.engine.is_running


def test_a_run_that_is_over_is_not_running_any_more() -> None:
    world = play(lambda row, attempt, now: ok())
    assert not world.engine.is_running
    assert world.engine.stopped_by is None


# --- rows that are never sent -----------------------------------------------------------------------------


def test_invalid_rows_and_answers_taken_over_send_nothing() -> None:
    builder = Builder(invalid=range(0, 1000, 2))
    world = play(lambda row, attempt, now: ok(), Setup(rows=1000, builder=builder, answers=range(1, 1000, 2)))
    assert not world.sent
    assert world.outcomes() == {Outcome.INVALID: 500, Outcome.OK: 500}
    assert world.tally.reused == 500


def test_rows_that_are_never_sent_let_the_event_loop_breathe() -> None:
    turns: list[int] = []

    async def count(world: World) -> None:
        done = 0
        while True:
            await anyio.lowlevel.checkpoint()
            turns.append(len(world.store.ended) - done)
            done = len(world.store.ended)

    setup = Setup(
        rows=5000, concurrency=64, builder=Builder(invalid=range(5000)), rows_per_chunk=5000, meanwhile=count
    )
    world = play(lambda row, attempt, now: ok(), setup)
    assert len(world.store.ended) == 5000
    assert max(turns) <= 2 * 256


def test_stop_ends_no_further_row_even_if_it_needs_no_exchange() -> None:
    async def interrupt(world: World) -> None:
        while len(world.store.ended) < 500:
            await anyio.lowlevel.checkpoint()
        world.engine.stop(Interrupted(2))

    builder = Builder(invalid=range(5000))
    setup = Setup(rows=5000, builder=builder, rows_per_chunk=5000, meanwhile=interrupt)
    world = play(lambda row, attempt, now: ok(), setup)
    assert isinstance(world.error, Interrupted)
    assert len(world.store.ended) < 2000


def test_an_empty_input_ends_at_once() -> None:
    world = play(lambda row, attempt, now: ok(), Setup(rows=0))
    assert (world.error, world.seconds, world.log) == (None, 0.0, [])


def test_nothing_is_kept_of_a_row_but_what_answers_its_intent() -> None:
    world = play(lambda row, attempt, now: ok(), Setup(rows=40))
    for row in range(40):
        assert [type(record) for record in world.store.of(row)] == [IntentRecord, ReplyRecord]
