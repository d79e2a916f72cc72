"""The summary as data: one JSON object of plain types, whose words a scheduler can rely on."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import get_args

import orjson
from report_samples import LABELS

from batcher import errors
from batcher.errors import BatcherError
from batcher.report import Summary


def test_it_is_one_json_object_of_plain_types() -> None:
    found = orjson.loads(orjson.dumps(LABELS.to_json()))
    assert set(found) == {each.name for each in fields(Summary)}
    assert found["exit_reason"] == "rows_not_ok"
    assert found["next"] == "retry_rows"
    assert found["outcomes"]["ok"] == 199_688
    assert found["failures"][1]["error_type"] == "context_length"


def test_unknown_is_null_and_never_zero() -> None:
    found = Summary(verb="run").to_json()
    assert [found[name] for name in ("output", "rows_total", "cost_usd", "repeated_cost_usd")] == [None] * 4


def test_not_ok_counts_everything_else() -> None:
    assert LABELS.not_ok == 312
    assert replace(LABELS, outcomes={}).not_ok == 0
    assert replace(LABELS, outcomes={"ok": 4}).not_ok == 0


def test_what_helps_is_a_known_word_for_every_error() -> None:
    known = set(get_args(errors.NextStep))
    kinds: list[type[BatcherError]] = [BatcherError, *BatcherError.__subclasses__()]
    for error in kinds:
        assert error.next_step in known
        assert error.exit_reason
