"""A world for one engine in virtual time: rows in memory, a server that follows a script, and a log of what happened.

Virtual time is trio's: hours of back-off pass in milliseconds, and nothing sleeps. The store and the endpoint share one
log, so that a test can ask in which order things were written and sent.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio
import anyio.lowlevel
import trio.testing

from batcher.engine import Engine, Tally
from batcher.engine.judging import NO_TERMS, Terms
from batcher.policy import FlowSettings, FlowState, RowLimits, Watch
from batcher.records import (
    EndRecord,
    Fault,
    FaultKind,
    InputRow,
    IntentRecord,
    JournalRecord,
    Outcome,
    Problem,
    Progress,
    ReopenRecord,
    Reply,
    ReplyRecord,
    Request,
    ReuseRecord,
    RowHistory,
    VoidRecord,
)

if TYPE_CHECKING:
    from batcher.engine.twins import Twins
    from batcher.ports import BodyWatch

Result = TypeVar("Result")

EPOCH = 1_700_000_000.0
"""What the wall clock shows when virtual time begins."""


# --- what a server does -----------------------------------------------------------------------------------


class Step(NamedTuple):
    """After `seconds` the reply comes; never, when `seconds` is None: then the attempt's deadline ends it."""

    status: int | None = 200
    body: bytes = b""
    seconds: float | None = 1.0
    headers: tuple[tuple[str, str], ...] = ()
    fault: FaultKind | None = None
    progress: Progress = Progress.COMPLETE


class Bug(Exception):
    """What is no failure of the network."""


def completion(text: str = "fine", finish: str | None = "stop") -> bytes:
    return json.dumps(
        {
            "id": "c-1",
            "model": "m-1",
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
    ).encode()


def ok(seconds: float | None = 1.0, text: str = "fine", finish: str | None = "stop") -> Step:
    return Step(200, completion(text, finish), seconds)


def error(
    status: int, *, code: str | None = None, message: str = "no", seconds: float = 0.1, **headers: str
) -> Step:
    body = json.dumps({"error": {"message": message, "type": None, "code": code}}).encode()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Step(status, body, seconds, named)


def unsent(kind: FaultKind = FaultKind.NOT_SENT, seconds: float = 0.1) -> Step:
    return Step(None, b"", seconds, fault=kind, progress=Progress.NOT_SENT)


def lost(seconds: float = 0.1) -> Step:
    return Step(None, b"", seconds, fault=FaultKind.RESET, progress=Progress.SENT)


HANG = ok(None)
REFUSED = unsent(FaultKind.CONNECT_REFUSED)

Script = Callable[[int, int, float], Step]
"""(row, attempt of this session from 1, virtual seconds) -> what the server does. May raise: a bug."""


class Sent(NamedTuple):
    row: int
    attempt: int
    at: float
    in_flight: int


class ScriptedEndpoint:
    """Follows the script. `sent` lists every exchange with how many were under way then, itself included."""

    def __init__(self, script: Script, log: list[tuple[str, int]]) -> None:
        self.sent: list[Sent] = []
        self.bodies: list[bytes] = []
        self.most = 0
        self._script = script
        self._log = log
        self._attempts: Counter[int] = Counter()
        self._in_flight = 0

    async def exchange(self, request: Request, *, deadline: float, watch: BodyWatch | None = None) -> Reply:
        row, now = request.row_index, anyio.current_time()
        self._attempts[row] += 1
        self._in_flight += 1
        self.most = max(self.most, self._in_flight)
        self.sent.append(Sent(row, self._attempts[row], now, self._in_flight))
        self.bodies.append(request.body)
        self._log.append(("exchange", row))
        try:
            step = self._script(row, self._attempts[row], now)
            if step.seconds is None or now + step.seconds > deadline:
                await anyio.sleep_until(deadline)
                step = Step(None, fault=FaultKind.DEADLINE, progress=Progress.SENT)
            else:
                await anyio.sleep(step.seconds)
        finally:
            self._in_flight -= 1
        self._log.append(("reply", row))
        if watch is not None and step.body:
            watch.on_piece(step.body)
        fault = None if step.fault is None else Fault(step.fault, step.fault.value)
        return Reply(
            status=step.status,
            headers=step.headers,
            body=step.body,
            progress=step.progress,
            fault=fault,
            sent_at=EPOCH + now,
            received_at=EPOCH + anyio.current_time(),
            latency_ms=(anyio.current_time() - now) * 1000,
        )

    async def aclose(self) -> None: ...

    def of(self, row: int) -> list[Sent]:
        return [sent for sent in self.sent if sent.row == row]


# --- what a store keeps -----------------------------------------------------------------------------------


class Builder:
    """Row n asks "n" (or `body` of it); the rows of `invalid` are problems, building those of `broken` is a bug."""

    columns = frozenset({"n"})
    raw_columns: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        invalid: Iterable[int] = (),
        broken: Iterable[int] = (),
        own_model: Iterable[int] = (),
        max_tokens: int | None = None,
        body: Callable[[int], bytes] = lambda n: b"%d" % n,
    ) -> None:
        self._max_tokens, self._body = max_tokens, body
        self._invalid, self._broken, self._own = frozenset(invalid), frozenset(broken), frozenset(own_model)

    def build(self, row: InputRow) -> Request | Problem:
        n = row.row_index
        if n in self._broken:
            raise Bug(f"row {n}")
        if n in self._invalid:
            return Problem(n, "missing_value", "no text")
        return Request(
            n, self._body(n), f"{n:032x}", "m", own_model=n in self._own, max_tokens=self._max_tokens
        )


