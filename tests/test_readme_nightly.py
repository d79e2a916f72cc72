"""The recipes for nights: the script of the README runs on the simulator, schedulers name the right exit codes."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from batcher import errors
from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator.launch import Simulator

README = (Path(__file__).parent.parent / "README.md").read_text()
SECTION = README.split("## Every night")[1].split("\n## ")[0]
CONCURRENCY = 8
AGAIN = {7, 129, 130, 137, 143}
JOB = """
[input]
path = "in-{{ ds }}.jsonl"
[request]
model = "m"
prompt = "Say a word about {{ text }}"
max_completion_tokens = 200
[limits]
concurrency = 8
[output]
path = "out/night-{{ ds }}.parquet"
[tags]
team = "support"
[prices.m]
input = 1.0
output = 4.0
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0.002", ledger_key=r"<(\w+)>")) as running:
        yield running


class Nights:
    """A folder with the README's script, its job, and an input for every night."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder, self.simulator = folder, simulator
        (folder / "nightly.sh").write_text(blocks("bash")[0])
        (folder / "nightly.toml").write_text(f'{JOB}[endpoint]\nbase_url = "{simulator.base_url}"\n')

    def write(self, ds: str, rows: range) -> None:
        lines = (json.dumps({"text": f"thing <r{row}>"}) + "\n" for row in rows)
        (self.folder / f"in-{ds}.jsonl").write_text("".join(lines))

    def start(self, ds: str, *more: str) -> subprocess.Popen[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            ["bash", "nightly.sh", ds, *more],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, ds: str, *more: str) -> dict[str, Any]:
        """The night's summary, as `--summary` wrote it."""
        process = self.start(ds, *more)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        found: dict[str, Any] = json.loads((self.folder / f"out/night-{ds}.json").read_text())
        return found

    def sent_for(self, *, since: int = 0) -> list[str]:
        return [entry["key"] for entry in self.simulator.ledger(since=since) if entry["generated"]]


def test_a_second_night_pays_for_exactly_its_new_rows(simulator: Simulator, tmp_path: Path) -> None:
    nights = Nights(tmp_path, simulator)
    nights.write("2026-11-21", range(100))
    nights.write("2026-11-22", range(10, 110))
    first = nights.run("2026-11-21")
    assert (first["sent"], first["outcomes"]) == (100, {"ok": 100})
    second = nights.run("2026-11-22")
    assert (second["sent"], second["reused"], second["outcomes"]) == (10, 90, {"ok": 100})
    assert sorted(nights.sent_for()[100:]) == [f"r{row}" for row in range(100, 110)]
    rows = pq.read_table(tmp_path / "out/night-2026-11-22.parquet").to_pylist()
    assert [row["cost_usd"] > 0 for row in rows] == [False] * 90 + [True] * 10
    assert {row["tag_team"] for row in rows} == {"support"}
    again = nights.run("2026-11-22")
    assert (again["finished_before"], again["sent"]) == (True, 0)
    assert simulator.totals()["received"] == 110


def test_a_night_killed_before_midnight_and_resumed_after_it_pays_at_most_what_was_in_flight_twice_and_says_which(
    simulator: Simulator, tmp_path: Path
) -> None:
    nights = Nights(tmp_path, simulator)
    nights.write("2026-11-21", range(200))
    simulator.control(latency="uniform:0.02-0.08")
    process = nights.start("2026-11-21")
    until = time.monotonic() + 60
    while simulator.totals()["generated"] < 60 and time.monotonic() < until:
        assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)  # the script has become the run itself
    process.communicate()
    resumed = nights.run("2026-11-21")
    assert resumed["outcomes"] == {"ok": 200}
    paid = nights.sent_for()
    twice = {row for row in paid if paid.count(row) > 1}
    told = {f"r{row}" for _, row in resumed["possibly_paid"]}
    assert len(paid) == 200 + len(twice)
    assert len(twice) <= CONCURRENCY
    assert twice <= told, "paid twice and nowhere named"
    assert len(told) <= CONCURRENCY


def test_a_month_that_has_cost_enough_starts_nothing(simulator: Simulator, tmp_path: Path) -> None:
    nights = Nights(tmp_path, simulator)
    script = tmp_path / "nightly.sh"
    month = time.strftime("%Y-%m", time.gmtime())
    nights.write(f"{month}-01", range(20))
    nights.write(f"{month}-02", range(20, 40))
    nights.run(f"{month}-01")
    script.write_text(script.read_text().replace("--max 500", "--max 0.000001"))
    process = nights.start(f"{month}-02")
    process.communicate(timeout=60)
    assert process.returncode == 6
    assert simulator.totals()["received"] == 20


def test_the_recipes_retry_what_the_exit_codes_say_and_nothing_else() -> None:
    stops = {each.exit_code for each in errors.BatcherError.__subclasses__()} | {1}
    for_a_person = stops - AGAIN
    service = configparser.ConfigParser(strict=False, interpolation=None)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read_string(blocks("ini")[0])
    assert set(map(int, service["Service"]["RestartPreventExitStatus"].split())) == for_a_person
    assert service["Service"]["SuccessExitStatus"] == "3"
    dag = ast.parse(blocks("py")[0])
    again = next(
        ast.literal_eval(node.value)
        for node in dag.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "AGAIN"
    )
    assert {code for code in again if code > 0} == AGAIN
    cron_job = blocks("yaml")[0]
    values = re.search(r"values: (\[[\d, ]+\])", cron_job)
    assert values is not None
    assert set(json.loads(values[1])) == for_a_person | {3}
    assert "terminationGracePeriodSeconds: 900" in cron_job
    assert all("%" not in line.replace("\\%", "") for line in blocks("cron")[0].splitlines())
