"""`batcher.run`: the public way in from Python, also where an event loop runs already (a notebook)."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from batcher.verbs.options import RunOptions
from batcher.verbs.run import run as run_job

if TYPE_CHECKING:
    from batcher.job import Job
    from batcher.report import Summary


def run(job: Job, *, simulate: bool = False, options: RunOptions | None = None) -> Summary:
    """Carry a job out; blocks until the output is published and verified, or was before.

    Args:
        job: what to do, from `Job.load`.
        simulate: let the embedded simulator answer: free, and published as ``NAME.simulated.parquet``.
        options: how the session works; nothing in it changes answers.

    Raises:
        BatcherError: what stopped the run; the same call goes on.
    """
    chosen = options or RunOptions()
    if simulate:
        chosen = replace(chosen, simulate=True)
    if not _inside_a_loop():
        return run_job(job, chosen)
    return _in_own_thread(job, chosen)


def _inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_own_thread(job: Job, options: RunOptions) -> Summary:
    """Run beside the caller's loop, which is blocked meanwhile; what the thread raises is raised here."""
    done: list[Summary] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(run_job(job, options))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            failed.append(error)

    thread = threading.Thread(target=work, name="batcher.run")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
