"""One process at work on a run: engine, store, signals and progress in one task group, and how they end.

First signal: nothing new is sent, the paid requests in flight come home. Second: they are cancelled; their intents stay
in the journal. Third: the process ends at once. All three are resumable. Whatever ends the session, what was written
is synced before this returns.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio
import orjson

from batcher.errors import BatcherError, Interrupted, StorageError
from batcher.report import Standing
from batcher.store.files import write_atomic
from batcher.verbs.flow_account import FlowAccount
from batcher.verbs.flow_lines import FlowLines
from batcher.verbs.held import Load, Look, holder
from batcher.verbs.interrupting import obeyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from batcher.engine import Engine, Tally
    from batcher.policy import FlowState
    from batcher.store.events import Events
    from batcher.store.run_store import RunStore
    from batcher.verbs.flow_lines import Line

REFRESH_S = 0.2
PROGRESS_FILE_EVERY_S = 2.0
RATE_OVER_S = 10.0


class Display(Protocol):
    """Where progress is shown; the CLI brings a terminal or a log."""

    def begin(self, rows_total: int) -> None: ...
    def show(self, standing: Standing) -> None:
        """A new standing, every 0.2 s; the display decides what to draw."""
        ...

    def say(self, line: str) -> None:
        """A line that stays."""
        ...

    def end(self) -> None: ...


class Silence:
    """A display that shows nothing."""

    def begin(self, rows_total: int) -> None: ...
    def show(self, standing: Standing) -> None: ...
    def say(self, line: str) -> None: ...
    def end(self) -> None: ...


@dataclass(slots=True)
class Board:
    """Turns counters into standings, for the display and for ``progress.json``; keeps the flow control's account.

    Attributes:
        rows_before: rows that had their end when the session began.
        cost_before: what earlier sessions spent, None when unknown.
        account: what held the run, for how long; the summary reads it when the session is over.
        store_waits: what a worker waits for at the store ("disk" or "dataset"), or None.
        is_syncing: whether answers wait for a sync that takes long.
    """

    tally: Tally
    flow: FlowState
    display: Display
    rows_total: int
    rows_before: int
    progress_file: Path
    touch: Callable[[], None]
    events: Events
    cost_before: float | None = None
    about: dict[str, object] = field(default_factory=dict)
    _points: deque[tuple[float, int]] = field(default_factory=deque)
    draining: bool = False
    not_ok_before: int = 0
    account: FlowAccount = field(default_factory=FlowAccount)
    store_waits: Callable[[], str | None] = lambda: None
    is_syncing: Callable[[], bool] = lambda: False
    _lines: FlowLines = field(default_factory=lambda: FlowLines(time.monotonic()))
    _load: Load = field(default_factory=Load)
    _refused: Counter[str] = field(default_factory=Counter)
    _sent: int = 0

    def look(self, now: float, *, late_s: float = 0.0) -> None:
        """See what holds the run at this moment, and what changed since the last look.

        Args:
            now: on the clock of `anyio.current_time`.
            late_s: by how much the sleep before this look was too long.
        """
        self._load.add(now, cpu_s=time.process_time(), wanted_s=_wanted_s(), late_s=late_s)
        refused = Counter(self.flow.held)
        held_by = holder(
            Look(
                said=self.flow.held_by(now),
                refused=refused - self._refused,
                sent=self.tally.attempts - self._sent,
                in_flight=self.tally.in_flight,
                window=self.flow.window,
                store=self.store_waits(),
                is_syncing=self.is_syncing(),
                is_cpu_short=self._load.is_short,
            )
        )
        self._refused, self._sent = refused, self.tally.attempts
        state, changes = self.flow.state(now), self.flow.drain_events()
        self.account.look(now, held_by=held_by, window=self.flow.window, state=state)
        self.account.changed(changes)
        self._tell(self._lines.changes(changes, state, now))

    def standing(self, now: float) -> Standing:
        """Where the run stands; `now` is on the clock of `anyio.current_time`."""
        done = self.rows_before + self.tally.rows
        while len(self._points) > 1 and self._points[0][0] < now - RATE_OVER_S:
            self._points.popleft()
        rate = None
        if self._points and now > self._points[0][0]:
            rate = (done - self._points[0][1]) / (now - self._points[0][0])
        self._points.append((now, done))
        cost = self.tally.cost_usd
        if cost is not None and self.cost_before is not None:
            cost += self.cost_before
        return Standing(
            rows_done=done,
            rows_total=self.rows_total,
            rate=rate,
            not_ok=self.not_ok_before + self.tally.rows - self.tally.outcomes_ok,
            in_flight=self.tally.in_flight,
            cost_usd=cost,
            held_by=self.account.held_by,
            draining=self.draining,
            flow=self.account.state,
            ts=time.time(),
        )

    async def refresh(self, engine: Engine) -> None:
        """Show standings until cancelled; draining is whatever stopped the engine, a signal or an error."""
        self.display.begin(self.rows_total)
        written = -PROGRESS_FILE_EVERY_S
        late_s = 0.0
        while True:
            now = anyio.current_time()
            self.draining = engine.is_running and engine.stopped_by is not None
            self.look(now, late_s=late_s)
            standing = self.standing(now)
            self.display.show(standing)
            if now - written >= PROGRESS_FILE_EVERY_S:
                self._write(standing)
                self.touch()
                written = now
            asleep = anyio.current_time()
            await anyio.sleep(REFRESH_S)
            late_s = max(0.0, anyio.current_time() - asleep - REFRESH_S)

    def finish(self) -> None:
        now = time.monotonic()
        self.look(now)
        self._write(self.standing(now))
        self._tell(self._lines.rest())
        self.display.end()

    def _write(self, standing: Standing) -> None:
        content = {
            **self.about,
            "ts": standing.ts,
            "rows_done": standing.rows_done,
            "rows_total": standing.rows_total,
            "rate": standing.rate,
            "not_ok": standing.not_ok,
            "in_flight": standing.in_flight,
            "cost_usd": standing.cost_usd,
            "held_by": standing.held_by,
            "outcomes": {str(outcome): rows for outcome, rows in self.tally.outcomes.items()},
            "sent": self.tally.attempts,
            "throttled": self.tally.throttled,
            "flow": self.account.to_json(),
        }
        self._tell(self._sample(standing))
        try:
            _replace_unsynced(self.progress_file, orjson.dumps(content))
        except OSError:
            return  # a view; the run itself will meet the disk's trouble where it matters

    def _sample(self, standing: Standing) -> list[Line]:
        return self._lines.sample(
            self.account,
            time.monotonic(),
            rows=self.tally.rows,
            throttled=self.tally.throttled,
            in_flight=standing.in_flight,
            window=self.flow.window,
        )

    def _tell(self, lines: Iterable[Line]) -> None:
        """Write events, with the clock of the wall."""
        epoch = time.time() - time.monotonic()
        for line in lines:
            self.events.tell(line.name, ts=epoch + line.at, **line.facts)


def _wanted_s() -> float:
    """Seconds that this thread has run, or was ready to run and waited for a core; 0 where no such file is (Linux)."""
    try:  # not Path.read_text: at five looks a second that cost 1 % of a run of 64 connections
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            words = os.read(file, 256).split()
        finally:
            os.close(file)
        return (int(words[0]) + int(words[1])) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _replace_unsynced(path: Path, content: bytes) -> None:
    """Replace a file that may be lost: readers see the old or the new, a power loss may take both."""
    beside = path.with_suffix(".tmp")
    beside.write_bytes(content)
    beside.chmod(0o600)
    beside.replace(path)


@dataclass(slots=True)
class Signals:
    """What the user's signals do to a session."""

    engine: Engine
    stop: Callable[[BaseException], None]
    display: Display
    tally: Tally
    board: Board
    drain: Callable[[], str]
    count: int = 0

    async def listen(self) -> None:
        """Obey signals until cancelled; outside the main thread there is nothing to hear.

        Whoever had them before has them again when this ends: the receiver would leave the system's defaults, and
        a Ctrl-C in the moment after it would be a traceback.
        """
        before = {signum: signal.getsignal(signum) for signum in obeyed()}
        if not before:
            return
        try:
            with anyio.open_signal_receiver(*before) as received:
                async for signum in received:
                    self.hear(int(signum))
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler if handler is not None else signal.SIG_DFL)

    def hear(self, signum: int) -> None:
        """One signal: drain, abandon, or end at once."""
        self.count += 1
        if self.count == 1:
            flying = self.tally.in_flight
            self.stop(Interrupted(signum, hint="the same command goes on"))
            if flying:
                self.display.say(
                    f"  draining {flying:,} paid requests, {self.drain()}; the signal again abandons them"
                )
        elif self.count == 2 and self.engine.is_running:
            self.engine.abandon()
        else:
            os._exit(128 + signum)


