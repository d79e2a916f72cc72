"""All rows at once: long-lived workers make first attempts, a bounded number of retry tasks repeats what failed.

One worker begins; whoever has a row to send starts another while there are fewer workers than the window has places,
so a short run has few and a window that grows is followed. A window that shrinks sends none of them away: they wait
at the turnstile, and are there when it grows again.

A worker that meets a failed row hands it to a retry task and takes the next row, so a dead row never eats a slot; when
all retry seats are taken, workers take no new rows. Stopping (a signal, a fatal error, a bug) admits nothing new, lets
the paid requests in flight come home, and only then raises; `abandon` cancels those too. What was not sent stays
pending, and so does what was answered by the reply that stopped the run: neither is a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_never

from batcher.engine.attempt import Attempts, void_intent
from batcher.engine.circumstances import Circumstances
from batcher.engine.fatal import Cause, UnpaidFailures, cause_of
from batcher.engine.judging import NO_TERMS
from batcher.engine.life import RowLife
from batcher.engine.patience import Patience
from batcher.engine.proof import Proof
from batcher.engine.rendered import Rendered
from batcher.engine.seats import Seats, retry_seats
from batcher.engine.settle import judge
from batcher.engine.supply import Supply
from batcher.engine.turnstile import Abandoned, Turnstile
from batcher.errors import StorageError
from batcher.policy import Action, RowFacts, Stop, stream_idle_s, wait_for
from batcher.policy import Warning as RunWarning
from batcher.records import ANSWERED, EndRecord, Outcome, Problem

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from batcher.engine.judging import Terms
    from batcher.engine.tally import Tally
    from batcher.engine.twins import Twins
    from batcher.policy import FlowState, RowLimits, Verdict, Watch
    from batcher.ports import Endpoint, Prepare, RequestBuilder, Store
    from batcher.records import Request

AGAIN = frozenset({Action.RETRY, Action.PARK})
UNSENT_PER_TURN = 256
"""Rows that may end without an exchange (invalid, taken over) in one turn of the event loop, all workers together: at
about 50 us each, timers and signals are never more than some 15 ms late."""


class Engine:
    """Runs all rows of a store to their end.

    Made inside the event loop; `run` is called once. `stop` and `abandon` may be called from any task of that loop,
    before `run` too. `clock` is the event loop's own, where the caller has it: asking `anyio` for the time costs 0.8
    us, seven times a row, because it looks first which loop runs.
    """

    def __init__(
        self,
        *,
        store: Store,
        endpoint: Endpoint,
        builder: RequestBuilder,
        flow: FlowState,
        watch: Watch,
        tally: Tally,
        limits: RowLimits,
        rng: random.Random,
        wall: Callable[[], float],
        clock: Callable[[], float] = anyio.current_time,
        timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        terms: Terms = NO_TERMS,
        twins: Twins | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        self._store = store
        self._watch = watch
        self._tally = tally
        self._flow = flow
        self._limits = limits
        self._terms = terms
        self._twins = twins
        self._rng = rng
        self._clock = clock
        self._turnstile = Turnstile(flow, stop=self.stop, clock=clock)
        self._supply = Supply(store, flow.memory)
        self._rendered = Rendered(self._supply, builder, prepare)
        self._seats = Seats(lambda: retry_seats(flow.window))
        self._around = Circumstances()
        self._proof = Proof()
        self._patience = Patience(watch=watch, flow=flow, stop=self.stop)
        self._attempts = Attempts(
            store=store,
            endpoint=endpoint,
            flow=flow,
            turnstile=self._turnstile,
            tally=tally,
            limits=limits,
            terms=terms,
            twins=twins,
            clock=clock,
            wall=wall,
            timeout_s=timeout_s,
            idle_s=stream_idle_s(idle_timeout_s),
            successes=lambda: self._around.ok,
            sending=self._patience.sending,
            facts=self._facts,
            observe=self._observe,
        )
        self._retrying = self._repetition()
        self._scope = anyio.CancelScope()
        self._tasks = anyio.create_task_group()
        self._stopping = anyio.Event()
        self._stopped_by: BaseException | None = None
        self._fatal: Cause | None = None
        self._unpaid_failures = UnpaidFailures()
        self._live = self._workers = 0

    def _repetition(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_result(lambda verdict: verdict.action in AGAIN),
            stop=stop_never,  # budgets end a row by turning its verdict into FAIL
            wait=self._backoff,
            sleep=self._pause,
        )

    # --- from outside ---

    async def run(self) -> None:
        """Return when every row of the store is done.

        Raises:
            BatcherError: what stopped the run, after everything in flight came home (or was abandoned).
            Exception: a bug, likewise.
        """
        if self._stopped_by is None:
            with self._scope:
                async with self._tasks:
                    self._tasks.start_soon(self._patience.wait)
                    self._hire()
        if self._stopped_by is not None:
            self._reopen_failures()
            raise self._stopped_by

    def stop(self, why: BaseException) -> None:
        """Send nothing new; what is in flight drains, then `run` raises `why`. The first call wins."""
        if self._stopped_by is not None:
            return
        self._stopped_by = why
        self._stopping.set()
        self._turnstile.close()
        self._proof.close()
        self._supply.close()

    def abandon(self) -> None:
        """After `stop`: cancel what is in flight too; the intents on disk say what may have been paid for."""
        assert self._stopped_by is not None, (
            "cancelled without a reason, run would return as if all were done"
        )
        self._scope.cancel()

    @property
    def is_running(self) -> bool:
        """Whether rows are still being done (and `abandon` has something to cancel)."""
        return self._live > 0

    @property
    def stopped_by(self) -> BaseException | None:
        """Why nothing new is sent any more; None while the run goes on."""
        return self._stopped_by

    # --- rows ---

    def _hire(self) -> None:
        """Start a worker more."""
        self._workers += 1
        self._live += 1
        self._tasks.start_soon(self._worker)

    async def _worker(self) -> None:
        try:
            await self._work()
        except Abandoned:
            pass
        except Exception as error:  # noqa: BLE001 - the attempt boundary: paid neighbours come home, then it is raised
            self.stop(error)
        finally:
            self._leave()

    async def _work(self) -> None:
        unsent = 0
        while (request := await self._rendered.next()) is not None:
            if isinstance(request, Problem) or await self._took_over(request) or self._waits(request):
                if isinstance(request, Problem):
                    await self._end_invalid(request)
                unsent += 1
                if unsent % max(1, UNSENT_PER_TURN // self._workers) == 0:
                    await anyio.lowlevel.checkpoint()
                continue
            if self._workers < self._flow.window:
                self._hire()
            await self._first(request)

    async def _first(self, request: Request) -> None:
        """A row's first attempt, and all that follows from it; further attempts are a task of their own."""
        life = self._begin(request)
        verdict = await self._attempts.make(life)
        if verdict.action not in AGAIN:
            await self._settle(life, verdict)
            return
        await self._seats.take()
        self._live += 1
        self._tasks.start_soon(self._retry, life)

    async def _twin(self, request: Request) -> None:
        """A row that waited for its twin in vain."""
        try:
            await self._first(request)
        except Abandoned:
            pass
        except Exception as error:  # noqa: BLE001 - the attempt boundary, as in _worker
            self.stop(error)
        finally:
            self._leave()

    async def _retry(self, life: RowLife) -> None:
        try:
            assert life.verdict is not None
            await self._pause(wait_for(life.verdict, nth=life.failures, rng=self._rng))
            # A copy: tenacity keeps the state of an iteration on the object.
            verdict: Verdict = await self._retrying.copy()(self._again, life)
            await self._settle(life, verdict)
        except Abandoned:
            self._put_back(life)
        except Exception as error:  # noqa: BLE001 - the attempt boundary, as in _worker
            self.stop(error)
        finally:
            self._seats.give()
            self._leave()

    async def _again(self, life: RowLife) -> Verdict:
        if not self._flow.blames_rows:
            self._flow.awaiting_proof += 1
            await self._proof.wait(life, self._limits)
            self._flow.awaiting_proof -= 1
        return await self._attempts.make(life)

    async def _end_invalid(self, problem: Problem) -> None:
        end = EndRecord(
            row_index=problem.row_index,
            outcome=Outcome.INVALID,
            error_type=problem.error_type,
            error_message=problem.message,
            custom_id=problem.custom_id,
        )
        await self._store.finish(problem.row_index, Outcome.INVALID, end)
        self._tally.ended(Outcome.INVALID, end)

    async def _took_over(self, request: Request) -> bool:
        """End a row whose answer was bought before."""
        reuse = self._store.find_answer(request)
        if self._twins is not None:
            if reuse is None:
                reuse = self._twins.find(request)
            else:
                self._twins.remember(request.request_hash, reuse.reused_from, reuse.values)
        if reuse is None:
            return False
        outcome = Outcome(str(reuse.values["outcome"]))
        await self._store.finish(request.row_index, outcome, reuse)
        self._tally.reused += 1
        self._tally.ended(outcome, None)
        return True

    def _waits(self, request: Request) -> bool:
        """Whether a twin of the row is in hand; its request counts as in hand while it waits."""
        if self._twins is None or not self._twins.waits(request):
            return False
        self._supply.begun(request)
        return True

    async def _release(self, request: Request) -> None:
        """The row is done: those that wait for it take its answer, or the next of them is sent."""
        released = 0
        while self._twins is not None and (twin := self._twins.next_after(request)) is not None:
            self._supply.ended(twin)
            if not await self._took_over(twin):
                self._live += 1
                self._tasks.start_soon(self._twin, twin)
                return
            released += 1
            if released % UNSENT_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()

    def _begin(self, request: Request) -> RowLife:
        attempts, paid = self._store.prior(request.row_index)
        life = RowLife(request, queued_at=self._clock(), attempts=attempts, paid_attempts=paid)
        # A row that is not done has an attempt left: what was kept may have been throttled, which costs a row nothing.
        if paid:
            life.budget = life.budget.resumed(min(paid, self._limits.max_paid_attempts - 1))
        for record in self._store.replies(request.row_index):
            before = judge(record, self._terms, mismatches=life.mismatches)
            if before.misfit is not None:
                life.ask_again(before.misfit)
        self._around.begun()
        self._supply.begun(request)
        return life

    async def _settle(self, life: RowLife, verdict: Verdict) -> None:
        """The row is done, unless it met what stops the run: then it stays pending."""
        self._out_of_hand(life)
        is_unpaid = not life.paid_attempts
        cause = cause_of(verdict)
        if verdict.action is Action.STOP or (is_unpaid and cause == self._fatal):
            return
        assert life.reply is not None
        outcome = verdict.outcome or Outcome.FAILED
        end = None if verdict.action is Action.KEEP else life.end_record(verdict, life.reply)
        if outcome in ANSWERED:
            self._around.answered(is_ok=outcome is Outcome.OK)
            self._proof.answered(life.sent_at_tick)
        await self._store.finish(life.request.row_index, outcome, end)
        self._tally.ended(outcome, end)
        if end is not None and outcome is Outcome.FAILED and is_unpaid:
            self._unpaid_failures.remember(cause, end)
        await self._release(life.request)

    def _out_of_hand(self, life: RowLife) -> None:
        self._around.ended(life.request.row_index)
        self._supply.ended(life.request)

    def _put_back(self, life: RowLife) -> None:
        """The run stops while the row waits: it stays pending, and its last attempt was certainly not paid."""
        self._out_of_hand(life)
        if life.open_intent:
            try:
                void_intent(self._store, life)
            except StorageError as error:
                self.stop(error)  # the intent stays open, which claims too much rather than too little

    # --- waiting and stopping ---

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until the run stops: then the turnstile, which is closed, abandons who comes."""
        with anyio.move_on_after(seconds):
            await self._stopping.wait()

    def _backoff(self, state: RetryCallState) -> float:
        life: RowLife = state.args[0]
        assert life.verdict is not None
        return wait_for(life.verdict, nth=life.failures, rng=self._rng)

    def _facts(self, life: RowLife) -> RowFacts:
        assert life.verdict is not None
        return self._around.around(
            life,
            is_dry=self._supply.is_dry(self._clock()),
            in_outage=self._flow.is_uncharged(life.verdict, life.sent_at_tick),
            answered_sent=self._proof.answered_sent,
            is_blamed=self._flow.blames_rows,
        )

    def _observe(self, life: RowLife, verdict: Verdict) -> bool:
        word = self._watch.observe(verdict, self._clock(), life.request.row_index)
        if isinstance(word, RunWarning):
            self._tally.warnings.append(word.message)
        if not isinstance(word, Stop) or self._stopped_by is not None:
            return False
        self._fatal = cause_of(verdict)
        self.stop(word.error)
        return True

    def _leave(self) -> None:
        self._live -= 1
        if self._live == 0:
            self._patience.end()

    def _reopen_failures(self) -> None:
        """Rows that failed unpaid in this session of what turned out to be fatal are pending again."""
        if self._fatal is None:
            return
        for end in self._unpaid_failures.of(self._fatal):
            self._store.reopen(end.row_index)
            self._tally.reopened(end)
