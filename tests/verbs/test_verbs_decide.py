"""Every rule of `decide`, as a table: what stands there, what is wished, what is done."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from batcher.store.footer import FileFacts
from batcher.store.run_facts import RunFacts
from batcher.verbs.decide import Decision, Place, Step, Wish, decide

SAME, OTHER = "f" * 32, "e" * 32
ROWS = 10
FACTS = RunFacts(
    run_id="run-1", created_at=0.0, version="0", fingerprint=SAME, parts={}, job={}, job_name="", scan={},
    base_url="", simulated=False, output="/o.parquet",
)  # fmt: skip
FILE = FileFacts(
    version="0", run_id="run-1", fingerprint=SAME, base_url="", simulated=False, complete=True,
    prices_version=None, session=1, model="m", created_at=0.0,
)  # fmt: skip

NOTHING = Place(facts=None, is_published=False, output_exists=False, output=None, output_rows=None)
FOREIGN_FILE = replace(NOTHING, output_exists=True)
OURS_ALONE = replace(NOTHING, output_exists=True, output=FILE, output_rows=ROWS)
CHANGED_ALONE = replace(OURS_ALONE, output=replace(FILE, fingerprint=OTHER))
BEGUN = replace(NOTHING, facts=FACTS)
BEGUN_FRESH = replace(NOTHING, facts=replace(FACTS, fresh=True))
BEGUN_IN_PLACE_OF = replace(
    BEGUN,
    facts=replace(FACTS, replaces="run-0"),
    output_exists=True,
    output=replace(FILE, run_id="run-0", fingerprint=OTHER),
    output_rows=ROWS,
)
BEGUN_FOREIGN = replace(BEGUN, output_exists=True)
BEGUN_OTHER_RUN = replace(BEGUN, output_exists=True, output=replace(FILE, run_id="run-9"), output_rows=ROWS)
RENAMED_NOT_RECORDED = replace(BEGUN, output_exists=True, output=FILE, output_rows=ROWS)
PUBLISHED = replace(RENAMED_NOT_RECORDED, is_published=True)
PUBLISHED_GONE = replace(BEGUN, is_published=True)
PUBLISHED_OVERWRITTEN = replace(PUBLISHED_GONE, output_exists=True)
PUBLISHED_OTHER_RUN = replace(PUBLISHED, output=replace(FILE, run_id="run-9"))
PUBLISHED_INCOMPLETE = replace(PUBLISHED, output=replace(FILE, complete=False))
BEGUN_EXPORTED = replace(PUBLISHED_INCOMPLETE, is_published=False)
EXPORT_ALONE = replace(PUBLISHED_INCOMPLETE, facts=None, is_published=False)

WISH = Wish(SAME, ROWS)
CHANGED = Wish(OTHER, ROWS)
MORE_ROWS = Wish(SAME, ROWS + 5)
REPLACE, FRESH = {"replace": True}, {"fresh": True}


class Case(NamedTuple):
    rule: str
    place: Place
    wish: Wish
    step: Step
    replaces: str | None = None
    takes_over: bool = True


def with_(wish: Wish, **options: bool) -> Wish:
    return replace(wish, **options)  # type: ignore[arg-type]


CASES = [
    # 1. nothing was begun
    Case("a free name begins", NOTHING, WISH, Step.BEGIN),
    Case("a free name begins, with --replace too", NOTHING, with_(WISH, replace=True), Step.BEGIN),
    Case("a foreign file is left alone", FOREIGN_FILE, WISH, Step.REFUSE_FOREIGN),
    Case("a foreign file is left alone, --replace", FOREIGN_FILE, with_(WISH, replace=True), Step.REFUSE_FOREIGN),
    Case("a foreign file is left alone, --fresh", FOREIGN_FILE, with_(WISH, fresh=True), Step.REFUSE_FOREIGN),
    Case("our output, same job: finished", OURS_ALONE, WISH, Step.FINISHED),
    Case("our output, same job, --replace: still finished", OURS_ALONE, with_(WISH, replace=True), Step.FINISHED),
    Case("our output, same job, --fresh: all over", OURS_ALONE, with_(WISH, fresh=True), Step.REPLACE, "run-1", False),
    Case("our output, other job", CHANGED_ALONE, WISH, Step.REFUSE_CHANGED),
    Case("our output, other job, --replace", CHANGED_ALONE, with_(WISH, replace=True), Step.REPLACE, "run-1"),
    Case("our output, other job, --fresh", CHANGED_ALONE, with_(WISH, fresh=True), Step.REPLACE, "run-1", False),
    Case("our output, more rows wanted", OURS_ALONE, MORE_ROWS, Step.REPLACE, "run-1"),
    # 2. a run of the same fingerprint
    Case("goes on", BEGUN, WISH, Step.RESUME),
    Case("goes on, with --replace too", BEGUN, with_(WISH, replace=True), Step.RESUME),
    Case("goes on when killed between rename and record", RENAMED_NOT_RECORDED, WISH, Step.RESUME),
    Case("goes on towards a replacement", BEGUN_IN_PLACE_OF, WISH, Step.RESUME),
    Case("a foreign file came meanwhile", BEGUN_FOREIGN, WISH, Step.REFUSE_FOREIGN),
    Case("another run's output came meanwhile", BEGUN_OTHER_RUN, WISH, Step.REFUSE_FOREIGN),
    Case("--fresh begins over", BEGUN, with_(WISH, fresh=True), Step.BEGIN, None, False),
    Case("--fresh goes on with what was begun fresh", BEGUN_FRESH, with_(WISH, fresh=True), Step.RESUME),
    Case("without --fresh as well", BEGUN_FRESH, WISH, Step.RESUME),
    Case("finished", PUBLISHED, WISH, Step.FINISHED),
    Case("finished, --replace", PUBLISHED, with_(WISH, replace=True), Step.FINISHED),
    Case("finished, --fresh: all over", PUBLISHED, with_(WISH, fresh=True), Step.REPLACE, "run-1", False),
    Case("more rows wanted", PUBLISHED, MORE_ROWS, Step.REPLACE, "run-1"),
    Case("fewer rows wanted: they are there", PUBLISHED, Wish(SAME, ROWS - 1), Step.FINISHED),
    Case("the output was deleted", PUBLISHED_GONE, WISH, Step.BEGIN),
    Case("the output was overwritten", PUBLISHED_OVERWRITTEN, WISH, Step.REFUSE_FOREIGN),
    Case("the output was overwritten, --fresh", PUBLISHED_OVERWRITTEN, with_(WISH, fresh=True), Step.REFUSE_FOREIGN),
    Case("another run's output stands there", PUBLISHED_OTHER_RUN, WISH, Step.REFUSE_FOREIGN),
    Case("an export from the middle of it stands there", BEGUN_EXPORTED, WISH, Step.REFUSE_FOREIGN),
    Case("an export took the place of the output", PUBLISHED_INCOMPLETE, WISH, Step.REFUSE_FOREIGN),
    Case("an export is no finished output", EXPORT_ALONE, WISH, Step.REPLACE, "run-1"),
    # 3. a run of another fingerprint
    Case("changed", BEGUN, CHANGED, Step.REFUSE_CHANGED),
    Case("changed after the end", PUBLISHED, CHANGED, Step.REFUSE_CHANGED),
    Case("changed, --replace", BEGUN, with_(CHANGED, replace=True), Step.BEGIN),
    Case("changed, --fresh", BEGUN, with_(CHANGED, fresh=True), Step.BEGIN, None, False),
    Case("changed after the end, --replace", PUBLISHED, with_(CHANGED, replace=True), Step.REPLACE, "run-1"),
    Case("changed after the end, --fresh", PUBLISHED, with_(CHANGED, fresh=True), Step.REPLACE, "run-1", False),
    Case("changed, foreign output, --replace", BEGUN_FOREIGN, with_(CHANGED, replace=True), Step.REFUSE_FOREIGN),
    Case(
        "changed on the way to a replacement, --replace: the old output is still the one to replace",
        BEGUN_IN_PLACE_OF, Wish("d" * 32, ROWS, replace=True), Step.REPLACE, "run-0",
    ),
    Case(
        "changed back to the job of the output that still stands: it is finished",
        BEGUN_IN_PLACE_OF, CHANGED, Step.FINISHED,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_rule(case: Case) -> None:
    found = decide(case.place, case.wish)
    assert found.step is case.step
    if found.step in {Step.BEGIN, Step.REPLACE}:
        assert (found.replaces, found.takes_over) == (case.replaces, case.takes_over)


def test_only_a_run_that_lost_its_output_begins_with_a_word_to_the_person() -> None:
    assert decide(PUBLISHED_GONE, WISH).reason
    assert decide(NOTHING, WISH) == Decision(Step.BEGIN)


def test_nothing_foreign_is_ever_replaced_whatever_is_wished() -> None:
    """All places where a file stands that is not ours, with every wish."""
    foreign = [FOREIGN_FILE, BEGUN_FOREIGN, PUBLISHED_OVERWRITTEN]
    for place in foreign:
        for fingerprint in (SAME, OTHER):
            for flags in (REPLACE, FRESH, REPLACE | FRESH):
                step = decide(place, Wish(fingerprint, ROWS, **flags)).step
                assert step in {Step.REFUSE_FOREIGN, Step.REFUSE_CHANGED}, (place, fingerprint, flags)


def test_without_a_word_no_output_of_another_job_is_replaced() -> None:
    for place in (CHANGED_ALONE, PUBLISHED_OTHER_RUN, BEGUN_OTHER_RUN):
        assert decide(place, WISH).step in {Step.REFUSE_CHANGED, Step.REFUSE_FOREIGN}
