"""What is written when, around one attempt; and what a row may use up."""

from __future__ import annotations

import gc

import anyio
import pytest
from engine_world import HANG, REFUSED, Builder, Setup, Step, World, completion, error, lost, ok, play, unsent

from batcher.engine.attempt import VOIDS_PER_ROW
from batcher.engine.circumstances import Circumstances, charged
from batcher.engine.life import RowLife
from batcher.policy import Charge, RowFacts, RowLimits
from batcher.policy.table import TEMPLATES
from batcher.records import (
    EndRecord,
    FaultKind,
    IntentRecord,
    Outcome,
    Progress,
    ReplyRecord,
    Request,
    VoidRecord,
)


def kinds(world: World, row: int = 0) -> list[str]:
    return [kind for kind, of in world.log if of == row]


def test_an_answer_is_intended_then_exchanged_then_kept_then_finished() -> None:
    world = play(lambda row, attempt, now: ok())
    assert world.error is None
    assert kinds(world) == ["intent", "exchange", "reply", "keep", "finish"]


def test_a_reply_is_kept_before_anything_is_made_of_it() -> None:
    judged: list[int] = []

    def prepare(world: World) -> None:
        world.store.on_keep = lambda: judged.append(world.tally.paid + sum(world.tally.rules.values()))

    play(lambda row, attempt, now: ok(), Setup(prepare=prepare))
    assert judged == [0]


def test_a_200_that_is_no_json_is_kept_byte_for_byte() -> None:
    world = play(lambda row, attempt, now: ok() if attempt > 1 else Step(200, b"\xff\x00<html"))
    kept = [record.reply.body for record in world.store.of(0) if isinstance(record, ReplyRecord)]
    assert kept == [b"\xff\x00<html", completion()]


@pytest.mark.parametrize(
    "step",
    [lost(), Step(None, fault=FaultKind.READ_TIMEOUT, progress=Progress.SENT), error(504)],
    ids=["reset", "read timeout", "504"],
)
def test_what_may_have_been_paid_is_kept(step: Step) -> None:
    world = play(lambda row, attempt, now: ok() if attempt > 1 else step)
    kept = [record for record in world.store.of(0) if isinstance(record, ReplyRecord)]
    assert [(record.attempts, record.paid_attempts) for record in kept] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("step", [error(429), error(500), unsent(), error(409), REFUSED])
def test_what_is_certainly_unpaid_is_counted_and_not_kept(step: Step) -> None:
    world = play(lambda row, attempt, now: ok() if attempt > 2 else step)
    kept = [record for record in world.store.of(0) if isinstance(record, ReplyRecord)]
    assert [(record.attempts, record.paid_attempts) for record in kept] == [(3, 1)]


def test_an_unpaid_failure_voids_its_intent() -> None:
    world = play(lambda row, attempt, now: ok() if attempt > 1 else error(500))
    assert [type(record) for record in world.store.of(0)] == [
        IntentRecord,
        VoidRecord,
        IntentRecord,
        ReplyRecord,
    ]
    assert world.store.history(0).open_intents == 0


def test_a_storm_of_refusals_writes_a_few_records_per_row_only() -> None:
    world = play(lambda row, attempt, now: ok() if attempt > 200 else error(429, retry_after_ms="10"))
    written = [type(record) for record in world.store.of(0)]
    assert len(world.endpoint.of(0)) == 201
    assert written.count(VoidRecord) == VOIDS_PER_ROW
    assert written.count(IntentRecord) == VOIDS_PER_ROW + 1


def test_five_failures_of_one_row_end_it_while_its_neighbours_go_on() -> None:
    world = play(lambda row, attempt, now: error(500) if row == 3 else ok(), Setup(rows=400))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 399, Outcome.FAILED: 1}
    end = world.end_of(3)
    assert (end.error_type, end.status_code, end.attempts, end.paid_attempts) == ("server_error", 500, 5, 0)


def test_three_paid_failures_end_a_row() -> None:
    world = play(lambda row, attempt, now: lost() if row == 3 else ok(), Setup(rows=50))
    end = world.end_of(3)
    assert (end.error_type, end.attempts, end.paid_attempts, end.ambiguous) == ("connection_reset", 3, 3, 3)


def test_attempts_paid_in_earlier_sessions_count_and_are_counted_on() -> None:
    world = play(lambda row, attempt, now: lost() if row == 3 else ok(), Setup(rows=50, prior=(4, 2)))
    end = world.end_of(3)
    assert (end.attempts, end.paid_attempts) == (5, 3)
    kept = [record for record in world.store.of(0) if isinstance(record, ReplyRecord)]
    assert (kept[0].attempts, kept[0].paid_attempts) == (5, 3)


def test_refusals_inside_a_200_that_earlier_sessions_kept_do_not_end_a_row() -> None:
    throttled = Step(200, b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}', 0.1)
    world = play(lambda row, attempt, now: ok() if attempt > 9 else throttled, Setup(prior=(50, 50)))
    assert world.outcomes() == {Outcome.OK: 1}


def test_limits_of_the_user_hold() -> None:
    limits = RowLimits(max_attempts=2, max_paid_attempts=1)
    world = play(
        lambda row, attempt, now: {3: error(500), 4: lost()}.get(row, ok()), Setup(rows=50, limits=limits)
    )
    assert (world.end_of(3).attempts, world.end_of(4).attempts) == (2, 1)


def test_an_empty_answer_is_asked_for_once_more() -> None:
    world = play(lambda row, attempt, now: ok(finish=None) if row == 3 else ok(), Setup(rows=50))
    assert (world.end_of(3).attempts, world.end_of(3).paid_attempts) == (2, 2)


