"""Rows bought: engine, endpoint, flow control, signals and progress of one session, put together and run."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from batcher.engine import Engine
from batcher.errors import LimitReached
from batcher.policy import FlowState, RowLimits, Watch, attempt_timeout_s
from batcher.report.wording import duration
from batcher.store.events import Events
from batcher.store.run_store import RunStore
from batcher.store.store_plan import StorePlan
from batcher.verbs.closing import token_limit
from batcher.verbs.deduping import twins_of
from batcher.verbs.interrupting import Relay
from batcher.verbs.limits import flow_settings, limit_told, open_files_for, rates_of
from batcher.verbs.preparing import off_the_loop
from batcher.verbs.session import Board, Signals, work
from batcher.verbs.spending import Audit, Spent, spent_before
from batcher.verbs.wiring import price_function, request_builder

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.ports import Endpoint, RequestBuilder
    from batcher.verbs.round import Session


def buy(session: Session) -> RunStore:
    """Do every row of the session's round; all shards are sealed on return.

    Raises:
        BatcherError: what stopped it, after everything that came back is stored.
    """
    round_ = session.round
    builder = request_builder(
        round_.job, round_.shape, identity=round_.target.identity, simulated=round_.target.simulated
    )
    store = _store(session, builder)
    spent = Spent()
    if round_.job.limits.max_cost_usd is not None:
        spent = spent_before(session, price=price_function(round_.job), builder=builder)
    relay = Relay()

    async def main() -> None:
        endpoint = round_.target.open_endpoint()
        try:
            await _at_work(session, store, builder, endpoint, relay, spent)
        finally:
            with anyio.CancelScope(shield=True):
                await endpoint.aclose()

    with relay.held():
        run_loop(main)
    return store


def _store(session: Session, builder: RequestBuilder) -> RunStore:
    round_ = session.round
    store = RunStore(
        directory=round_.site.directory,
        manifest=session.manifest,
        state=session.state,
        source=round_.source,
        plan=StorePlan(
            session=session.number,
            end_row=session.end_row,
            columns=builder.columns,
            raw=builder.raw_columns,
            schema=session.schema,
            facts=session.facts,
            settle=session.settle,
            strict=round_.options.strict,
            selected=round_.selected,
            base=round_.base,
            row_indices=round_.row_indices,
            audit=lambda: Audit(
                price=price_function(round_.job), builder=builder, terms=session.settle.terms
            ),
        ),
        ballast=session.ballast,
        reuse=session.reuse,
    )
    store.adopt(session.recovery.shards)
    return store


def _flow(session: Session, *, rng: random.Random, spent_usd: float) -> FlowState:
    """The flow control of the session, as the job and the machine allow it."""
    job, display = session.round.job, session.round.options.display
    most, capped = open_files_for(job.limits.concurrency)
    if capped is not None:
        session.tally.warnings.append(capped)
        display.say(f"  {capped}")
    settings = flow_settings(
        job, most_concurrency=most, input_format=session.round.shape.format, started=session.started
    )
    settings = replace(settings, answered_before=_answered_before(session))
    return FlowState.from_settings(
        settings,
        rng=rng,
        now=anyio.current_time(),
        spent_usd=spent_usd,
        further=[session.account.latencies],
    )


def _answered_before(session: Session) -> bool:
    """Whether the endpoint answered rows of this run in earlier sessions: then it is no wrong address."""
    seals = session.state.sealed.values()
    return (
        session.round.base is not None  # a retry: the output stands
        or session.recovery.answered > 0
        or any(_outcomes(seal.totals).get("ok", 0) for seal in seals)
    )


async def _at_work(  # noqa: PLR0917 - the parts of one session
    session: Session,
    store: RunStore,
    builder: RequestBuilder,
    endpoint: Endpoint,
    relay: Relay,
    spent: Spent,
) -> None:
    job, display = session.round.job, session.round.options.display
    rng = random.Random()  # noqa: S311 - jitter, not a secret
    flow = _flow(session, rng=rng, spent_usd=spent.usd(rates_of(job)))
    timeout_s = attempt_timeout_s(token_limit(job), timeout_s=job.endpoint.timeout_s)
    engine = Engine(
        store=store,
        endpoint=endpoint,
        builder=builder,
        flow=flow,
        watch=Watch(patience_s=max(600.0, timeout_s), answered_before=_answered_before(session)),
        tally=session.tally,
        limits=RowLimits(
            max_attempts=job.limits.max_attempts, max_paid_attempts=job.limits.max_paid_attempts
        ),
        rng=rng,
        wall=time.time,
        clock=asyncio.get_running_loop().time,
        timeout_s=job.endpoint.timeout_s,
        idle_timeout_s=job.endpoint.idle_timeout_s,
        terms=session.settle.terms,
        twins=twins_of(session),
        prepare=off_the_loop(builder) if builder.raw_columns else None,
    )
    board = _board(session, flow, store, spent)

    def stop(why: BaseException) -> None:
        engine.stop(why)
        store.stop(why)

    signals = Signals(
        engine=engine,
        stop=stop,
        display=display,
        tally=session.tally,
        board=board,
        drain=lambda: f"up to {duration(timeout_s)}",
    )
    await store.start()  # a signal that came before is heard now, and stops it
    relay.attach(asyncio.get_running_loop(), signals.hear)
    try:
        await work(store=store, engine=engine, board=board, signals=signals)
    except LimitReached as reached:
        before = spent.usd(rates_of(job)) - spent.lost_usd(rates_of(job))
        certain = before + (session.tally.cost_usd or 0.0)
        raise limit_told(reached, job, flow, certain_usd=certain, now=anyio.current_time()) from reached


def run_loop(main: Callable[[], object]) -> None:
    """Run an async function on asyncio, with uvloop where it is installed."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        use_uvloop = False
    else:
        use_uvloop = True
    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": use_uvloop})  # type: ignore[arg-type]


def _board(session: Session, flow: FlowState, store: RunStore, spent: Spent) -> Board:
    round_, state = session.round, session.state
    sealed_ok = sum(_outcomes(seal.totals).get("ok", 0) for seal in state.sealed.values())
    costs = [cost for seal in state.sealed.values() if isinstance(cost := seal.totals.get("cost_usd"), float)]
    if round_.job.limits.max_cost_usd is not None:
        costs = [spent.known_usd]  # beside the cap stands all that counts towards it, journals included
    return Board(
        tally=session.tally,
        flow=flow,
        display=round_.options.display,
        rows_total=session.end_row,
        rows_before=state.sealed_rows + session.recovery.answered,
        progress_file=round_.site.directory.progress,
        events=Events(round_.site.directory.events),
        touch=lambda: round_.lock.touch(now=time.time()),
        cost_before=sum(costs) if costs else 0.0,
        not_ok_before=state.sealed_rows - sealed_ok,
        account=session.account,
        store_waits=store.waits_for,
        is_syncing=store.is_syncing,
        about={
            "run_id": round_.facts.run_id,
            "session": session.number,
            "pid": os.getpid(),
            "verb": round_.verb,
            "job": round_.facts.job_name,
            "output": str(round_.site.output),
            "model": round_.job.request.model,
        },
    )


def _outcomes(totals: object) -> dict[str, int]:
    found = totals.get("outcomes", {}) if isinstance(totals, dict) else {}
    return found if isinstance(found, dict) else {}
