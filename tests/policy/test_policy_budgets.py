"""What a row may use up, and what charges it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.policy import Action, Charge, RowBudget, RowFacts, RowLimits, Verdict
from batcher.policy.table import TEMPLATES

LIMITS = RowLimits()
FAULT = TEMPLATES["server_error"]
NO_REPLY = TEMPLATES["no_reply"]
THROTTLED = TEMPLATES["rate_limit"]
STALE = TEMPLATES["stale_connection"]
NO_ANSWER = TEMPLATES["no_answer"]


def facts(
    answers_since: int = 1, *, apart_s: float = 1.0, alone: bool = False, answers: int = 0, well: bool = False
) -> RowFacts:
    return RowFacts(answers_since, apart_s, alone, answers, was_well=well)


def spend(verdict: Verdict, times: int, each: RowFacts) -> RowBudget:
    budget = RowBudget()
    for _ in range(times):
        budget = budget.after(verdict, each)
    return budget


def test_five_failures_while_others_are_answered_end_a_row() -> None:
    assert spend(FAULT, 4, facts(well=True)).exhausted(LIMITS) is None
    assert spend(FAULT, 5, facts(well=True)).exhausted(LIMITS) == "attempts"


def test_slow_answers_from_before_an_outage_alone_end_no_row() -> None:
    late = spend(FAULT, 9, facts())
    assert late.exhausted(LIMITS) is None
    assert late.after(FAULT, facts(well=True)).exhausted(LIMITS) == "attempts", "now it is known for its own"
    alone = facts(0, apart_s=180.0, alone=True)
    assert late.after(FAULT, alone).charged == 2, "they count once when every row left has failed"
    assert spend(FAULT, 1, facts()).exhausted(RowLimits(max_attempts=1)) == "attempts", "one is one"


def test_an_outage_in_which_nobody_is_answered_ends_no_row() -> None:
    assert spend(FAULT, 500, facts(0)).exhausted(LIMITS) is None


def test_the_last_rows_end_by_attempts_three_minutes_apart_only() -> None:
    # The first one is not charged, then every second one comes 358 s after the last that was.
    assert spend(FAULT, 10, facts(0, apart_s=179.0, alone=True)).charged == 4
    assert spend(FAULT, 6, facts(0, apart_s=180.0, alone=True)).exhausted(LIMITS) == "attempts"
    assert spend(FAULT, 5, facts(0, apart_s=180.0, alone=True)).exhausted(LIMITS) is None


def test_a_last_row_that_failed_while_the_endpoint_was_well_ends_by_attempts_a_minute_apart() -> None:
    own = RowBudget().after(FAULT, facts()).after(FAULT, facts(well=True))
    for _ in range(3):
        assert own.exhausted(LIMITS) is None
        own = own.after(FAULT, facts(0, apart_s=60.0, alone=True))
    assert own.exhausted(LIMITS) == "attempts"


def test_charges_for_what_turns_out_to_be_an_outage_are_taken_back() -> None:
    budget = RowBudget()
    for second in range(5):
        budget = budget.after(FAULT, replace(facts(well=True), sent_at=float(second)))
    assert budget.exhausted(LIMITS) == "attempts"
    assert budget.forgiven(lambda verdict, sent_at: sent_at > 3).charged == 4
    conflicts = spend(TEMPLATES["conflict"], 5, facts())
    assert conflicts.forgiven(lambda verdict, sent_at: True).charged == 5, "no fault, so no outage's"


def test_probes_of_an_outage_are_charged_only_when_every_row_left_has_failed_and_three_minutes_apart() -> (
    None
):
    def probed(apart_s: float, *, alone: bool) -> RowBudget:
        return spend(FAULT, 6, replace(facts(1, apart_s=apart_s, alone=alone), in_outage=True))

    assert probed(600.0, alone=False).charged == 0
    assert probed(179.0, alone=True).charged < 3
    budget = probed(180.0, alone=True)
    assert budget.forgiven(lambda verdict, sent_at: True).exhausted(LIMITS) == "attempts", "for good"


def test_paid_and_ambiguous_attempts_are_always_charged() -> None:
    assert spend(NO_REPLY, 2, facts(0)).exhausted(LIMITS) is None
    assert spend(NO_REPLY, 3, facts(0)).exhausted(LIMITS) == "paid_attempts"


def test_attempts_paid_in_earlier_sessions_count() -> None:
    assert RowBudget().resumed(2).after(NO_REPLY, facts(0)).exhausted(LIMITS) == "paid_attempts"


def test_throttling_costs_a_row_nothing() -> None:
    budget = spend(THROTTLED, 5_000, facts(1, answers=0))
    assert (budget.charged, budget.paid, budget.exhausted(LIMITS)) == (0, 0, None)


def test_a_row_refused_a_hundred_times_while_a_thousand_succeed_is_throttled() -> None:
    budget = RowBudget()
    for n in range(100):
        budget = budget.after(THROTTLED, facts(1, answers=10 * n))
    assert budget.exhausted(LIMITS) is None, "990 others succeeded since its first refusal"
    assert budget.after(THROTTLED, facts(1, answers=1_000)).exhausted(LIMITS) == "throttled"


def test_an_empty_answer_is_tried_exactly_once_more() -> None:
    assert spend(NO_ANSWER, 1, facts(0)).exhausted(LIMITS) is None
    assert spend(NO_ANSWER, 2, facts(0)).exhausted(LIMITS) == "retries"


def test_the_first_unsent_attempt_takes_nothing_from_the_bucket() -> None:
    first = RowBudget()
    assert first.bucket_cost(STALE) == 0
    then = first.after(STALE, facts())
    assert then.free_used
    assert then.bucket_cost(STALE) == 1
    assert then.bucket_cost(THROTTLED) == 0


verdicts = st.lists(
    st.sampled_from([v for v in TEMPLATES.values() if v.action in {Action.RETRY, Action.PARK}])
)


@settings(max_examples=100, deadline=None)
@given(verdicts=verdicts, answers=st.integers(0, 3))
def test_a_budget_only_ever_shrinks_and_counts_every_attempt(verdicts: list[Verdict], answers: int) -> None:
    budget = RowBudget()
    for n, verdict in enumerate(verdicts, start=1):
        after = budget.after(verdict, facts(answers))
        assert after.attempts == n
        assert after.charged >= budget.charged
        assert after.paid - budget.paid == (Charge.P in verdict.charges)
        budget = after
