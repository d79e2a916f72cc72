"""Equal rows sent once, killed at any moment: each content is bought once, but for what was in flight."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from runs import MODEL, PRICES, PROMPT, batcher, carry, make_job, marked, table_of, write_texts

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS, COPIES, KILLS, CONCURRENCY = 40, 5, 3, 4
SETS = ("request.dedupe=true", *PRICES)


def test_kills_buy_no_content_twice_but_what_was_in_flight(tmp_path: Path) -> None:
    texts = marked(CONTENTS) * COPIES
    texts[1:1] = texts[:1] * 3  # twins beside each other too
    write_texts(tmp_path / "in.jsonl", texts)
    words = ["-i", "in.jsonl", "-o", "out.parquet", "--model", MODEL, "--prompt", PROMPT, "-q"]
    sets = [word for given in SETS for word in ("--set", given)]
    config = SimulatorConfig(latency="fixed:0.03", faults={"server_error": 0.1, "length": 0.1})
    with launch(config) as simulator:
        command = [sys.executable, "-P", "-m", "batcher.cli", "run", *words, *sets]
        command += ["--concurrency", str(CONCURRENCY), "--base-url", simulator.base_url]
        for kill in range(1, KILLS + 1):
            process = subprocess.Popen(
                command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            until = time.monotonic() + 60
            while (
                simulator.totals()["generated"] < kill * CONTENTS // (KILLS + 1) and time.monotonic() < until
            ):
                assert process.poll() is None, "it ended before it could be killed"
                time.sleep(0.002)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        carry(make_job(tmp_path, simulator.base_url, concurrency=CONCURRENCY, sets=SETS))
        totals = simulator.totals()
    rows = table_of(tmp_path / "out.parquet")
    assert [row["text"] for row in rows] == texts
    assert totals["generated"] == CONTENTS + totals["paid_again"]
    assert totals["paid_again"] <= KILLS * CONCURRENCY
    answers = {row["text"]: (row["outcome"], row["completion"]) for row in rows}
    assert {outcome for outcome, _ in answers.values()} == {"ok", "truncated"}
    for row in rows:
        assert (row["outcome"], row["completion"]) == answers[row["text"]]
        copied = row["reused_from"] is not None
        assert (row["attempts"] == 0, row["cost_usd"] == 0.0) == (copied, copied)
        assert row["reused_from"] in {None, row["run_id"]}
    assert sum(row["reused_from"] is None for row in rows) == CONTENTS
    assert batcher("verify", "out.parquet", folder=tmp_path).returncode == 0
