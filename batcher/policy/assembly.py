"""Which parts a session's flow control consists of, made and connected.

The order in `further` is the order in which they are asked; it decides nothing but which reason is told when
two hold a request equally long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from batcher.policy.auto_window import AutoWindow
from batcher.policy.breaker import Breaker
from batcher.policy.constants import MOST_BYTES_IN_FLIGHT
from batcher.policy.deadline import Deadline
from batcher.policy.estimate import Weigher
from batcher.policy.events import EventLog
from batcher.policy.found_pace import FoundPace
from batcher.policy.gate import Gate
from batcher.policy.memory import Memory
from batcher.policy.pace import Pace
from batcher.policy.retry_bucket import RetryBucket
from batcher.policy.spend import Spend
from batcher.policy.suspects import Suspects
from batcher.policy.window import Window

if TYPE_CHECKING:
    import random

    from batcher.policy.part import Part
    from batcher.policy.settings import FlowSettings


class Assembly(NamedTuple):
    """Parts that know each other. `further` are those that not every session has."""

    window: Window | AutoWindow
    gate: Gate
    further: tuple[Part, ...]
    log: EventLog
    memory: Memory
    breaker: Breaker | None = None
    spend: Spend | None = None
    deadline: Deadline | None = None


def fixed(concurrency: int, *, rng: random.Random) -> Assembly:
    """A fixed number in flight, and a gate."""
    gate = Gate(window=lambda: concurrency, rng=rng)
    return Assembly(Window(concurrency), gate, (), EventLog(), Memory(MOST_BYTES_IN_FLIGHT))


def complete(settings: FlowSettings, *, rng: random.Random, now: float, spent_usd: float) -> Assembly:
    """All parts, for a session that begins now."""
    log = EventLog()
    suspects = Suspects()
    window = _window(settings, now, log, suspects)
    found = FoundPace(log=log)
    gate = Gate(
        window=lambda: window.limit,
        rng=rng,
        pace=lambda: found.per_s,
        blind=False,
        borne=lambda: found.borne,
        log=log,
    )
    found.shut_s = gate.shut_s
    breaker = Breaker(
        bucket=RetryBucket(lambda: window.limit),
        on_close=window.restart,
        log=log,
        suspects=suspects,
        answered_before=settings.answered_before,
    )
    weigher = Weigher(settings.completions)
    pace = Pace(
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        now=now,
        log=log,
        weigher=weigher,
    )
    spend, deadline = None, None
    if settings.max_cost_usd is not None:
        spend = Spend(
            max_cost_usd=settings.max_cost_usd,
            rates_of=settings.rates_of,
            spent_usd=spent_usd,
            weigher=weigher,
        )
    if settings.deadline_s is not None:
        deadline = Deadline(settings.deadline_s, now=now)
    further = tuple(part for part in (deadline, breaker, pace, found, spend) if part is not None)
    memory = Memory(settings.most_bytes_in_flight)
    return Assembly(window, gate, further, log, memory, breaker, spend, deadline)


def _window(settings: FlowSettings, now: float, log: EventLog, suspects: Suspects) -> Window | AutoWindow:
    most = settings.most_concurrency
    wished = settings.concurrency
    if wished is None:
        return AutoWindow(most=most, log=log, suspects=suspects)
    if wished > most:
        log.tell(now, "window", "most_concurrency", old=wished, new=most)
    return Window(min(wished, most), gentle=True)
