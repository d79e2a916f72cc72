"""One round carried out: recover, buy what is missing, seal, publish, and write down what happened whatever ends it.

The same for `run`, `retry` and `try`; they differ in where rows come from, which of them are done, and what becomes of
the parts (`Round`).
"""

from __future__ import annotations

import glob
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batcher import __version__
from batcher.engine import Tally
from batcher.errors import BatcherError, LimitReached, StorageError
from batcher.store.ballast import Ballast
from batcher.store.events import Events
from batcher.store.footer import FileFacts
from batcher.store.manifest import Manifest, SessionOpen, Stop
from batcher.store.memory import frugal
from batcher.store.recovery import check_parts, recover
from batcher.store.run_state import RunState, replay
from batcher.store.taken import mark_taken_rows
from batcher.verbs.accounts import enter_crashed, enter_session
from batcher.verbs.at_work import buy
from batcher.verbs.closing import (
    limit_named_by,
    publish_round,
    session_summary,
    summary_of_output,
    token_limit,
)
from batcher.verbs.interrupting import interruptible
from batcher.verbs.opening import answer_sources, open_reuse
from batcher.verbs.report_at_end import write_report_of
from batcher.verbs.round import Round, Session
from batcher.verbs.spending import BOUGHT_AGAIN
from batcher.verbs.wiring import output_schema, price_function, prices_version, settler

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.engine.settle import Settler
    from batcher.report import Summary
    from batcher.store.reuse import ReuseIndex
    from batcher.store.run_store import RunStore


def carry_out(round_: Round) -> Summary:
    """Do every row of the round and publish it.

    Raises:
        BatcherError: what stopped it, after everything that came back is stored; `summary` is attached.
    """
    with frugal(), interruptible() as check:
        ballast = Ballast.create(round_.site.directory.ballast)
        try:
            session = _open(round_, ballast, check)
            return _carried_out(session)
        finally:
            ballast.remove()


def _carried_out(session: Session) -> Summary:
    try:
        try:
            session.check()
            store = buy(session)
            summary = _publish(session, store)
        finally:
            if session.reuse is not None:
                session.reuse.close()
    except BatcherError as error:
        error.summary = _stopped(session, error)
        raise
    write_report_of(session.round)
    return summary


def _open(round_: Round, ballast: Ballast, check: Callable[[], None]) -> Session:
    started, started_at = time.monotonic(), time.time()
    directory = round_.site.directory
    manifest = Manifest.open(directory.manifest)
    state = replay(manifest.records)
    if round_.opening is not None and (state.retry is None or state.retry.retry != round_.opening.retry):
        manifest.append(round_.opening)
        state.apply(round_.opening)
    schema = output_schema(round_.job, round_.shape)
    settle = settler(round_.job, run_id=round_.facts.run_id)
    _reopen_lost_parts(round_, manifest, state)
    recovery = recover(
        directory,
        state,
        source=round_.source,
        settle=settle,
        end_row=round_.rows,
        selected=round_.selected,
    )
    check()
    end_row = max(round_.rows, recovery.last_touched + 1)
    number = state.session + 1
    enter_crashed(round_.site, round_.job, round_.facts, state.sessions, recovery.possibly_paid)
    opened = SessionOpen(
        number,
        pid=os.getpid(),
        host=os.uname().nodename,
        started_at=started_at,
        version=__version__,
        verb=round_.verb,
        limit=round_.job.input.limit,
        extra={"possibly_paid": [list(pair) for pair in recovery.possibly_paid]},
    )
    manifest.append(opened)
    state.apply(opened)
    Events(directory.events).tell("session", ts=started_at, session=number, verb=round_.verb, pid=os.getpid())
    reuse = _reuse(round_, state, settle)
    file_facts = FileFacts(
        version=__version__,
        run_id=round_.facts.run_id,
        fingerprint=round_.facts.fingerprint,
        base_url=round_.facts.base_url,
        simulated=round_.facts.simulated,
        complete=True,
        prices_version=prices_version(round_.job),
        session=0,
        model=round_.job.request.model,
        created_at=round_.facts.created_at,
        generation=round_.generation,
    )
    tally = Tally(price=price_function(round_.job))
    return Session(
        round_, manifest, state, settle, schema, file_facts, recovery,
        number, end_row, started, started_at, tally, reuse, ballast, check,
    )  # fmt: skip


