"""Rows asked again, killed at any moment: both answers are paid once, and the end is the one without a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from runs import PRICES, carry, make_job, marked, table_of, write_texts

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.simulator import Simulator

ROWS, KILLS = 16, 3
SETS = ('labels.mood=["good", "bad"]', 'labels.size=["s", "l"]', "request.reask=1", *PRICES)
SETTLED = (
    "outcome",
    "completion",
    "error_message",
    "mood",
    "paid_attempts",
    "billed_prompt_tokens",
    "cost_usd",
)


def killed(simulator: Simulator, folder: Path, *, at: int) -> None:
    """Go on with the job in a process of its own, killed once so many answers were generated in all."""
    words = [
        "-i",
        "in.jsonl",
        "-o",
        "out.parquet",
        "--model",
        "simulated-small",
        "--prompt",
        "Say a word about {{ text }}",
    ]
    sets = [word for given in SETS for word in ("--set", given)]
    command = [sys.executable, "-P", "-m", "batcher.cli", "run", *words, *sets, "--concurrency", "1", "-q"]
    process = subprocess.Popen(
        [*command, "--base-url", simulator.base_url],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while simulator.totals()["generated"] < at and time.monotonic() < until:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def finished(simulator: Simulator, folder: Path) -> list[dict[str, Any]]:
    assert carry(make_job(folder, simulator.base_url, concurrency=1, sets=SETS)).exit_code in {0, 3}
    return [{name: row[name] for name in SETTLED} for row in table_of(folder / "out.parquet")]


def test_kills_between_the_two_answers_lose_nothing_and_buy_nothing_twice(tmp_path: Path) -> None:
    config = SimulatorConfig(latency="fixed:0.03", faults={"schema_broken": 0.5})
    with launch(config) as simulator:
        for name in ("whole", "killed"):
            (tmp_path / name).mkdir()
            write_texts(tmp_path / name / "in.jsonl", marked(ROWS))
        expected = finished(simulator, tmp_path / "whole")
        paid = simulator.totals()["generated"]
        assert {row["paid_attempts"] for row in expected} == {1, 2}
        assert {row["outcome"] for row in expected} == {"ok", "failed"}
        simulator.reset()
        for kill in range(1, KILLS + 1):
            killed(simulator, tmp_path / "killed", at=kill * paid // (KILLS + 1))
        rows = finished(simulator, tmp_path / "killed")
        totals = simulator.totals()
    assert rows == expected
    assert totals["paid_again"] <= KILLS
    assert totals["generated"] == paid + totals["paid_again"]
