"""The state folder's ledger: one line per session, those included that crashed before they could write theirs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batcher.store.ledger import LEDGER_NAME, LedgerEntry, append_ledger, read_ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batcher.engine import Tally
    from batcher.job import Job
    from batcher.store.manifest import SessionOpen
    from batcher.store.run_facts import RunFacts
    from batcher.verbs.opening import Site


def ledger_of(site: Site) -> Path:
    return site.state / LEDGER_NAME


def enter_crashed(
    site: Site,
    job: Job,
    facts: RunFacts,
    sessions: Mapping[int, SessionOpen],
    possibly_paid: Sequence[tuple[int, int]],
) -> None:
    """A line for every session that has none; the rows it may have paid for in vain stand in it.

    Args:
        site: whose ledger.
        job: for model and tags.
        facts: of the run.
        sessions: all before this one, by number.
        possibly_paid: (session, row_index) found now.

    Raises:
        StorageError: a line is not there for certain.
    """
    written = {(entry.run_id, entry.session) for entry in read_ledger(ledger_of(site))}
    for number, opened in sessions.items():
        if (facts.run_id, number) in written:
            continue
        lost = [row for session, row in possibly_paid if session == number]
        entry = LedgerEntry(
            run_id=facts.run_id,
            session=number,
            verb=opened.verb,
            started_at=opened.started_at,
            ended_at=None,
            job=facts.job_name,
            tags=dict(job.tags),
            model=job.request.model,
            output=str(site.output),
            possibly_paid=len(lost),
            is_simulated=facts.simulated,
            extra={"possibly_paid_rows": lost},
        )
        append_ledger(ledger_of(site), entry)


def enter_session(
    site: Site,
    job: Job,
    facts: RunFacts,
    *,
    number: int,
    verb: str,
    started_at: float,
    tally: Tally,
    exit_code: int,
) -> None:
    """This session's own line. Raises StorageError."""
    entry = LedgerEntry(
        run_id=facts.run_id,
        session=number,
        verb=verb,
        started_at=started_at,
        ended_at=time.time(),
        job=facts.job_name,
        tags=dict(job.tags),
        model=job.request.model,
        output=str(site.output),
        rows=tally.rows,
        rows_ok=tally.outcomes_ok,
        reused=tally.reused,
        attempts=tally.attempts,
        paid_attempts=tally.paid,
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        cost_usd=tally.cost_usd,
        possibly_paid=tally.ambiguous,
        is_simulated=facts.simulated,
        exit_code=exit_code,
    )
    append_ledger(ledger_of(site), entry)
