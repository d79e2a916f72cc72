"""Runs to look at: real ones, made with the real simulator, finished, stopped or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from batcher.cli.group import cli
from batcher.errors import BatcherError
from batcher.job import JobOptions, load_job
from batcher.simulator import SimulatorConfig, launch
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from click.testing import Result

    from batcher.report import Summary
    from batcher.simulator.launch import Simulator

PROMPT = "Say something about {{ text }}."


@contextmanager
def simulator(**settings: object) -> Iterator[Simulator]:
    """A quick simulator without a ledger."""
    config = SimulatorConfig(latency="fixed:0.001", **settings)  # type: ignore[arg-type]
    with launch(config) as running:
        yield running


def write_rows(path: Path, texts: Sequence[str | None]) -> Path:
    lines = (json.dumps({"id": f"r{number}", "text": text}) for number, text in enumerate(texts))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def carry_out(
    at: Simulator, rows: Path, output: Path, *, sets: Sequence[str] = (), options: RunOptions | None = None
) -> Summary:
    """Run a job; `request.max_completion_tokens=5` and the like go into `sets`."""
    given = JobOptions(
        input=str(rows), output=str(output), model="m", prompt=PROMPT, base_url=at.base_url, concurrency=4
    )
    return run(load_job(None, sets=sets, options=given), options or RunOptions(environ={}))


def stopped(at: Simulator, rows: Path, output: Path, *, sets: Sequence[str] = ()) -> int:
    """Run a job that the endpoint stops; the exit code."""
    with pytest.raises(BatcherError) as caught:
        carry_out(at, rows, output, sets=sets)
    return caught.value.exit_code


def killed(at: Simulator, rows: Path, output: Path, *, after: int) -> int:
    """Run a job in a process of its own, and kill it after so many answers; its process id."""
    words = ["-i", rows, "-o", output, "--model", "m", "--prompt", PROMPT, "--base-url", at.base_url]
    command = [sys.executable, "-m", "batcher.cli", "run", *map(str, words), "--concurrency", "4", "-q"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while at.totals()["generated"] < after and time.monotonic() < until:
        assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return process.pid


def batcher(*words: object) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(cli, [str(word) for word in words])
