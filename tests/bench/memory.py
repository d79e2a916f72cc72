"""Memory and CPU of whole runs at two sizes, and the start of a resumed run at 99.9 % of the larger one.

    python tests/bench/memory.py [SMALL LARGE]        default 200000 1000000; the larger takes about 20 minutes

The server is the simulator on loopback, short answers, 10 ms, 64 requests in flight. Figures are the operating system's
accounting of the finished process (user + system seconds, peak resident memory); trust the ratios.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from batcher.simulator import Simulator, SimulatorConfig, launch

CONCURRENCY = 64
RESUME_AT = 0.999


@dataclass(frozen=True)
class Figures:
    """One finished process: wall and CPU in seconds, memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    rows: int

    def line(self) -> str:
        return (
            f"{self.rows:>9,} rows  {self.wall_s:8.1f} s  {self.rows / self.wall_s:7.0f} rows/s"
            f"  {self.cpu_s / self.rows * 1e6:7.0f} us CPU/row  {self.peak_mib:6.0f} MiB"
        )


def command(folder: Path, simulator: Simulator) -> list[str]:
    words = ["-m", "batcher.cli", "run", "-i", str(folder / "in.jsonl"), "-o", str(folder / "out.parquet")]
    words += ["--model", "m", "--base-url", simulator.base_url, "-q", "--concurrency", str(CONCURRENCY)]
    return [sys.executable, *words]


def write_rows(folder: Path, rows: int) -> None:
    with (folder / "in.jsonl").open("wb") as file:
        for row in range(rows):
            file.write(orjson.dumps({"id": row, "prompt": f"row {row} please say something nice"}) + b"\n")


def measured(words: list[str], rows: int, *, killed: bool = False) -> Figures:
    """Run to the end in a child of a process of its own, so that the accounting is that of this run alone."""
    script = (
        "import json,resource,subprocess,sys,time;t=time.monotonic();"
        "code=subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL).returncode;"
        "u=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([code,time.monotonic()-t,u.ru_utime+u.ru_stime,u.ru_maxrss]))"
    )
    found = json.loads(
        subprocess.run([sys.executable, "-c", script, *words], capture_output=True, check=True).stdout
    )
    code, wall_s, cpu_s, peak = found
    assert code == (-signal.SIGKILL if killed else 0), f"exit {code}"
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Figures(wall_s, cpu_s, peak / unit, rows)


def whole_run(rows: int) -> Figures:
    with tempfile.TemporaryDirectory() as name, launch(quick()) as simulator:
        folder = Path(name)
        write_rows(folder, rows)
        return measured(command(folder, simulator), rows)


def killed_and_resumed(rows: int) -> tuple[Figures, Figures, float]:
    """(until the kill at 99.9 %, the session that ends the run, its seconds until its first request)."""
    with tempfile.TemporaryDirectory() as name, launch(quick()) as simulator:
        folder = Path(name)
        write_rows(folder, rows)
        killer = threading.Thread(target=_kill, args=(simulator, folder, int(rows * RESUME_AT)))
        killer.start()
        most = measured(command(folder, simulator), int(rows * RESUME_AT), killed=True)
        killer.join()
        sent = simulator.totals()["requests"]
        firsts: list[float] = []
        watcher = threading.Thread(target=_first_request, args=(simulator, sent, firsts))
        watcher.start()
        rest = measured(command(folder, simulator), rows - int(rows * RESUME_AT))
        watcher.join()
        return most, rest, firsts[0]


def _kill(simulator: Simulator, folder: Path, at: int) -> None:
    while simulator.totals()["generated"] < at:
        time.sleep(0.02)
    (progress,) = folder.glob(".batcher/*.run/progress.json")
    os.kill(json.loads(progress.read_bytes())["pid"], signal.SIGKILL)


def _first_request(simulator: Simulator, sent: int, firsts: list[float]) -> None:
    begun = time.monotonic()
    while simulator.totals()["requests"] == sent and time.monotonic() - begun < 600:
        time.sleep(0.01)
    firsts.append(time.monotonic() - begun)


def quick() -> SimulatorConfig:
    return SimulatorConfig(latency="fixed:0.01", ledger=False, max_sentences=1)


def main(small: int, large: int) -> None:
    print("SIMULATED server on loopback, 10 ms, 64 in flight")
    few = whole_run(small)
    print(few.line(), flush=True)
    many, rest, first_request_s = killed_and_resumed(large)
    print(many.line(), "(then killed)")
    print(
        f"memory {many.peak_mib - few.peak_mib:+.0f} MiB, ratio {many.peak_mib / few.peak_mib:.3f};"
        f" CPU per row, ratio {many.cpu_s / many.rows / (few.cpu_s / few.rows):.3f}"
    )
    print(
        f"resumed at {RESUME_AT:.1%}: first request after {first_request_s:.1f} s,"
        f" published after {rest.wall_s:.1f} s, {rest.peak_mib:.0f} MiB"
    )


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]] or [200_000, 1_000_000]
    main(*sizes)