def test_an_error_that_no_retry_helps_ends_the_row_at_once() -> None:
    long = error(400, code="context_length_exceeded")
    world = play(lambda row, attempt, now: long if row == 3 else ok(), Setup(rows=50))
    end = world.end_of(3)
    assert (end.outcome, end.error_type, end.error_code, end.attempts) == (
        Outcome.FAILED,
        "context_length",
        "context_length_exceeded",
        1,
    )


def test_a_refusal_without_an_answer_is_an_outcome_of_its_own() -> None:
    world = play(lambda row, attempt, now: error(451) if row == 3 else ok(), Setup(rows=50))
    assert world.outcomes()[Outcome.REFUSED] == 1
    assert isinstance(world.store.history(3).end, EndRecord)


def test_a_row_that_names_its_own_model_fails_alone() -> None:
    unknown = error(404, code="model_not_found", message="no such model")
    world = play(
        lambda row, attempt, now: unknown if row == 3 else ok(),
        Setup(rows=50, builder=Builder(own_model=[3])),
    )
    assert world.error is None
    assert world.end_of(3).error_type == "model_not_found"


def test_a_404_after_answers_taken_over_is_not_trusted_as_one_after_answers_of_this_endpoint() -> None:
    world = play(lambda row, attempt, now: error(404), Setup(rows=300, answers=range(200)))
    assert world.error is not None
    assert world.error.args[0].startswith("404")
    assert len(world.sent) == 1


def test_a_reply_that_never_comes_ends_at_the_attempts_deadline() -> None:
    world = play(lambda row, attempt, now: HANG if (row, attempt) == (0, 1) else ok(), Setup(rows=8))
    first, second = world.endpoint.of(0)
    assert 600 <= second.at - first.at < 602
    assert world.outcomes() == {Outcome.OK: 8}


def test_a_deadline_set_by_the_user_is_the_attempts() -> None:
    world = play(
        lambda row, attempt, now: HANG if attempt == 1 else ok(), Setup(rows=1, concurrency=1, timeout_s=5.0)
    )
    assert 5 <= world.endpoint.of(0)[1].at < 7


def test_the_time_in_the_queue_does_not_count_the_last_exchange() -> None:
    world = play(lambda row, attempt, now: ok(seconds=10.0), Setup(rows=2, concurrency=1))
    queued = [record.queue_ms for record in world.store.journal if isinstance(record, ReplyRecord)]
    assert queued == [0.0, 0.0], "a worker takes a row only when it is free"


def test_a_row_that_waits_for_another_attempt_keeps_no_body_in_memory() -> None:
    held: list[int] = []

    async def look(world: World) -> None:
        await anyio.sleep(0.15)
        lives = [each for each in gc.get_objects() if isinstance(each, RowLife)]
        held.extend(len(each.reply.body) for each in lives if each.reply is not None)

    play(
        lambda row, attempt, now: ok() if attempt > 1 else Step(200, b"x" * 10_000, 0.1),
        Setup(meanwhile=look),
    )
    assert held == [0]


# --- circumstances ----------------------------------------------------------------------------------------


def life(row: int) -> RowLife:
    return RowLife(Request(row, b"{}", "hash", "m"), queued_at=0.0)


def test_all_that_is_left_has_failed_only_while_nobody_is_answered_since() -> None:
    around = Circumstances()
    first, second = life(1), life(2)
    for _ in range(3):
        around.begun()
    assert not around.around(first, is_dry=True).all_left_failed
    around.answered(is_ok=True)
    around.ended(3)
    assert not around.around(second, is_dry=True).all_left_failed, (
        "the first one's failure is older than the answer"
    )
    assert around.around(first, is_dry=True).all_left_failed
    assert not around.around(first, is_dry=False).all_left_failed, "other rows can still be had"


def test_answers_are_counted_from_the_rows_last_failure() -> None:
    around = Circumstances(in_hand=1)
    row = life(1)
    assert around.around(row, is_dry=False).answers_since_last_attempt == 1, "a first failure is charged"
    assert around.around(row, is_dry=False).answers_since_last_attempt == 0
    around.answered(is_ok=False)
    around.answered(is_ok=True)
    facts = around.around(row, is_dry=False)
    assert (facts.answers_since_last_attempt, facts.answers, around.ok) == (2, 2, 1)


@pytest.mark.parametrize("rule", ["rate_limit", "server_error", "no_reply", "conflict", "daily_limit"])
def test_what_a_budget_counts_is_charged_as_the_table_says(rule: str) -> None:
    verdict, facts = TEMPLATES[rule], RowFacts(0, 0.0, all_left_failed=True)
    assert charged(verdict, facts) == (verdict, facts)


@pytest.mark.parametrize(
    ("rule", "alone", "charges"),
    [
        ("not_sent", False, Charge.T),
        ("not_sent", True, Charge.T | Charge.R),
        ("stale_connection", True, Charge.T | Charge.R),
        ("connect", True, Charge.T),
    ],
)
def test_what_no_budget_counts_is_a_refusal_and_alone_an_attempt(
    rule: str, *, alone: bool, charges: Charge
) -> None:
    verdict, _ = charged(TEMPLATES[rule], RowFacts(1, 0.0, all_left_failed=alone))
    assert verdict.charges == charges | Charge.B


def test_the_flow_control_forgets_every_request_that_is_over() -> None:
    world = play(
        lambda row, attempt, now: ok() if attempt > 1 or row % 3 else lost(), Setup(rows=60, concurrency=8)
    )
    assert world.error is None
    assert world.flow.unanswered == 0
