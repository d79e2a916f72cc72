"""`batcher.run` from Python: blocks, raises the exception tree, also where an event loop runs already."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from verb_runs import write_rows

import batcher
from batcher.errors import AccountError, BatcherError
from batcher.job import JobOptions, load_job
from batcher.report import Summary
from batcher.verbs.options import RunOptions

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job
    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)

OPTIONS = RunOptions(environ={})


def job_of(at: Simulator, folder: Path) -> Job:
    rows = write_rows(folder / "in.jsonl", ["a", "b", "c"])
    given = JobOptions(
        input=str(rows),
        output=str(folder / "out.parquet"),
        model="m",
        prompt="{{ text }}",
        base_url=at.base_url,
    )
    return load_job(None, options=given)


def test_it_blocks_and_returns_the_summary(endpoint: Simulator, tmp_path: Path) -> None:
    summary = batcher.run(job_of(endpoint, tmp_path), options=OPTIONS)
    assert isinstance(summary, Summary)
    assert summary.outcomes == {"ok": 3}
    assert (tmp_path / "out.parquet").exists()


def test_it_works_where_an_event_loop_runs_as_in_a_notebook(endpoint: Simulator, tmp_path: Path) -> None:
    async def cell() -> Summary:
        return batcher.run(job_of(endpoint, tmp_path), options=OPTIONS)

    assert asyncio.run(cell()).outcomes == {"ok": 3}


def test_what_stops_the_run_is_raised_to_the_caller_in_a_notebook_too(
    endpoint: Simulator, tmp_path: Path
) -> None:
    endpoint.control(fail_after={"unauthorized": 0})

    async def cell() -> Summary:
        return batcher.run(job_of(endpoint, tmp_path), options=OPTIONS)

    with pytest.raises(AccountError) as caught:
        asyncio.run(cell())
    assert isinstance(caught.value.summary, Summary)
    assert caught.value.summary.exit_code == 5


def test_it_works_outside_the_main_thread(endpoint: Simulator, tmp_path: Path) -> None:
    found: list[Summary] = []
    job = job_of(endpoint, tmp_path)
    thread = threading.Thread(target=lambda: found.append(batcher.run(job, options=OPTIONS)))
    thread.start()
    thread.join()
    assert found[0].outcomes == {"ok": 3}


def test_simulate_needs_no_key_and_publishes_beside_the_real_name(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["a", "b"])
    given = JobOptions(input=str(rows), output=str(tmp_path / "out.parquet"), model="m", prompt="{{ text }}")
    job = load_job(None, options=given)
    with pytest.raises(BatcherError, match="PIPELLM_API_KEY"):
        batcher.run(job, options=OPTIONS)
    summary = batcher.run(job, simulate=True, options=OPTIONS)
    assert summary.simulated
    assert summary.output == str(tmp_path / "out.simulated.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_the_public_names_are_there() -> None:
    assert {"Job", "run", "__version__"} == set(batcher.__all__)
    assert callable(batcher.Job.load)
    with pytest.raises(AttributeError):
        batcher.nonsense  # noqa: B018