def _reopen_lost_parts(round_: Round, manifest: Manifest, state: RunState) -> None:
    """Parts that are damaged or gone: rebuilt where the journal stands, bought again only with `--yes`."""
    directory = round_.site.directory
    lost = check_parts(directory, state)
    gone = [number for number in lost if not directory.journals(number)]
    if gone and not round_.options.yes:
        rows = sum(state.sealed[number].rows for number in gone)
        raise StorageError(
            f"{len(gone)} sealed parts are damaged or gone ({directory.part(gone[0])});"
            f" {rows:,} rows would be bought again",
            hint="restore them from a backup, or say --yes to buy these rows again",
        )
    for number in lost:
        opened = state.opened[number]
        extra = {**opened.extra, **({BOUGHT_AGAIN: True} if number in gone else {})}
        again = replace(opened, rows=state.sealed[number].rows, input_bytes=-1, extra=extra)
        manifest.append(again)
        state.apply(again)


def _reuse(round_: Round, state: RunState, settle: Settler) -> ReuseIndex | None:
    directory = round_.site.directory
    if round_.facts.fresh or round_.verb == "retry":
        return None
    extra = reuse_files(round_.options.reuse, besides=round_.site.output)
    named = answer_sources(directory, round_.facts, extra=extra, settle=settle)
    index = open_reuse(directory, [*named, *round_.sources])
    if index is not None:
        for note in index.notes:
            round_.options.display.say(f"  reuse: {note}")
        mark_taken_rows(index, directory, state)
    return index


def reuse_files(globs: tuple[str, ...], *, besides: Path) -> list[Path]:
    """Files that `--reuse` names, sorted, without the run's own output."""
    named = [name for pattern in globs for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - may be absolute
    found = sorted({Path(name).absolute() for name in named})
    return [path for path in found if path != besides.absolute()]


def _publish(session: Session, store: RunStore) -> Summary:
    round_ = session.round
    base = _base_summary(session)

    def summarise() -> Summary:
        return summary_of_output(
            base,
            round_.site.output,
            store.totals,
            price=price_function(round_.job),
            allow_failures=round_.options.allow_failures,
        )

    return publish_round(
        parts=store.parts,
        output=round_.site.output,
        schema=session.schema,
        facts=session.facts,
        totals=store.totals,
        plan=round_.plan,
        first_row=0 if round_.row_indices is None else None,
        manifest=session.manifest,
        directory=round_.site.directory,
        summarise=summarise,
        enter=lambda summary: _ledger(session, summary),
        check=session.check,
    )


def _base_summary(session: Session) -> Summary:
    state = session.state
    return session_summary(
        session.tally,
        verb=session.round.verb,
        started=session.started,
        base={
            "simulated": session.round.facts.simulated,
            "run_id": session.round.facts.run_id,
            "session": session.number,
            "rows_total": session.end_row,
            "possibly_paid": tuple(sorted(set(state.possibly_paid))),
            "damaged": session.recovery.damaged,
            "token_limit": token_limit(session.round.job),
            "limit_named_by": limit_named_by(session.round.job),
            "flow": session.account.to_json(),
        },
    )


def _stopped(session: Session, error: BatcherError) -> Summary:
    """Write down that and why the session stopped; the disk may be the reason, then only the summary tells."""
    summary = replace(
        _base_summary(session),
        exit_code=error.exit_code,
        exit_reason=error.exit_reason,
        next=error.next_step,
        message=str(error),
        hint=error.hint,
        rows_done=session.state.sealed_rows + session.recovery.answered + session.tally.rows,
    )
    Events(session.round.site.directory.events).tell(
        "stop",
        ts=time.time(),
        session=session.number,
        exit_code=error.exit_code,
        reason=error.exit_reason,
        limit=session.account.limit_reached if isinstance(error, LimitReached) else None,
    )
    stop = Stop(session.number, error.exit_code, reason=error.exit_reason, summary=summary.to_json())
    try:
        session.manifest.append(stop)
        _ledger(session, summary)
    except StorageError:
        session.round.options.display.say(
            "  the stop could not be written down; the next session finds it out"
        )
    return summary


def _ledger(session: Session, summary: Summary) -> None:
    round_ = session.round
    enter_session(
        round_.site,
        round_.job,
        round_.facts,
        number=session.number,
        verb=round_.verb,
        started_at=session.started_at,
        tally=session.tally,
        exit_code=summary.exit_code,
    )
