"""Servers and sessions drawn from a seed: rate limits, outages, slowness, losses, rows that always fail, kills.

Everything is a function of the seed and the virtual time, so a seed that fails fails again.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from typing import NamedTuple

from engine_world import HANG, REFUSED, Step, error, lost, ok, unsent

from batcher.policy import FlowSettings

TIMEOUT_S = 30.0
BODY = 24
"""Bytes of a request's body."""
MAX_TOKENS = 3
OUTAGES = (error(500), REFUSED, error(503, retry_after="5"), error(502), unsent(), error(429), lost())
NOISE = (error(500), lost(), unsent(), error(504), error(529), HANG, error(409), ok(finish=None))


class Price(NamedTuple):
    """USD per million tokens."""

    input: float = 1.0
    cached_input: float | None = None
    output: float = 10.0


PAID_USD = (7 * 1.0 + 3 * 10.0) / 1e6
"""What an answer of the scripted endpoint costs by its usage."""
WORST_USD = (BODY * 1.0 + MAX_TOKENS * 10.0) / 1e6


@dataclass
class Limit:
    """A token bucket that refuses what goes beyond it, as servers say it or do not."""

    per_s: float
    depth_s: float
    hint: str | None
    tells: bool
    changes: list[tuple[float, float]]
    _at: float = 0.0
    _level: float = 1.0

    def refuses(self, now: float) -> Step | None:
        while self.changes and now >= self.changes[0][0]:
            self.per_s *= self.changes.pop(0)[1]
        depth = max(1.0, self.per_s * self.depth_s)
        self._level = min(depth, self._level + max(0.0, now - self._at) * self.per_s)
        self._at = now
        if self._level >= 1.0:
            self._level -= 1.0
            return None
        wait_s = (1.0 - self._level) / self.per_s
        headers = {"retry_after": str(math.ceil(wait_s))} if self.hint == "s" else {}
        if self.hint == "ms":
            headers = {"retry_after_ms": f"{wait_s * 1000:.0f}"}
        return self.told(error(429, seconds=0.02, **headers))

    def told(self, step: Step) -> Step:
        if not self.tells:
            return step
        limit = ("x-ratelimit-limit-requests", f"{self.per_s * 60:.0f}")
        left = ("x-ratelimit-remaining-requests", f"{self._level:.0f}")
        return step._replace(headers=(*step.headers, limit, left))


@dataclass
class Weather:
    """A server over the whole run, all sessions: called at each exchange with the time since the first began."""

    seed: int
    rng: random.Random
    rows: int
    latency_s: float
    capacity: int | None
    limit: Limit | None
    outages: list[tuple[float, float, Step]]
    noise: float
    kinds: tuple[Step, ...]
    cursed: frozenset[int]
    charged_usd: float = 0.0
    _free: list[float] = field(default_factory=list)

    def __call__(self, row: int, now: float) -> Step:
        step = self._answer(row, now)
        billed = step.status == 200 or (step.status is None and step.progress.value != "not_sent")
        self.charged_usd += PAID_USD if billed else 0.0
        return step

    def _answer(self, row: int, now: float) -> Step:
        for begin, end, step in self.outages:
            if begin <= now < end:
                return step
        refused = self.limit.refuses(now) if self.limit is not None else None
        if refused is not None:
            return refused
        if row in self.cursed:
            return error(500)
        if self.rng.random() < self.noise:
            return self.rng.choice(self.kinds)
        answered = ok(seconds=self._served(now) - now)
        return answered if self.limit is None else self.limit.told(answered)

    def _served(self, now: float) -> float:
        service = self.latency_s * self.rng.uniform(0.5, 1.5)
        if self.capacity is None:
            return now + service
        start = now if len(self._free) < self.capacity else max(now, heapq.heappop(self._free))
        heapq.heappush(self._free, start + service)
        return start + service

    @property
    def takes_in_vain(self) -> bool:
        """Whether requests may be taken and never answered; one that queues for long runs into its deadline."""
        steps = (*(step for _, _, step in self.outages), *(self.kinds if self.noise else ()))
        return self.capacity is not None or any(step in {lost(), HANG, error(504)} for step in steps)

    @property
    def last_trouble_at(self) -> float:
        """When the last outage is over."""
        return max((end for _, end, _ in self.outages), default=0.0)


def weather(seed: int) -> Weather:
    rng = random.Random(f"weather {seed}")
    rows = rng.choice((1, 3, 20, 60, 200, 400))
    latency_s = rng.choice((0.05, 0.5, 2.0, 8.0))
    start = rng.uniform(1, 20)
    outages = []
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        end = start + rng.choice((3, 30, 120, 590))
        outages.append((start, end, rng.choice(OUTAGES)))
        start = end + rng.uniform(5, 60)
    limit = Limit(
        per_s=rng.choice((0.5, 3.0, 20.0, 100.0)),
        depth_s=rng.choice((0.1, 1.0, 10.0)),
        hint=rng.choice((None, "s", "ms")),
        tells=rng.random() < 0.3,
        changes=sorted((rng.uniform(5, 60), rng.choice((0.5, 2.0))) for _ in range(rng.choice((0, 0, 2)))),
    )
    return Weather(
        seed,
        rng,
        rows,
        latency_s,
        capacity=rng.choice((None, None, 2, 32)),
        limit=limit if rng.random() < 0.6 else None,
        outages=outages,
        noise=rng.choice((0.0, 0.0, 0.02, 0.15)),
        kinds=tuple(rng.sample(NOISE, k=rng.choice((1, 2, 4)))),
        cursed=frozenset(rng.sample(range(rows), k=min(rows, rng.choice((0, 0, 0, 1, 4))))),
    )


def drawn_settings(seed: int, rows: int) -> FlowSettings:
    rng = random.Random(f"settings {seed}")
    budget = rng.choice((None, None, 0.4, 1.2, 4.0))
    return FlowSettings(
        concurrency=rng.choice((None, None, None, 1, 8, 100)),
        most_concurrency=rng.choice((1, 16, 64, 512)),
        requests_per_minute=rng.choice((None, None, None, 90.0, 1_200.0)),
        tokens_per_minute=rng.choice((None, None, None, 2_000.0)),
        max_cost_usd=None if budget is None else rows * PAID_USD * budget,
        deadline_s=rng.choice((None, None, None, 20.0, 400.0)),
        most_bytes_in_flight=rng.choice((512 * 2**20, 512 * 2**20, 40 * BODY)),
        completions=rng.choice((None, 1)),
        rates_of=lambda model: Price(),
    )


def drawn_kills(seed: int) -> list[float]:
    """Seconds after which a session is killed; the session after the last of them runs to its end."""
    rng = random.Random(f"kills {seed}")
    return [rng.uniform(0.1, 40) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
