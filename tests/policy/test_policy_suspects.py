"""Whose fault a fault is."""

from __future__ import annotations

from batcher.policy.suspects import Suspects


def own(suspects: Suspects, row: int) -> bool:
    suspects.failed(row)
    return suspects.latest_is_own


def test_a_row_is_to_blame_when_another_was_answered_since_it_failed() -> None:
    suspects = Suspects()
    assert not own(suspects, 1), "once is no evidence"
    assert not own(suspects, 1), "nobody was answered: it may be the endpoint"
    suspects.answered(2)
    assert own(suspects, 1)
    assert not own(suspects, 3)
    assert not own(suspects, 1), "nobody was answered since"


def test_a_row_that_was_answered_or_is_done_is_forgotten() -> None:
    suspects = Suspects()
    for forget in (suspects.answered, suspects.ended):
        suspects.failed(1)
        assert 1 in suspects
        forget(1)
        assert 1 not in suspects
        suspects.answered(2)
        assert not own(suspects, 1)
