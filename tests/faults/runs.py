"""Whole runs against the simulator: jobs over small inputs, what a run ended with, and what the server saw.

In the same process where a run may be, because that is ten times faster; as the command where the test is about the
process (streams, exit code, environment).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.parquet as pq

from batcher.dataset import InputSpec, find_files, open_source, python_rows, scan
from batcher.errors import BatcherError
from batcher.job import Job, JobOptions, load_job
from batcher.records import Problem
from batcher.report import Summary
from batcher.simulator.answers import compose_completion
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run
from batcher.verbs.wiring import InputShape, request_builder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batcher.simulator import Simulator

MODEL = "simulated-small"
PROMPT = "Say a word about {{ text }}"
LEDGER_KEY = r"<(\d+)>"
"""With texts of `marked`, the ledger's `key` is the row's number."""
PRICES = (f'prices."{MODEL}".input=1.0', f'prices."{MODEL}".output=4.0')
SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its summary, and the error that stopped it, if one did."""

    exit_code: int
    summary: Summary | None
    error: BatcherError | None

    @property
    def said(self) -> Summary:
        """The summary; a stop before the session began has none."""
        assert self.summary is not None
        return self.summary


def marked(count: int, *, word: str = "plain", start: int = 0) -> list[str]:
    """Texts that differ, each naming its number."""
    return [f"<{number}> {word}" for number in range(start, start + count)]


def write_texts(path: Path, texts: Iterable[str]) -> Path:
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    return path


def make_job(
    folder: Path,
    base_url: str,
    *,
    prompt: str = PROMPT,
    model: str = MODEL,
    sets: Sequence[str] = (),
    concurrency: int = 16,
    source: str = "in.jsonl",
    output: str = "out.parquet",
    api_key_env: str | None = None,
    limit: int | None = None,
) -> Job:
    return load_job(
        None,
        sets=sets,
        options=JobOptions(
            input=str(folder / source),
            output=str(folder / output),
            model=model,
            prompt=prompt,
            base_url=base_url,
            api_key_env=api_key_env,
            concurrency=concurrency,
            limit=limit,
        ),
    )


def carry(job: Job, **options: Any) -> Ended:
    """Run the job in this process; expected stops become values, bugs are raised."""
    try:
        summary = run(job, RunOptions(**options))
    except BatcherError as error:
        found = error.summary if isinstance(error.summary, Summary) else None
        return Ended(error.exit_code, found, error)
    return Ended(summary.exit_code, summary, None)


def batcher(
    *arguments: str, folder: Path, environ: Mapping[str, str] | None = None, seconds: float = SECONDS
) -> subprocess.CompletedProcess[bytes]:
    """The command, in `folder`; `environ` is added to this process's environment."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "batcher.cli", *arguments],
        cwd=folder,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def table_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def bodies_of(job: Job) -> list[bytes]:
    """The request body of every row that has one, in input order, as the job sends it."""
    source = find_files(InputSpec(job.input.path), base=Path.cwd())
    found = scan(InputSpec(job.input.path), source)
    builder = request_builder(
        job, InputShape(found.format, found.schema), identity="anything", simulated=False
    )
    bodies = []
    for each in open_source(found).slices(first_row=0):
        rows = python_rows(each.batch, first_row=each.first_row, columns=builder.columns, problems={})
        requests = [builder.build(row) for row in rows]
        bodies += [request.body for request in requests if not isinstance(request, Problem)]
    return bodies


def answer_to(body: bytes, *, seed: int = 0) -> tuple[str, int, int]:
    """What the simulator generates for a body: text, prompt tokens, completion tokens."""
    digest = blake2b(body, digest_size=16).digest()
    made = compose_completion(json.loads(body), body, digest, seed, 6)
    choices: Any = made.content["choices"]
    return choices[0]["message"]["content"], made.prompt_tokens, made.completion_tokens


def paid_by_content(simulator: Simulator) -> Counter[str]:
    """How often an answer was generated for each request content."""
    return Counter(entry["content_hash"] for entry in simulator.ledger() if entry["generated"])


def keys_sent(simulator: Simulator) -> Counter[str]:
    """How often each row number was sent."""
    return Counter(entry["key"] for entry in simulator.ledger())


def journal_kinds(folder: Path) -> Counter[str]:
    """Which kinds of record stand in the journals below a folder, by the letters of their JSON."""
    kinds: Counter[str] = Counter()
    for path in folder.rglob("journal/*.jsonl"):
        for line in path.read_bytes().splitlines():
            kinds[str(orjson.loads(line.split(b" ", 1)[1])["k"])] += 1
    return kinds
