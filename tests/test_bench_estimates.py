"""The measurement of estimates, small: one seed, 400 rows of each corpus, the bounds that the large one is held to."""

from __future__ import annotations

import pytest
from estimates import CORPORA, measure


@pytest.mark.parametrize("name", CORPORA)
def test_estimates_are_near_what_the_simulator_counts(name: str) -> None:
    corpus = CORPORA[name]
    off = measure(corpus, 3, 400)
    assert abs(off.estimate) < 0.25
    assert abs(off.earlier) < 0.25
    assert off.holds
    assert off.completions > 0.4 or abs(off.tried) < 0.1
