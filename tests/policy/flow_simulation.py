"""A client and a server in one heap of events: no engine, no I/O, no clock. For the figures of flow control.

The client is `admit` and the events that the engine tells, with tenacity's place taken by `wait_for`. A server is
a function from a request and a time to an answer and its delay.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import median
from typing import NamedTuple

from batcher.policy import Charge, FlowSettings, FlowState, Observation, Send, Verdict, Wait, admit, wait_for
from batcher.policy.table import TEMPLATES
from batcher.policy.verdict import Action
from batcher.records import Request, Usage

OK = TEMPLATES["ok"]
REFUSED = replace(TEMPLATES["rate_limit"], status_code=429)
BROKEN = replace(TEMPLATES["server_error"], status_code=500)
UNREACHED = TEMPLATES["connect"]

Headers = tuple[tuple[str, str], ...]


class Served(NamedTuple):
    """When the reply is back with the client, and what it is."""

    at: float
    verdict: Verdict
    headers: Headers = ()
    usage: Usage = Usage()


Server = Callable[[Request, float], Served]


class Sent(NamedTuple):
    at: float
    back_at: float
    row: int
    verdict: Verdict
    tokens: int


@dataclass
class Client:
    """Sends rows without end (or `rows` of them), retries first, as the engine does."""

    server: Server
    settings: FlowSettings
    seed: int = 1
    rows: int = 10**9
    body: Callable[[int], bytes] = lambda _: b"x" * 350
    max_tokens: int = 100
    log: list[Sent] = field(default_factory=list)
    shut: list[tuple[float, float]] = field(default_factory=list)
    gave_up: dict[int, str] = field(default_factory=dict)
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.flow = FlowState.from_settings(self.settings, rng=self.rng, now=0.0)
        self._order = count()
        self._events: list[tuple[float, int, str, object]] = []
        self._retries: deque[Request] = deque()
        self._firsts = 0
        self._head: Request | None = None
        self._nth: dict[int, int] = {}
        self._faults: dict[int, list[tuple[Verdict, float]]] = {}
        self._wake = math.inf
        self.now = 0.0
        self.stopped: Exception | None = None

    def run(self, until: float) -> Client:
        """Go on to this time (or until nothing can happen any more)."""
        self._pump()
        while self._events and self._events[0][0] <= until and self.stopped is None:
            self.now, _, kind, what = heapq.heappop(self._events)
            if kind == "reply":
                self._reply(what)  # type: ignore[arg-type]
            elif kind == "again":
                self._retries.append(what)  # type: ignore[arg-type]
            elif self._wake <= self.now:
                self._wake = math.inf
            self._pump()
        return self

    def _at(self, at: float, kind: str, what: object) -> None:
        heapq.heappush(self._events, (at, next(self._order), kind, what))

    def _first(self) -> Request | None:
        """The next row that was never sent."""
        if self._head is None and self._firsts < self.rows:
            body = self.body(self._firsts)
            self._head = Request(self._firsts, body, "0" * 32, "m", max_tokens=self.max_tokens)
            self._firsts += 1
        return self._head

    def _ask(self) -> tuple[Request, Send | Wait] | None:
        """Ask for the head of the line; for those behind it while only the row itself is in the way."""
        asked: tuple[Request, Send | Wait] | None = None
        for request in (*self._retries, self._first()):
            if request is None:
                break
            asked = (request, admit(self.flow, request, self.now))
            if isinstance(asked[1], Send) or not asked[1].only_this_row:
                break
        return asked

    def _pump(self) -> None:
        while (asked := self._ask()) is not None:
            request, answer = asked
            if not isinstance(answer, Send):
                self.stopped = answer.stop
                assert answer.until > self.now
                if answer.until < self._wake:
                    self._wake = answer.until
                    self._at(answer.until, "wake", None)
                return
            if request is self._head:
                self._head = None
            else:
                self._retries.remove(request)
            self._send(request)

    def _send(self, request: Request) -> None:
        self.flow.on_sent(self.now, request)
        served = self.server(request, self.now)
        self.most_in_flight = max(self.most_in_flight, self.flow.in_flight)
        self._at(served.at, "reply", (request, self.now, served))

    def _reply(self, came: tuple[Request, float, Served]) -> None:
        request, sent_at, served = came
        verdict = served.verdict
        used = (served.usage.prompt_tokens or 0) + (served.usage.completion_tokens or 0)
        self.log.append(Sent(sent_at, self.now, request.row_index, verdict, used))
        self.flow.on_reply(Observation(request, sent_at, self.now, verdict, served.headers, served.usage))
        self.flow.on_verdict(verdict, self.now)
        self.flow.on_done(self.now, request)
        gate = self.flow.state(self.now)["gate"] if Charge.T in verdict.charges else None
        if isinstance(gate, dict) and gate["opens_in_s"] is not None:
            self.shut.append((self.now, self.now + gate["opens_in_s"]))
        if verdict.action is Action.RETRY:
            self._again(request, verdict, sent_at)

    def _again(self, request: Request, verdict: Verdict, sent_at: float) -> None:
        row = request.row_index
        faults = self._faults.setdefault(row, [])
        if Charge.R in verdict.charges:
            faults.append((verdict, sent_at))
        if sum(not self.flow.is_uncharged(*fault) for fault in faults) >= 5:
            self.gave_up[row] = verdict.rule
            return
        self._nth[row] = self._nth.get(row, 0) + 1
        self._at(self.now + wait_for(verdict, nth=self._nth[row], rng=self.rng), "again", request)

    # --- figures ---

    def open_s(self, begin: float, end: float) -> float:
        """Seconds of the span in which no hint kept the gate shut."""
        shut, reached = 0.0, begin
        for start, stop in sorted(self.shut):
            begun, over = max(start, reached), min(stop, end)
            if over > begun:
                shut, reached = shut + over - begun, over
        return end - begin - shut

    def answered(self, begin: float, end: float) -> int:
        return sum(begin <= sent.back_at < end and sent.verdict.action is Action.KEEP for sent in self.log)

    def rate(self, begin: float, end: float) -> float:
        """Answers per second of the span, time of a shut gate not counted."""
        return self.answered(begin, end) / max(1e-9, self.open_s(begin, end))

    def wall_rate(self, begin: float, end: float) -> float:
        return self.answered(begin, end) / (end - begin)

    def tokens_rate(self, begin: float, end: float) -> float:
        used = sum(s.tokens for s in self.log if begin <= s.back_at < end and s.verdict.action is Action.KEEP)
        return used / self.open_s(begin, end)

    def refused(self, begin: float, end: float) -> float:
        """Share of the requests sent in the span that were throttled."""
        sent = [s for s in self.log if begin <= s.at < end]
        return sum(Charge.T in s.verdict.charges for s in sent) / max(1, len(sent))

    def median_latency(self) -> float:
        return median(s.back_at - s.at for s in self.log if s.verdict.action is Action.KEEP)


@dataclass
class TokenBucketServer:
    """Allows `per_s` units a second, refuses what goes beyond it.

    `unit`: what a request takes; `hint` None, "ms" or "s" (whole seconds, rounded up); `told` names the header
    that tells the limit per minute; `changes` maps times to factors on the rate.
    """

    per_s: float
    depth_s: float
    latency_s: Callable[[], float]
    hint: str | None = "ms"
    told: str | None = None
    unit: Callable[[Request], float] = lambda _: 1.0
    usage: Callable[[Request], Usage] = lambda _: Usage(100, 50)
    changes: tuple[tuple[float, float], ...] = ()
    refusal_s: float = 0.02

    def __post_init__(self) -> None:
        self._at, self._rate = 0.0, self.per_s
        self._level = max(1.0, self.per_s * self.depth_s)
        self._changes = list(self.changes)

    def __call__(self, request: Request, now: float) -> Served:
        while self._changes and now >= self._changes[0][0]:
            self._rate = self.per_s * self._changes.pop(0)[1]
        depth = max(1.0, self._rate * self.depth_s)
        self._level = min(depth, self._level + (now - self._at) * self._rate)
        self._at = now
        headers: Headers = ()
        if self.told is not None:
            headers = ((f"x-ratelimit-limit-{self.told}", f"{self._rate * 60:.0f}"),)
        need = self.unit(request)
        short = min(need, depth) - self._level
        if short > 1e-9:
            wait = None
            if self.hint is not None:
                wait = short / self._rate if self.hint == "ms" else float(math.ceil(short / self._rate))
            return Served(now + self.refusal_s, replace(REFUSED, wait_s=wait), headers)
        self._level -= need
        return Served(now + self.latency_s(), OK, headers, self.usage(request))


@dataclass
class BusyBackend:
    """In front of another server: refuses this share at random, at any rate, with that hint in seconds."""

    server: Server
    share: float
    hint_s: float | None = None
    seed: int = 9
    refusal_s: float = 0.02

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def __call__(self, request: Request, now: float) -> Served:
        if self._rng.random() < self.share:
            return Served(now + self.refusal_s, replace(REFUSED, wait_s=self.hint_s))
        return self.server(request, now)


@dataclass
class QueueingServer:
    """`capacity` requests at once, `service_s` each; the others wait in line and are never refused."""

    capacity: int
    service_s: Callable[[], float]

    def __post_init__(self) -> None:
        self._free = [0.0] * self.capacity

    def __call__(self, request: Request, now: float) -> Served:
        start = max(now, heapq.heappop(self._free))
        done = start + self.service_s()
        heapq.heappush(self._free, done)
        return Served(done, OK, (), Usage(100, 50))


@dataclass
class FailingServer:
    """Down between two times: every request fails within 5 ms; a row in `cursed` always fails."""

    latency_s: Callable[[], float]
    down: tuple[float, float] = (math.inf, math.inf)
    verdict: Verdict = BROKEN
    cursed: frozenset[int] = frozenset()

    def __call__(self, request: Request, now: float) -> Served:
        if self.down[0] <= now < self.down[1]:
            return Served(now + 0.005, self.verdict)
        if request.row_index in self.cursed:
            return Served(now + 0.005, BROKEN)
        return Served(now + self.latency_s(), OK, (), Usage(100, 50))


def constant(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def around(seconds: float, *, seed: int = 5, spread: float = 0.5) -> Callable[[], float]:
    """Latencies between (1 - spread) and (1 + spread) times the mean."""
    rng = random.Random(seed)
    return lambda: seconds * rng.uniform(1 - spread, 1 + spread)
