"""What is counted for progress and summary."""

from __future__ import annotations

import pytest
from engine_world import Setup, Step, World, error, lost, ok, play

from batcher.engine import Tally
from batcher.records import EndRecord, Outcome


def script(row: int, attempt: int, now: float) -> Step:
    """Of four rows: answered; answered after an empty reply; refused for rate first; lost for good."""
    if row == 1 and attempt == 1:
        return ok(text="", finish=None)
    if row == 2 and attempt <= 3:
        return error(429)
    return lost() if row == 3 else ok()


def test_attempts_payments_and_throttlings_are_counted() -> None:
    tally = play(script, Setup(rows=4)).tally
    assert (tally.rows, tally.outcomes_ok, tally.outcomes[Outcome.FAILED]) == (4, 3, 1)
    assert (tally.attempts, tally.throttled) == (1 + 2 + 4 + 3, 3)
    assert (tally.paid, tally.ambiguous) == (4, 3)
    assert (tally.prompt_tokens, tally.completion_tokens) == (28, 12)
    assert tally.rules["no_reply"] == 3


def test_a_cost_is_unknown_until_one_is_known() -> None:
    assert play(script, Setup(rows=4)).tally.cost_usd is None


def test_what_did_not_become_an_answer_is_counted_as_repeated() -> None:
    def prepare(world: World) -> None:
        world.tally.price = lambda asked, answered, usage: 0.5

    tally = play(script, Setup(rows=4, prepare=prepare)).tally
    assert (tally.cost_usd, tally.repeated_cost_usd) == (2.0, 0.5)


def test_failures_are_grouped_with_one_example_each() -> None:
    tally = Tally(price=lambda asked, answered, usage: None)
    for row, message in enumerate(("first", "second")):
        tally.ended(Outcome.FAILED, EndRecord(row, Outcome.FAILED, "bad_request", "c", message))
    key = ("failed", "bad_request", "c")
    assert (tally.failures, tally.examples) == ({key: 2}, {key: "first"})


@pytest.mark.parametrize("reopened", [1, 2])
def test_a_reopened_row_is_as_if_it_had_not_ended(reopened: int) -> None:
    tally = Tally(price=lambda asked, answered, usage: None)
    ends = [EndRecord(row, Outcome.FAILED, "bad_request", "c", "no") for row in range(2)]
    for end in ends:
        tally.ended(end.outcome, end)
    for end in ends[:reopened]:
        tally.reopened(end)
    assert tally.rows == 2 - reopened
    assert sum(tally.failures.values()) == 2 - reopened
    assert len(tally.examples) == (reopened < 2)
