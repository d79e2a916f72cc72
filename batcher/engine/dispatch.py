"""All rows at once: long-lived workers make first attempts, a bounded number of retry tasks repeats what failed.

A worker that meets a failed row hands it to a retry task and takes the next row, so a dead row never eats a slot; when
all retry seats are taken, workers take no new rows. Stopping (a signal, a fatal error, a bug) admits nothing new, lets
the paid requests in flight come home, and only then raises; `abandon` cancels those too. What was not sent stays
pending: it is not a result.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_never

from batcher.engine.attempt import Attempts
from batcher.engine.life import RowLife
from batcher.engine.turnstile import Abandoned, Turnstile
from batcher.errors import BatcherError
from batcher.policy import Action, RowFacts, Stop, wait_for
from batcher.policy import Warning as RunWarning
from batcher.records import ANSWERED, EndRecord, Outcome, Problem

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from batcher.engine.tally import Tally
    from batcher.policy import FlowState, RowLimits, Verdict, Watch
    from batcher.ports import Endpoint, RequestBuilder, Store
    from batcher.records import InputRow, Request

AGAIN = frozenset({Action.RETRY, Action.PARK})
ROWS_BETWEEN_CHECKPOINTS = 64
"""Rows that end without an exchange (invalid, taken over) before a worker lets the event loop breathe."""
REOPENABLE = 65_536
"""Unpaid failed rows remembered per cause, to make them pending again when that cause turns out to be fatal."""


def retry_seats(concurrency: int) -> int:
    """How many failed rows may wait for another attempt; beyond it no new rows are taken."""
    return max(64, 4 * concurrency)


class Engine:
    """Runs all rows of a store to their end.

    `run` is called once. `stop` and `abandon` may be called from any task of the same event loop.
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
        concurrency: int,
        rng: random.Random,
        wall: Callable[[], float],
        timeout_s: float | None = None,
    ) -> None:
        self._store = store
        self._builder = builder
        self._flow = flow
        self._watch = watch
        self._tally = tally
        self._concurrency = concurrency
        self._rng = rng
        self._turnstile = Turnstile(flow)
        self._attempts = Attempts(
            store=store,
            endpoint=endpoint,
            flow=flow,
            turnstile=self._turnstile,
            tally=tally,
            limits=limits,
            wall=wall,
            timeout_s=timeout_s,
            facts=self._facts,
            observe=self._observe,
        )
        self._retrying = AsyncRetrying(
            retry=retry_if_result(lambda verdict: verdict.action in AGAIN),
            stop=stop_never,  # budgets end a row by turning its verdict into FAIL
            wait=self._backoff,
            sleep=self._pause,
        )
        self._chunk: deque[InputRow] = deque()
        self._exhausted = False
        self._stopped_by: BaseException | None = None
        self._unpaid_failures: dict[str, deque[int]] = {}
        self._live = 0
        self._answers = 0
        self._failed_since_answer: Counter[int] = Counter()

    # --- from outside ---

    async def run(self) -> None:
        """Return when every row of the store is done.

        Raises:
            BatcherError: what stopped the run, after everything in flight came home (or was abandoned).
        """
        self._feeding = anyio.Lock()
        self._feed_scope = anyio.CancelScope()
        self._seats = anyio.Semaphore(retry_seats(self._concurrency))
        self._stopping = anyio.Event()
        self._all_done = anyio.Event()
        if self._stopped_by is None:
            with anyio.CancelScope() as self._scope:
                async with anyio.create_task_group() as self._tasks:
                    self._live = self._concurrency
                    self._watch.start(anyio.current_time())
                    self._tasks.start_soon(self._watch_for_success)
                    for _ in range(self._concurrency):
                        self._tasks.start_soon(self._worker)
        if self._stopped_by is not None:
            self._reopen_failures()
            raise self._stopped_by

    def stop(self, why: BaseException) -> None:
        """Send nothing new; what is in flight drains, then `run` raises `why`. The first call wins."""
        if self._stopped_by is not None:
            return
        self._stopped_by = why
        if hasattr(self, "_stopping"):
            self._stopping.set()
            self._turnstile.close()
            self._feed_scope.cancel()

    def abandon(self) -> None:
        """Cancel what is in flight too; the intents on disk say what may have been paid for."""
        self._scope.cancel()

    @property
    def is_running(self) -> bool:
        """Whether rows are still being done (and `abandon` has something to cancel)."""
        return self._live > 0

    @property
    def stopped_by(self) -> BaseException | None:
        return self._stopped_by

    # --- rows ---

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
        quick = 0
        while (row := await self._next_row()) is not None:
            request = self._builder.build(row)
            if await self._ended_unsent(request):
                quick += 1
                if quick % ROWS_BETWEEN_CHECKPOINTS == 0:
                    await anyio.lowlevel.checkpoint()
                continue
            assert not isinstance(request, Problem)
            life = self._begin(request)
            verdict = await self._attempts.make(life)
            if verdict.action in AGAIN:
                await self._seats.acquire()
                self._live += 1
                self._tasks.start_soon(self._retry, life)
            else:
                await self._settle(life, verdict)

    async def _retry(self, life: RowLife) -> None:
        try:
            assert life.verdict is not None
            await self._pause(wait_for(life.verdict, nth=life.failures, rng=self._rng))
            # A copy: tenacity keeps the state of an iteration on the object.
            verdict: Verdict = await self._retrying.copy()(self._attempts.make, life)
            await self._settle(life, verdict)
        except Abandoned:
            pass
        except Exception as error:  # noqa: BLE001 - the attempt boundary, as in _worker
            self.stop(error)
        finally:
            self._seats.release()
            self._leave()

    async def _next_row(self) -> InputRow | None:
        while not self._chunk:
            if self._exhausted or self._stopped_by is not None:
                return None
            async with self._feeding:
                await self._feed()
        return self._chunk.popleft() if self._stopped_by is None else None

    async def _feed(self) -> None:
        if self._chunk or self._exhausted or self._stopped_by is not None:
            return  # somebody else did, while this worker waited for its turn
        with self._feed_scope:
            rows = await self._store.next_rows()
            if rows is None:
                self._exhausted = True
            else:
                self._chunk.extend(rows)

    async def _ended_unsent(self, request: Request | Problem) -> bool:
        """End a row that needs no exchange: unusable, or answered before."""
        if isinstance(request, Problem):
            end = EndRecord(
                row_index=request.row_index,
                outcome=Outcome.INVALID,
                error_type=request.error_type,
                error_message=request.message,
                custom_id=request.custom_id,
            )
            self._tally.ended(Outcome.INVALID, end)
            await self._store.finish(request.row_index, Outcome.INVALID, end)
            return True
        reuse = self._store.find_answer(request)
        if reuse is None:
            return False
        outcome = Outcome(str(reuse.values["outcome"]))
        self._tally.reused += 1
        self._tally.ended(outcome, None)
        await self._store.finish(request.row_index, outcome, reuse)
        return True

    def _begin(self, request: Request) -> RowLife:
        attempts, paid = self._store.prior(request.row_index)
        life = RowLife(request, queued_at=anyio.current_time(), attempts=attempts, paid_attempts=paid)
        life.budget = life.budget.resumed(paid)
        return life

    async def _settle(self, life: RowLife, verdict: Verdict) -> None:
        """The row is done, unless the verdict stops the run: then it stays pending."""
        self._failed_since_answer.pop(life.request.row_index, None)
        if verdict.action is Action.STOP:
            self._stop_by(verdict)
            return
        assert life.reply is not None
        outcome = verdict.outcome or Outcome.FAILED
        end = None if verdict.action is Action.KEEP else life.end_record(verdict, life.reply)
        if outcome in ANSWERED:
            self._answers += 1
            self._failed_since_answer.clear()
        self._tally.ended(outcome, end)
        await self._store.finish(life.request.row_index, outcome, end)
        if end is not None and outcome is Outcome.FAILED and not life.paid_attempts:
            memory = self._unpaid_failures.setdefault(end.error_type, deque(maxlen=REOPENABLE))
            memory.append(life.request.row_index)

    # --- waiting and stopping ---

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stopping.wait()
        if self._stopping.is_set():
            raise Abandoned

    def _backoff(self, state: RetryCallState) -> float:
        life: RowLife = state.args[0]
        assert life.verdict is not None
        return wait_for(life.verdict, nth=life.failures, rng=self._rng)

    def _facts(self, life: RowLife) -> RowFacts:
        row = life.request.row_index
        self._failed_since_answer[row] = 1
        facts = RowFacts(
            answers_since_last_attempt=self._answers - life.answers_seen if life.answers_seen >= 0 else 1,
            seconds_since_last_attempt=life.sent_at_tick - life.last_attempt_at,
            all_left_failed=self._exhausted and not self._chunk and self._all_have_failed(),
            answers=self._answers,
        )
        life.answers_seen = self._answers
        return facts

    def _all_have_failed(self) -> bool:
        return len(self._failed_since_answer) >= self._live

    def _observe(self, life: RowLife, verdict: Verdict) -> None:
        word = self._watch.observe(verdict, anyio.current_time(), life.request.row_index)
        if isinstance(word, Stop):
            self._fatal_type = verdict.error_type
            self.stop(word.error)
        elif isinstance(word, RunWarning):
            self._tally.warnings.append(word.message)

    def _stop_by(self, verdict: Verdict) -> None:
        kind = verdict.stop or BatcherError
        self.stop(kind(verdict.message or f"{verdict.rule}: {verdict.error_message}"))

    async def _watch_for_success(self) -> None:
        while not self._all_done.is_set():
            deadline = self._watch.deadline_of_no_success(anyio.current_time())
            with anyio.CancelScope(deadline=deadline):
                await self._all_done.wait()
                return
            stop = self._watch.overdue(anyio.current_time())
            if stop is not None:
                self.stop(stop.error)
                return

    def _leave(self) -> None:
        self._live -= 1
        if self._live == 0:
            self._all_done.set()

    def _reopen_failures(self) -> None:
        """Rows that failed unpaid in this session of what turned out to be fatal are pending again."""
        for row_index in self._unpaid_failures.get(getattr(self, "_fatal_type", None) or "", ()):
            self._store.reopen(row_index)
