"""Ten thousand rows against a server in trouble: nothing lost, nothing mixed up, nothing billed that was not paid."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from runs import LEDGER_KEY, answer_to, bodies_of, carry, make_job, marked, table_of, write_texts

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from pathlib import Path

    from runs import Ended

ROWS = 10_000
MIX = {
    "rate_limit": 0.10,
    "server_error": 0.05,
    "unavailable": 0.02,
    "reset": 0.02,
    "body_cut": 0.02,
    "malformed_json": 0.01,
    "error_in_200": 0.01,
}
CONFIG = SimulatorConfig(
    seed=5,
    faults=MIX,
    latency="fixed:0.25",  # a reset within 100 ms of sending would rightly count as not paid
    ledger_key=LEDGER_KEY,
)
LOST = frozenset({"reset", "body_cut", "malformed_json"})
"""Modes that generate an answer nobody can read."""


class Mixed(NamedTuple):
    ended: Ended
    rows: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    bodies: list[bytes]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    """One run of the whole mix; every test here looks at it."""
    folder: Path = tmp_path_factory.mktemp("mix")
    write_texts(folder / "in.jsonl", marked(ROWS))
    with launch(CONFIG) as simulator:
        job = make_job(folder, simulator.base_url, concurrency=512)
        ended = carry(job)
        ledger = simulator.ledger()
    rows = table_of(folder / "out.parquet")
    outcomes = Counter(row["outcome"] for row in rows)
    sys.stderr.write(
        f"fault mix: {len(rows)} rows, {dict(outcomes)}, {len(ledger)} requests,"
        f" {sum(entry['generated'] for entry in ledger)} generated,"
        f" {dict(Counter(entry['mode'] for entry in ledger))}, {ended.said.elapsed_s:.1f} s\n"
    )
    return Mixed(ended, rows, ledger, bodies_of(job))


def test_every_row_is_accounted_for_once_and_in_order(mixed: Mixed) -> None:
    assert [row["row_index"] for row in mixed.rows] == list(range(ROWS))
    assert [row["text"] for row in mixed.rows] == marked(ROWS)


def test_at_least_999_rows_in_1000_are_ok(mixed: Mixed) -> None:
    assert sum(row["outcome"] == "ok" for row in mixed.rows) >= 0.999 * ROWS
    assert mixed.ended.exit_code in {0, 3}


def test_the_mix_was_as_announced(mixed: Mixed) -> None:
    first = Counter(entry["mode"] for entry in mixed.ledger if entry["attempt"] == 1)
    for mode, share in MIX.items():
        assert 0.7 * share * ROWS < first[mode] < 1.3 * share * ROWS, mode


def test_each_completion_is_the_one_generated_for_its_row(mixed: Mixed) -> None:
    for row, body in zip(mixed.rows, mixed.bodies, strict=True):
        if row["outcome"] == "ok":
            text, prompt_tokens, completion_tokens = answer_to(body, seed=CONFIG.seed)
            assert row["completion"] == text
            assert (row["prompt_tokens"], row["completion_tokens"]) == (prompt_tokens, completion_tokens)


def test_no_429_and_no_5xx_is_charged_to_a_row(mixed: Mixed) -> None:
    """A row whose only trouble was unpaid has one paid attempt, and was not given up."""
    modes: dict[str, set[str]] = {}
    for entry in mixed.ledger:
        modes.setdefault(entry["key"], set()).add(entry["mode"])
    unpaid = {"rate_limit", "server_error", "unavailable", "ok"}
    spared = [row for row in mixed.rows if modes[str(row["row_index"])] <= unpaid]
    assert len(spared) > 0.9 * ROWS
    assert {(row["outcome"], row["paid_attempts"]) for row in spared} == {("ok", 1)}


def test_attempts_of_every_row_equal_the_requests_the_server_saw(mixed: Mixed) -> None:
    sent = Counter(entry["key"] for entry in mixed.ledger)
    assert {row["row_index"]: row["attempts"] for row in mixed.rows} == {
        int(key): count for key, count in sent.items()
    }
    assert mixed.ended.said.sent == len(mixed.ledger)


def test_paid_attempts_are_those_that_generated_or_may_have(mixed: Mixed) -> None:
    paid = Counter(
        entry["key"] for entry in mixed.ledger if entry["generated"] or entry["mode"] == "error_in_200"
    )
    assert {row["row_index"]: row["paid_attempts"] for row in mixed.rows} == {
        int(key): count for key, count in paid.items()
    }


def test_billed_tokens_add_up_to_the_answers_that_came_whole(mixed: Mixed) -> None:
    whole = [entry for entry in mixed.ledger if entry["generated"] and entry["mode"] not in LOST]
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(row[f"billed_{name}"] for row in mixed.rows) == sum(entry[name] for entry in whole)
        assert getattr(mixed.ended.said, name) == sum(entry[name] for entry in whole)