class MemoryStore:
    """Implements `batcher.ports.Store` in memory; `journal` holds every record in order of writing."""

    def __init__(
        self,
        rows: Sequence[int],
        log: list[tuple[str, int]],
        *,
        rows_per_chunk: int = 8,
        seconds_per_chunk: float = 0.0,
        answers: Sequence[int] = (),
        prior: tuple[int, int] = (0, 0),
    ) -> None:
        self.journal: list[JournalRecord] = []
        self.ended: dict[int, Outcome] = {}
        self.handed_out = 0
        self.fail_keep: Exception | None = None
        self.fail_intent: Exception | None = None
        self.fail_rows: Exception | None = None
        self.on_keep: Callable[[], None] = lambda: None
        self._all = self._rows = list(rows)
        self._kept: dict[int, list[ReplyRecord]] = {}
        self._log = log
        self._per_chunk = rows_per_chunk
        self._seconds = seconds_per_chunk
        self._answers = frozenset(answers)
        self._prior = prior

    async def next_rows(self) -> Sequence[InputRow] | None:
        await anyio.sleep(self._seconds)
        if self.fail_rows is not None:
            raise self.fail_rows
        chunk, self._rows = self._rows[: self._per_chunk], self._rows[self._per_chunk :]
        self.handed_out += len(chunk)
        return [InputRow(n, {}) for n in chunk] or None

    def go_on(self) -> None:
        """A next session: what has no end is to do again."""
        self._rows = [n for n in self._all if n not in self.ended]

    def prior(self, row_index: int) -> tuple[int, int]:
        kept = self._kept.get(row_index)
        return (kept[-1].attempts, kept[-1].paid_attempts) if kept else self._prior

    def replies(self, row_index: int) -> Sequence[ReplyRecord]:
        return tuple(self._kept.get(row_index, ()))

    def find_answer(self, request: Request) -> ReuseRecord | None:
        if request.row_index not in self._answers:
            return None
        return ReuseRecord(request.row_index, request.request_hash, "run-0", {"outcome": "ok"})

    def intend(self, record: IntentRecord) -> None:
        if self.fail_intent is not None:
            raise self.fail_intent
        self._write("intent", record)

    def void(self, record: VoidRecord) -> None:
        self._write("void", record)

    async def keep(self, record: ReplyRecord) -> None:
        if self.fail_keep is not None:
            raise self.fail_keep
        self.on_keep()
        self._write("keep", record)
        self._kept.setdefault(record.row_index, []).append(record)
        await anyio.lowlevel.checkpoint()

    async def finish(self, row_index: int, outcome: Outcome, end: EndRecord | ReuseRecord | None) -> None:
        if end is not None:
            self._write("end", end)
        assert row_index not in self.ended, f"row {row_index} ended twice"
        self.ended[row_index] = outcome
        self._log.append(("finish", row_index))

    def reopen(self, row_index: int) -> None:
        del self.ended[row_index]
        self._write("reopen", ReopenRecord(row_index))

    def _write(self, kind: str, record: JournalRecord) -> None:
        self._log.append((kind, record.row_index))
        self.journal.append(record)

    def of(self, row: int) -> list[JournalRecord]:
        return [record for record in self.journal if record.row_index == row]

    def history(self, row: int) -> RowHistory:
        replies: list[ReplyRecord] = []
        end: EndRecord | None = None
        reuse: ReuseRecord | None = None
        is_open = False
        for record in self.of(row):
            is_open = isinstance(record, IntentRecord) or (is_open and isinstance(record, ReopenRecord))
            if isinstance(record, ReplyRecord):
                replies.append(record)
            elif isinstance(record, EndRecord):
                end = record
            elif isinstance(record, ReuseRecord):
                reuse = record
            elif isinstance(record, ReopenRecord):
                end = None
        return RowHistory(row, tuple(replies), end, reuse, int(is_open))


