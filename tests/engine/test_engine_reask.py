"""A row whose answer breaks the schema is asked again with the errors: at once, once, and after a crash the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from engine_world import Builder, Setup, World, error, lost, ok, play

from batcher.chat.contracts import contract_of
from batcher.chat.reask import asked_again
from batcher.engine.judging import Terms
from batcher.errors import StorageError
from batcher.policy import RowLimits
from batcher.records import Answer, Outcome, ReplyRecord, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_world import Step

    from batcher.policy import Verdict

MOOD = contract_of(
    labels={"mood": ("good", "bad"), "size": ("s", "l")}, response_format=None, tools=None, tool_choice=None
)
GOOD, BAD = '{"mood": "good", "size": "s"}', '{"mood": "so so", "size": "s"}'
MESSAGES = [{"role": "user", "content": "How do you feel?"}]
BODY = json.dumps({"model": "m", "messages": MESSAGES}).encode()


def setup(reask: int = 1, **more: Any) -> Setup:
    return Setup(builder=Builder(body=lambda n: BODY), terms=Terms(MOOD, reask), **more)


def answers(*steps: Step) -> Callable[[int, int, float], Step]:
    return lambda row, attempt, now: steps[attempt - 1]


def messages(world: World, attempt: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.endpoint.bodies[attempt - 1])["messages"]
    return found


def test_it_is_asked_again_at_once_with_its_answer_and_what_is_wrong_with_it() -> None:
    world = play(answers(ok(text=BAD), ok(text=GOOD)), setup())
    assert (world.error, world.outcomes()) == (None, {Outcome.OK: 1})
    assert [sent.at for sent in world.sent] == [0.0, 1.0]
    first, second = messages(world, 1), messages(world, 2)
    assert first == MESSAGES
    assert second[:2] == [*MESSAGES, {"role": "assistant", "content": BAD}]
    assert second[2]["role"] == "user"
    assert '/mood: "so so" is not one of "good" or "bad"' in second[2]["content"]
    assert world.store.history(0).open_intents == 0


def test_both_answers_are_kept_and_belong_to_the_rows_own_request() -> None:
    world = play(answers(ok(text=BAD), ok(text=GOOD)), setup())
    kept = [record for record in world.store.of(0) if isinstance(record, ReplyRecord)]
    assert [(record.attempts, record.paid_attempts) for record in kept] == [(1, 1), (2, 2)]
    assert len({record.request_hash for record in kept}) == 1
    assert (world.tally.paid, world.tally.attempts) == (2, 2)


def test_a_second_answer_that_does_not_fit_ends_the_row() -> None:
    world = play(answers(ok(text=BAD), ok(text="no")), setup())
    end = world.end_of(0)
    assert (end.outcome, end.error_type, end.attempts, end.paid_attempts) == (
        Outcome.FAILED,
        "schema_mismatch",
        2,
        2,
    )
    assert "not JSON" in (end.error_message or "")


@pytest.mark.parametrize("limits", [RowLimits(), RowLimits(max_paid_attempts=1)])
def test_a_row_is_not_asked_again_without_leave_or_beyond_its_paid_attempts(limits: RowLimits) -> None:
    world = play(answers(ok(text=BAD)), setup(reask=0 if limits.max_paid_attempts > 1 else 1, limits=limits))
    assert len(world.sent) == 1
    assert world.end_of(0).error_type == "schema_mismatch"


def test_an_answer_cut_at_the_token_limit_is_no_reason_to_ask_again() -> None:
    world = play(answers(ok(text='{"mood": "go', finish="length")), setup())
    assert (len(world.sent), world.outcomes()) == (1, {Outcome.TRUNCATED: 1})


def test_what_is_asked_again_is_repeated_when_the_server_fails_in_between() -> None:
    world = play(answers(ok(text=BAD), error(500), lost(), ok(text=GOOD)), setup())
    assert world.outcomes() == {Outcome.OK: 1}
    assert len(world.sent) == 4
    assert messages(world, 2) == messages(world, 3) == messages(world, 4) != MESSAGES


def test_broken_answers_are_no_failure_of_the_endpoint() -> None:
    told: list[str] = []

    def prepare(world: World) -> None:
        listen = world.flow.on_verdict

        def on_verdict(verdict: Verdict, now: float) -> None:
            told.append(verdict.rule)
            listen(verdict, now)

        world.flow.on_verdict = on_verdict  # type: ignore[method-assign]

    world = play(lambda row, attempt, now: ok(text=BAD), setup(rows=400, prepare=prepare))
    assert set(told) == {"ok"}
    assert world.error is None
    assert world.outcomes() == {Outcome.FAILED: 400}
    assert len(world.sent) == 800


def test_after_a_crash_between_the_two_the_same_second_request_is_made_and_the_first_is_not_bought_again() -> (
    None
):
    def crash_after_the_first(world: World) -> None:
        def crash() -> None:
            if world.store.of(0)[-1:] and any(isinstance(each, ReplyRecord) for each in world.store.of(0)):
                raise StorageError("the power went")

        world.store.on_keep = crash

    whole = play(answers(ok(text=BAD), ok(text=GOOD)), setup())
    first = play(answers(ok(text=BAD), ok(text=GOOD)), setup(prepare=crash_after_the_first))
    assert isinstance(first.error, StorageError)
    assert first.store.ended == {}
    first.store.go_on()
    first.store.on_keep = lambda: None
    second = play(answers(ok(text=GOOD)), setup(store=first.store))
    assert second.outcomes() == {Outcome.OK: 1}
    assert second.endpoint.bodies == whole.endpoint.bodies[1:]


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("calls", "roles"),
    [
        ([CALL], ["assistant", "tool", "user"]),
        ([CALL, {**CALL, "id": "c2"}], ["assistant", "tool", "tool", "user"]),
        ([{**CALL, "id": None}], ["assistant", "user"]),  # no server takes a call without an id
        ([{**CALL, "function": {"name": "f", "arguments": {}}}], ["assistant", "user"]),
        (None, ["assistant", "user"]),
    ],
)
def test_calls_are_answered_as_the_api_wants_it(calls: list[dict[str, Any]] | None, roles: list[str]) -> None:
    request = Request(0, BODY, "0" * 32, "m")
    answer = Answer(tool_calls=None if calls is None else json.dumps(calls))
    again = asked_again(request, answer, "call 0: arguments of f: /: wrong")
    said = json.loads(again.body)["messages"][1:]
    assert [each["role"] for each in said] == roles
    assert (again.request_hash, again.row_index) == (request.request_hash, 0)
    assert all(each.get("content") or each.get("tool_calls") for each in said)
    assert "arguments of f" in said[-1]["content"]