async def work(*, store: RunStore, engine: Engine, board: Board, signals: Signals) -> None:
    """Do every row of a store that is started, and seal every shard.

    Raises:
        BatcherError: what stopped the run; all that came back is stored and synced.
    """
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(signals.listen)
            tasks.start_soon(_shown, board, engine, signals.stop)
            tasks.start_soon(store.run_background, signals.stop)
            try:
                await engine.run()
                await store.sealed_all()
            finally:
                with anyio.CancelScope(shield=True):
                    await _flush(store, stopped=engine.stopped_by)
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        board.finish()


async def _shown(board: Board, engine: Engine, stop: Callable[[BaseException], None]) -> None:
    """Show progress; what goes wrong in it stops the session, but in order: paid requests come home first."""
    try:
        await board.refresh(engine)
    except Exception as error:  # noqa: BLE001 - told to the engine, which drains and raises it
        stop(error)


async def _flush(store: RunStore, *, stopped: BaseException | None) -> None:
    try:
        await store.close()
    except StorageError:
        if not isinstance(stopped, StorageError):
            raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception of a task group's that matters: an expected one before a bug, a bug before a cancellation."""
    leaves = list(_leaves(group))
    for kind in (BatcherError, Exception):
        found = next((each for each in leaves if isinstance(each, kind)), None)
        if found is not None:
            return found
    return leaves[0]


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


def write_json(path: Path, content: object) -> None:
    """Write one JSON object durably. Raises StorageError."""
    write_atomic(path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
