"""Peak memory of whole runs over an input with rows of 30 MB among small ones, JSONL and Parquet.

    python tests/bench/big_rows.py [jsonl|parquet] [CONCURRENCY] [spread|together]      default jsonl auto spread

3,000 small rows and 40 big ones, spread among them or together in the middle, against the simulator on loopback in a
process of its own. What is printed is the run's peak resident memory by the operating system's accounting, and per
stage as sampled every 20 ms. The Parquet input has a page per large row: a reader has to hold a whole page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.simulator import Simulator, SimulatorConfig, launch

SMALL_ROWS = 3_000
BIG_ROWS = 40
BIG_BYTES = 30_000_000
SAMPLE_S = 0.02


def rows(place: str) -> list[tuple[int, str]]:
    """(id, filler word or nothing), in order."""
    numbers = range(SMALL_ROWS + BIG_ROWS)
    if place == "together":
        big = set(range(SMALL_ROWS // 2, SMALL_ROWS // 2 + BIG_ROWS))
    else:
        big = set(range(0, len(numbers), len(numbers) // BIG_ROWS)[:BIG_ROWS])
    return [(at, "lorem ipsum " if at in big else "") for at in numbers]


def prompt(number: int, filler: str) -> str:
    return f"row {number} " + filler * (BIG_BYTES // len(filler) if filler else 1)


def write_input(folder: Path, kind: str, place: str) -> None:
    path = folder / f"in.{kind}"
    if kind == "jsonl":
        with path.open("wb") as file:
            for number, filler in rows(place):
                file.write(orjson.dumps({"id": number, "prompt": prompt(number, filler)}) + b"\n")
        return
    schema = pa.schema([("id", pa.int64()), ("prompt", pa.string())])
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=False, write_batch_size=1
    ) as writer:
        every = rows(place)
        for start in range(0, len(every), 200):
            some = every[start : start + 200]
            texts = [prompt(number, filler) for number, filler in some]
            writer.write_table(
                pa.table({"id": [number for number, _ in some], "prompt": texts}, schema=schema)
            )


def command(folder: Path, path: Path, simulator: Simulator, concurrency: str | None) -> list[str]:
    words = ["run", "-i", str(path), "-o", str(folder / "out.parquet"), "--model", "m", "-q"]
    words += ["--base-url", simulator.base_url]
    if concurrency is not None:
        words += ["--concurrency", concurrency]
    return [sys.executable, "-m", "batcher.cli", *words]


class Watcher(threading.Thread):
    """Samples a process until it ends."""

    def __init__(self, pid: int, folder: Path) -> None:
        super().__init__()
        self._pid, self._folder = pid, folder
        self.peaks: dict[str, int] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                text = Path(f"/proc/{self._pid}/statm").read_text()
            except OSError:
                return
            held = int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
            stage = self._stage()
            self.peaks[stage] = max(self.peaks.get(stage, 0), held)
            time.sleep(SAMPLE_S)

    def _stage(self) -> str:
        run = next(self._folder.glob(".batcher/*.run"), None)
        if run is None or not (run / "manifest.jsonl").exists():
            return "scan"
        told = (run / "manifest.jsonl").read_bytes()
        if any(self._folder.glob(".out.parquet*")):
            return "publish"
        if any(run.glob("parts/*.tmp")):
            return "seal"
        return "cut and send" if b'"shard_open"' in told else "cut"


def main(kind: str, concurrency: str | None, place: str) -> None:
    settings = SimulatorConfig(latency="fixed:0.01", ledger=False, max_sentences=1)
    with tempfile.TemporaryDirectory() as name, launch(settings) as simulator:
        folder = Path(name)
        # In a process of its own: one that was large once would count as the peak of all its children.
        subprocess.run([sys.executable, __file__, kind, place, name], check=True)
        path = folder / f"in.{kind}"
        begun = time.monotonic()
        process = subprocess.Popen(command(folder, path, simulator, concurrency))
        watcher = Watcher(process.pid, folder)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        watcher.ended.set()
        watcher.join()
        wall = time.monotonic() - begun
        stages = "  ".join(f"{stage} {peak >> 20:,}" for stage, peak in watcher.peaks.items())
        print(
            f"{kind}, {BIG_ROWS} rows of 30 MB {place}, concurrency {concurrency or 'default'}: exit"
            f" {os.waitstatus_to_exitcode(status)}, {wall:.1f} s, peak {usage.ru_maxrss >> 10:,} MiB ({stages})"
        )


if __name__ == "__main__" and len(sys.argv) == 4 and Path(sys.argv[3]).is_dir():
    write_input(Path(sys.argv[3]), sys.argv[1], sys.argv[2])
elif __name__ == "__main__":
    words = [*sys.argv[1:], *([""] * 3)]
    main(words[0] or "jsonl", words[1] if words[1] not in {"", "auto"} else None, words[2] or "spread")
