"""What was spent, held against what the endpoint says it generated: every dollar once, and none too many."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from verb_runs import killed, simulator, write_rows

from batcher.cli.group import cli
from batcher.errors import BatcherError
from batcher.job import JobOptions, load_job
from batcher.store.ledger import LedgerEntry, append_ledger, read_ledger
from batcher.verbs.cost import CostWish, cost
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run
from batcher.verbs.trial import try_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batcher.report.bill import Bill
    from batcher.simulator.launch import Simulator

OPTIONS = RunOptions(environ={})
SHARE = 0.5
WHOLE = {"finish_null": 0.1, "choices_empty": 0.05, "length": 0.05}
"""Faults after which every paid reply arrives whole, with its usage."""


def bill_of(*paths: Path, **wish: Any) -> Bill:
    return cost(paths, CostWish(**wish), now=time.time())


def texts(first: int, last: int) -> list[str]:
    return [f"ticket {number} " + "where is my parcel? " * 30 for number in range(first, last)]


def night(at: Simulator, folder: Path, number: int, rows: Sequence[str], **options: Any) -> None:
    """One night's task; it takes over the answers of every night before."""
    given = JobOptions(
        input=str(write_rows(folder / f"in-{number}.jsonl", rows)),
        output=str(folder / "out" / f"night-{number}.parquet"),
        model="gpt-4o",
        prompt="Label: {{ text }}",
        base_url=at.base_url,
        concurrency=8,
    )
    job = load_job(None, sets=[f'tags.night="{number}"'], options=given)
    if "tried" in options:
        try_rows(job, OPTIONS, count=options["tried"])
    if not options.get("only_tried"):
        run(job, replace(OPTIONS, reuse=(str(folder / "out" / "*.parquet"),)))


