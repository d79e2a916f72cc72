"""Memory and time of `batcher cost` over a usage file of many rows, beside DuckDB's for the same sums.

    python tests/bench/cost.py [ROWS]        10,000,000 rows by default: a file of about 150 MB

Each runs in a process of its own. CPU and peak memory are the operating system's accounting of the finished process,
start of the interpreter and imports included; trust the ratios.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SLICE = 131_072
MODELS = np.array(["gpt-4o", "gpt-4.1", "grok-2"])
OUTCOMES = np.array(["ok", "failed"])
NOVEMBER = 1_793_491_200  # 2026-11-01T00:00:00Z

DUCKDB = """
import duckdb, sys
print(duckdb.sql(
    "select request_model, outcome, sent_at::date as day, count(*), sum(prompt_tokens), sum(cached_tokens),"
    " sum(completion_tokens), sum(reasoning_tokens), sum(cost_usd), max(cost_usd)"
    f" from '{sys.argv[1]}' group by all"
).fetchall().__len__())
"""
"""The sums that `cost` makes; it also looks for reasoning counted beside the completion, tiers and unknown rows."""


@dataclass(frozen=True)
class Figures:
    """One finished process: wall and CPU in seconds, memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def write_usage(path: Path, rows: int) -> None:
    dice = np.random.default_rng(1)
    writer = None
    for first in range(0, rows, SLICE):
        table = _slice(dice, min(SLICE, rows - first))
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _slice(dice: np.random.Generator, rows: int) -> pa.Table:
    prompt, completion = dice.integers(50, 4_000, rows), dice.integers(1, 500, rows)
    cached = np.where(prompt > 1024, prompt // 2 // 128 * 128, 0)
    seconds = NOVEMBER + dice.integers(0, 30 * 86_400, rows)
    return pa.table(
        {
            "request_model": pa.array(dice.choice(MODELS, rows)),
            "outcome": pa.array(dice.choice(OUTCOMES, rows, p=[0.98, 0.02])),
            "sent_at": pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC")),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "cached_tokens": cached,
            "reasoning_tokens": np.zeros(rows, np.int64),
            "cost_usd": (prompt - cached) * 2.5e-6 + cached * 1.25e-6 + completion * 1e-5,
        }
    )


def measured(words: list[str]) -> Figures:
    """Run to the end in a child of a process of its own, so that the accounting is that of this run alone."""
    script = (
        "import json,resource,subprocess,sys,time;t=time.monotonic();"
        "subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,check=True);"
        "u=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([time.monotonic()-t,u.ru_utime+u.ru_stime,u.ru_maxrss]))"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, check=True)
    wall_s, cpu_s, peak = json.loads(done.stdout)
    return Figures(wall_s, cpu_s, peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usage.parquet"
        write_usage(path, rows)
        print(f"{rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB")
        ours = measured(
            [sys.executable, "-m", "batcher.cli", "cost", str(path), "--by", "request_model,outcome,day"]
        )
        duckdb = measured([sys.executable, "-c", DUCKDB, str(path)])
    for name, found in (("batcher cost", ours), ("DuckDB", duckdb)):
        print(f"{name:>14}  {found.wall_s:6.1f} s  {found.cpu_s:6.1f} s CPU  {found.peak_mib:6.0f} MiB")
    print(f"ratio: wall {ours.wall_s / duckdb.wall_s:.1f}, CPU {ours.cpu_s / duckdb.cpu_s:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
