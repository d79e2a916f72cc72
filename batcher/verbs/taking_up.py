"""The first steps of `run` and `try`: the endpoint opened, the place locked and looked at, the input scanned.

Nothing is written but the place's own folders, and nothing is paid.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher import __version__
from batcher.store.lock import RunLock
from batcher.store.run_facts import RunFacts
from batcher.verbs.intake import take_in
from batcher.verbs.opening import finish_setting_aside, look, new_run_id, prepare_site
from batcher.verbs.target import open_target
from batcher.verbs.wiring import job_mark, published_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.job import Fingerprint, Job
    from batcher.verbs.decide import Place
    from batcher.verbs.intake import Intake
    from batcher.verbs.opening import Site
    from batcher.verbs.options import RunOptions
    from batcher.verbs.target import Target


@dataclass(frozen=True, slots=True)
class TakenUp:
    """A job, and what it meets.

    Attributes:
        place: what stands where the output goes.
        mark: what of job, input and endpoint changes answers.
    """

    job: Job
    options: RunOptions
    target: Target
    site: Site
    lock: RunLock
    place: Place
    intake: Intake
    mark: Fingerprint

    def new_facts(
        self,
        output: Path,
        *,
        replaces: str | None = None,
        sources: tuple[str, ...] = (),
        fresh: bool = False,
    ) -> RunFacts:
        """The facts of a run that begins now; not written yet."""
        now = time.time()
        return RunFacts(
            run_id=new_run_id(now),
            created_at=now,
            version=__version__,
            fingerprint=self.mark.digest,
            parts=self.mark.parts,
            job=self.job.table,
            job_name=self.job.name,
            scan=self.intake.scan.to_json(),
            base_url=self.target.identity,
            simulated=self.target.simulated,
            output=str(output),
            replaces=replaces,
            sources=sources,
            fresh=fresh,
        )


@contextmanager
def taken_up(job: Job, options: RunOptions) -> Iterator[TakenUp]:
    """Hold the place of a job's output for the time of a `with` block.

    Raises:
        BatcherError: key, address, folders, lock or input are not usable.
    """
    with ExitStack() as stack:
        target = stack.enter_context(open_target(job, options))
        site = prepare_site(published_path(job.output_path, simulated=target.simulated), options.state)
        lock = stack.enter_context(
            RunLock.acquire(site.directory.lock, pid=os.getpid(), host=os.uname().nodename, now=time.time())
        )
        finish_setting_aside(site.directory)
        place = look(site)
        intake = take_in(job, options, site, known=place.facts)
        mark = job_mark(job, intake.scan, identity=target.identity, simulated=target.simulated)
        yield TakenUp(job, options, target, site, lock, place, intake, mark)
