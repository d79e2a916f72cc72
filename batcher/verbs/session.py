"""One process at work on a run: engine, store, signals and progress in one task group, and how they end.

First signal: nothing new is sent, the paid requests in flight come home. Second: they are cancelled; their intents stay
in the journal. Third: the process ends at once. All three are resumable. Whatever ends the session, what was written
is synced before this returns.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio
import orjson

from batcher.errors import BatcherError, Interrupted, StorageError
from batcher.report import Standing
from batcher.store.files import write_atomic
from batcher.verbs.interrupting import obeyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batcher.engine import Engine, Tally
    from batcher.policy import FlowState
    from batcher.store.events import Events
    from batcher.store.run_store import RunStore

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
    """Turns counters into standings, for the display and for ``progress.json``.

    Attributes:
        rows_before: rows that had their end when the session began.
        cost_before: what earlier sessions spent, None when unknown.
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
            held_by=self.flow.held_by(now),
            draining=self.draining,
        )

    async def refresh(self, engine: Engine) -> None:
        """Show standings until cancelled; draining is whatever stopped the engine, a signal or an error."""
        self.display.begin(self.rows_total)
        written = -PROGRESS_FILE_EVERY_S
        while True:
            now = anyio.current_time()
            self.draining = engine.is_running and engine.stopped_by is not None
            standing = self.standing(now)
            self.display.show(standing)
            if now - written >= PROGRESS_FILE_EVERY_S:
                self._write(standing)
                self.touch()
                written = now
            await anyio.sleep(REFRESH_S)

    def finish(self) -> None:
        self._write(self.standing(time.monotonic()))
        self.display.end()

    def _write(self, standing: Standing) -> None:
        content = {
            **self.about,
            "ts": time.time(),
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
        }
        self._tell_changes()
        try:
            _replace_unsynced(self.progress_file, orjson.dumps(content))
        except OSError:
            return  # a view; the run itself will meet the disk's trouble where it matters

    def _tell_changes(self) -> None:
        """What the flow control changed since the last time, with the clock of the wall."""
        epoch = time.time() - time.monotonic()
        for each in self.flow.drain_events():
            self.events.tell(
                each.part,
                ts=epoch + each.at,
                reason=each.reason,
                old=_finite(each.old),
                new=_finite(each.new),
            )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


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
