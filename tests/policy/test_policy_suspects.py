"""Whose fault a fault is."""

from __future__ import annotations

from batcher.policy.suspects import Suspects


def own(suspects: Suspects, row: int, now: float) -> bool:
    suspects.failed(row, now)
    return suspects.latest_is_own


def test_a_row_is_to_blame_when_another_was_answered_since_it_failed() -> None:
    suspects = Suspects()
    assert not own(suspects, 1, 10.0), "once is no evidence"
    assert not own(suspects, 1, 11.0), "nobody was answered: it may be the endpoint"
    suspects.answered(2, sent_at=11.5)
    assert own(suspects, 1, 12.0)
    assert not own(suspects, 3, 12.0)
    assert not own(suspects, 1, 13.0), "nobody was answered since"
    suspects.answered(4, sent_at=12.9)
    assert not own(suspects, 1, 14.0), "it was sent before the row failed, perhaps before an outage"


def test_a_row_that_was_answered_or_is_done_is_forgotten() -> None:
    suspects = Suspects()
    for forget in (lambda row: suspects.answered(row, sent_at=1.0), suspects.ended):
        suspects.failed(1, 2.0)
        assert 1 in suspects
        forget(1)
        assert 1 not in suspects
        suspects.answered(2, sent_at=3.0)
        assert not own(suspects, 1, 4.0)
        suspects.ended(1)