def paid_by_hand(at: Simulator) -> float:
    """The endpoint's own account of what it generated, at OpenAI's published prices of gpt-4o."""
    total = Decimal(0)
    for entry in at.ledger():
        if entry["generated"]:
            cached = int(entry["prompt_tokens"] * SHARE)
            fresh = entry["prompt_tokens"] - cached
            total += (
                fresh * Decimal("2.5") + cached * Decimal("1.25") + entry["completion_tokens"] * Decimal(10)
            )
    return float(total / 1_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path


def test_outputs_trials_and_stopped_sessions_sum_to_what_the_endpoint_generated(folder: Path) -> None:
    """A month of nights with reuse: three of them, one with a trial, one stopped and continued, one only tried."""
    with simulator(cached_share=SHARE, faults=WHOLE) as at:
        night(at, folder, 1, texts(0, 60), tried=10)
        at.control(fail_after={"unauthorized": at.totals()["generated"] + 15})
        with pytest.raises(BatcherError):
            night(at, folder, 2, texts(20, 80))
        stopped = bill_of(folder / "out")
        assert stopped.total.cost_usd == pytest.approx(paid_by_hand(at), abs=1e-9)
        assert stopped.apart.stopped == 1
        assert stopped.apart.stopped_usd > 0
        at.control(fail_after={})
        night(at, folder, 2, texts(20, 80))
        night(at, folder, 3, texts(40, 100))
        night(at, folder, 4, texts(300, 340), tried=5, only_tried=True)
        paid = paid_by_hand(at)
    bill = bill_of(folder / "out", by=("tag_night", "kind"))
    assert bill.total.cost_usd == pytest.approx(paid, abs=1e-9)
    assert (bill.files, bill.total.rows, bill.apart.tries, bill.apart.stopped) == (3, 180, 2, 0)
    assert bill.apart.possibly_paid == 0
    spent = {tuple(group.by.values()): group.cost_usd for group in bill.groups}
    assert set(spent) == {("1", "rows"), ("1", "try"), ("2", "rows"), ("3", "rows"), ("4", "try")}
    assert bill.apart.tries_usd == pytest.approx((spent["1", "try"] or 0) + (spent["4", "try"] or 0))
    rows = [row for path in folder.glob("out/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert bill.apart.not_ok_usd == pytest.approx(sum(r["cost_usd"] for r in rows if r["outcome"] != "ok"))
    assert bill.apart.not_ok_usd > 0
    assert {row["cost_source"] for row in rows if row["paid_attempts"]} == {"prices"}

    # the same by other ways in, and copies of it are nothing new
    ledger = folder / "out" / ".batcher" / "ledger.jsonl"
    assert bill_of(ledger).total.cost_usd == pytest.approx(paid, abs=1e-9)
    shutil.copy(folder / "out" / "night-2.parquet", folder / "copy-of-night-2.parquet")
    both = bill_of(folder, folder / "out", ledger, folder / "out" / "night-1.parquet")
    assert both.total.cost_usd == pytest.approx(paid, abs=1e-9)
    assert any("copy" in note for note in both.notes)
    one = bill_of(folder / "out" / "night-1.parquet")
    assert one.total.cost_usd == pytest.approx((spent["1", "rows"] or 0) + (spent["1", "try"] or 0))
    (folder / "out" / "night-3.parquet").unlink()
    without = bill_of(folder / "out")
    assert without.total.cost_usd == pytest.approx(paid, abs=1e-9), "the ledger still tells of it"
    assert without.apart.stopped == 1


def test_with_cuts_and_kills_the_difference_is_within_what_was_possibly_paid(folder: Path) -> None:
    rows = write_rows(folder / "in.jsonl", texts(0, 80))
    output = folder / "out" / "night.parquet"
    faults = {"body_cut": 0.08, "gzip_cut": 0.04}
    with simulator(cached_share=SHARE, faults=faults) as at:
        sets = ("prices.m.input=2.5", "prices.m.cached_input=1.25", "prices.m.output=10")
        killed(at, rows, output, after=30)
        given = JobOptions(
            input=str(rows), output=str(output), model="m", prompt="Say something about {{ text }}.",
            base_url=at.base_url, concurrency=4,
        )  # fmt: skip
        run(load_job(None, sets=sets, options=given), OPTIONS)
        paid = paid_by_hand(at)
    bill = bill_of(folder / "out")
    assert bill.total.cost_usd is not None
    assert bill.apart.possibly_paid > 5
    assert bill.apart.possibly_paid_usd is not None
    assert bill.total.cost_usd < paid
    assert paid - bill.total.cost_usd <= bill.apart.possibly_paid_usd


@pytest.mark.parametrize("in_header", [False, True])
def test_the_gateways_word_stands_for_every_attempt_that_it_spoke_of(
    folder: Path, *, in_header: bool
) -> None:
    faults = {"finish_null": 0.2}
    with simulator(gateway_price=3.0, gateway_header=in_header, faults=faults) as at:
        night(at, folder, 1, texts(0, 40))
        generated = [entry for entry in at.ledger() if entry["generated"]]
    told = sum((entry["prompt_tokens"] + entry["completion_tokens"]) * 3.0 for entry in generated) / 1e6
    rows = pq.read_table(folder / "out" / "night-1.parquet").to_pylist()
    assert len(generated) > len(rows)
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(told)
    assert {row["cost_source"] for row in rows} == {"gateway"}
    assert bill_of(folder / "out").total.cost_usd == pytest.approx(told)


def test_what_a_run_spent_beyond_its_rows_stands_on_a_line_of_its_own(folder: Path) -> None:
    with simulator() as at:
        night(at, folder, 1, texts(0, 10))
    before = bill_of(folder / "out").total.cost_usd or 0.0
    ledger = folder / "out" / ".batcher" / "ledger.jsonl"
    (entry,) = read_ledger(ledger)
    append_ledger(ledger, replace(entry, session=2, cost_usd=0.25, possibly_paid=3))
    after = bill_of(folder / "out")
    assert after.total.cost_usd == pytest.approx(before + 0.25)
    assert after.apart.beyond_rows_usd == pytest.approx(0.25)
    assert after.apart.possibly_paid == 3


def test_simulated_runs_are_no_spending_and_are_said(folder: Path) -> None:
    given = JobOptions(
        input=str(write_rows(folder / "in.jsonl", texts(0, 5))), output=str(folder / "out" / "o.parquet"),
        model="gpt-4o", prompt="{{ text }}",
    )  # fmt: skip
    run(load_job(None, options=given), replace(OPTIONS, simulate=True))
    alone = bill_of(folder / "out")
    assert alone.is_simulated
    assert (alone.total.cost_usd or 0) > 0
    with simulator() as at:
        night(at, folder, 1, texts(0, 5))
    real = bill_of(folder / "out")
    assert (real.is_simulated, real.files) == (False, 1)
    assert any("simulated" in note for note in real.notes)


# --- the command


def command(*words: object) -> Any:
    return CliRunner().invoke(cli, ["cost", *(str(word) for word in words)])


@pytest.fixture
def spent(folder: Path) -> Path:
    line = {"model": "gpt-4o", "prompt_tokens": 1_000_000, "completion_tokens": 0, "cost": 600.0}
    (folder / "out" / "usage.jsonl").write_text(f"{json.dumps(line)}\n" * 2)
    return folder / "out"


def test_the_gate_tells_the_bill_and_exits_6(spent: Path) -> None:
    over = command(spent, "--max", "500")
    assert over.exit_code == 6
    assert "$1,200.00 spent" in over.stdout
    assert "more than --max $500.00" in over.stderr
    assert command(spent, "--max", "1200").exit_code == 0


def test_an_export_beside_its_output_is_a_copy_and_not_paid_again(folder: Path) -> None:
    with simulator(max_sentences=2) as at:
        night(at, folder, 1, texts(0, 20))
        output = folder / "out" / "night-1.parquet"
        before = bill_of(folder).total
        copied = CliRunner().invoke(
            cli,
            ["export", str(output), "-o", str(folder / "out" / "lines.jsonl"), "--format", "openai-batch"],
        )
        assert copied.exit_code == 0, copied.output
        assert bill_of(folder).total == before


def test_a_shared_state_folder_of_any_name_is_held_against_the_gate(tmp_path: Path) -> None:
    """Its ledger, read as a usage file of others, would be of no month and pass every gate."""
    then = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    entry = LedgerEntry("r", 1, "run", then, then + 60, model="gpt-4o", output="/x/o.parquet", cost_usd=600.0)
    append_ledger(tmp_path / "ledger.jsonl", entry)
    over = command(tmp_path, "--month", "2026-11", "--max", "500")
    assert over.exit_code == 6
    assert "$600.00 spent" in over.stdout


def test_the_json_holds_what_the_table_shows(spent: Path) -> None:
    done = command(spent, "--json", "--by", "request_model,day", "--what-if", "gpt-4.1", "--max", "500")
    assert done.exit_code == 6
    found = json.loads(done.stdout)
    assert found["total"]["cost_usd"] == 1200.0
    assert found["groups"][0]["by"] == {"request_model": "gpt-4o", "day": None}
    assert (found["is_over"], found["what_if"], found["total"]["what_if_usd"]) == (True, "gpt-4.1", 4.0)
    assert found["prices"].startswith("genai-prices ")


def test_nothing_there_is_exit_2(folder: Path) -> None:
    for path in (folder / "nowhere", folder / "out"):
        done = command(path)
        assert (done.exit_code, done.stdout) == (2, "")