# --- a run ------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A run that is over, or under way inside `meanwhile`."""

    store: MemoryStore
    endpoint: ScriptedEndpoint
    engine: Engine
    tally: Tally
    flow: FlowState
    log: list[tuple[str, int]]
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def sent(self) -> list[Sent]:
        return self.endpoint.sent

    def outcomes(self) -> Counter[Outcome]:
        return Counter(self.store.ended.values())

    def end_of(self, row: int) -> EndRecord:
        end = self.store.history(row).end
        assert end is not None, f"row {row} has no end record"
        return end


@dataclass(frozen=True)
class Setup:
    """What a run starts from; `meanwhile` runs beside the engine, `rows` counts from 0.

    `settings` brings in all parts of the flow control; without them `concurrency` is a fixed window. `store` is that of
    an earlier session which is gone on with. `attempt_usd` is what every paid attempt costs, by the gateway's word.
    """

    rows: int = 1
    concurrency: int = 4
    settings: FlowSettings | None = None
    spent_usd: float = 0.0
    attempt_usd: float | None = None
    answered_before: bool = False
    store: MemoryStore | None = None
    builder: Builder = field(default_factory=Builder)
    answers: Sequence[int] = ()
    prior: tuple[int, int] = (0, 0)
    rows_per_chunk: int = 8
    seconds_per_chunk: float = 0.0
    limits: RowLimits = field(default_factory=RowLimits)
    timeout_s: float | None = None
    terms: Terms = NO_TERMS
    twins: Twins | None = None
    seed: int = 0
    prepare: Callable[[World], None] = lambda world: None
    meanwhile: Callable[[World], object] | None = None


def play(script: Script, setup: Setup | None = None) -> World:
    """Run an engine to its end in virtual time; `error` is what it raised."""
    chosen = setup or Setup()

    async def main() -> World:
        world = _world(script, chosen)
        chosen.prepare(world)
        async with anyio.create_task_group() as tasks:
            if chosen.meanwhile is not None:
                tasks.start_soon(chosen.meanwhile, world)  # type: ignore[arg-type]
            try:
                await world.engine.run()
            except Exception as err:  # noqa: BLE001 - whatever the run raised is the result
                world.error = err
            world.seconds = anyio.current_time()
            tasks.cancel_scope.cancel()
        return world

    return in_virtual_time(main)


def repeatable(seed: int) -> None:
    """Have trio, which runs tasks that are ready in any order, choose the order by the seed from here on."""
    monkey = trio._core._run
    monkey._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # as its own plug-in for hypothesis does
    monkey._r.seed(seed)


def in_virtual_time(main: Callable[[], Awaitable[Result]]) -> Result:
    """Run an async function on trio, its clock jumping to the next deadline whenever everybody waits."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return anyio.run(main, backend="trio", backend_options={"clock": clock})


def _world(script: Script, chosen: Setup) -> World:
    log: list[tuple[str, int]] = []
    rng = random.Random(chosen.seed)
    store = chosen.store or MemoryStore(
        range(chosen.rows),
        log,
        rows_per_chunk=chosen.rows_per_chunk,
        seconds_per_chunk=chosen.seconds_per_chunk,
        answers=chosen.answers,
        prior=chosen.prior,
    )
    endpoint = ScriptedEndpoint(script, log)
    flow = _flow(chosen, rng)
    tally = Tally(price=lambda asked, answered, usage: chosen.attempt_usd)
    engine = Engine(
        store=store,
        endpoint=endpoint,
        builder=chosen.builder,
        flow=flow,
        watch=Watch(answered_before=chosen.answered_before),
        tally=tally,
        limits=chosen.limits,
        rng=rng,
        wall=lambda: EPOCH + anyio.current_time(),
        timeout_s=chosen.timeout_s,
        terms=chosen.terms,
        twins=chosen.twins,
    )
    return World(store, endpoint, engine, tally, flow, log)


def _flow(chosen: Setup, rng: random.Random) -> FlowState:
    if chosen.settings is None:
        return FlowState(concurrency=chosen.concurrency, rng=rng)
    return FlowState.from_settings(
        chosen.settings, rng=rng, now=anyio.current_time(), spent_usd=chosen.spent_usd
    )
