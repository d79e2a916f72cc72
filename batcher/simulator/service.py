"""The simulated provider behind all connections: admission, queue, ledger, control. It decides when;
`script` what.

The event loop's clock and the wall clock are read here; sockets are the connection's business.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import orjson

from batcher.simulator.ledger import Ledger
from batcher.simulator.limits import RateLimits
from batcher.simulator.plan import Call
from batcher.simulator.script import compile_script, parse_fields

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from batcher.simulator.config import SimulatorConfig
    from batcher.simulator.ledger import Entry
    from batcher.simulator.plan import Plan
    from batcher.simulator.wire import Head

CHAT = "/chat/completions"
OUTAGE_DELAY_S = 0.02


class Carrier(Protocol):
    """A connection, as the service needs it."""

    def perform(self, exchange: Exchange) -> None: ...


@dataclass(slots=True)
class Exchange:
    """One request on its way through the service.

    Attributes:
        ledger: where it is counted, whatever is reset meanwhile.
        plan: None while it waits in the queue.
        serving: it holds a place of `capacity`.
        over: it has been closed in the ledger.
    """

    carrier: Carrier
    call: Call
    entry: Entry
    ledger: Ledger
    plan: Plan | None = None
    timer: asyncio.TimerHandle | None = None
    serving: bool = False
    over: bool = False


class Service:
    """All state of a running simulator. One event loop, so no locks."""

    def __init__(self, config: SimulatorConfig, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ledger = Ledger(keep=config.ledger)
        self.on_outage: Callable[[], None] = lambda: None
        self._queue: deque[Exchange] = deque()
        self._serving = 0
        self._limits: RateLimits | None = None
        self.configure(config)

    def configure(self, config: SimulatorConfig) -> None:
        """Take a configuration over; new rate limits start full, changed ones go on from where they stood.

        Counts and answers in flight stay.
        """
        before = self._limits
        self.config = config
        self.script = compile_script(config)
        self.ledger.keep = config.ledger
        limits = RateLimits(
            rpm=config.rpm, rps=config.rps, tpm=config.tpm, burst_s=config.burst_s, now=self._loop.time()
        )
        if before is not None:
            limits.follow(before, self._loop.time())
        self._limits = limits if limits.active else None
        self._key = re.compile(config.ledger_key.encode()) if config.ledger_key is not None else None
        self._loop.call_soon(self._fill)

    def reset(self) -> None:
        """Forget every request and attempt; requests in flight are finished, but no longer counted."""
        self.ledger = Ledger(keep=self.config.ledger)

    def begin(self, carrier: Carrier, head: Head, body: bytes, *, reused: bool) -> Exchange:
        """A request has come whole; sooner or later `carrier.perform` is called, or `end` from outside."""
        call, entry = self._record(head, body, reused=reused, received=True)
        exchange = Exchange(carrier, call, entry, self.ledger)
        turned = self.script.turn_away(call)
        if turned is not None:
            self._serve(exchange, turned)
            return exchange
        if self._limits is not None:
            entry.limit_tokens = self.script.need(call)
            verdict = self._limits.admit(self._loop.time(), entry.limit_tokens)
            headers = self._limits.headers() if "x-ratelimit" in self.config.limit_hints else ""
            exchange.call = call = call._replace(limit_headers=headers)
            if not verdict.admitted:
                self._serve(exchange, self.script.limited(call, verdict))
                return exchange
        if self.config.capacity is not None and self._serving >= self.config.capacity:
            self._queue.append(exchange)
        else:
            self._occupy(exchange)
        return exchange

    def begin_early(self, carrier: Carrier, head: Head, start: bytes) -> Exchange | None:
        """Asked with the first bytes of a body: the exchange of a mode that acts before the rest is read,
        or None.
        """
        digest = blake2b(start, digest_size=16).digest()
        attempt = self.ledger.attempt_after(digest)
        call = Call(
            start, None, digest, attempt, head.authorization, False, self.ledger.totals.generated, time.time()
        )
        plan = self.script.early(call)
        if plan is None:
            return None
        call, entry = self._record(
            head, start, reused=False, received=len(start) >= head.length and not head.chunked
        )
        exchange = Exchange(carrier, call, entry, self.ledger)
        self._serve(exchange, plan)
        return exchange

    def abort(self, head: Head, partial: bytes) -> None:
        """A connection ended before the announced body had come."""
        _, entry = self._record(head, partial, reused=False, received=False)
        entry.mode = "aborted"
        self.ledger.close(entry, bytes_written=0, complete=False)

    def end(self, exchange: Exchange, *, bytes_written: int, complete: bool) -> None:
        """The reply is over, or the connection is gone; frees the place for the next in the queue."""
        if exchange.over:
            return
        exchange.over = True
        if exchange.timer is not None:
            exchange.timer.cancel()
        if exchange.plan is None:
            exchange.entry.mode = "abandoned"
        exchange.ledger.close(exchange.entry, bytes_written=bytes_written, complete=complete)
        self._give_back(exchange.entry)
        if exchange.serving:
            self._serving -= 1
            if self._queue:
                self._loop.call_soon(self._fill)

    def _give_back(self, entry: Entry) -> None:
        if self.config.credit_unused and entry.generated and self._limits is not None:
            used = entry.prompt_tokens + entry.completion_tokens
            self._limits.credit(self._loop.time(), max(0, (entry.limit_tokens or used) - used))

    def _record(self, head: Head, body: bytes, *, reused: bool, received: bool) -> tuple[Call, Entry]:
        digest = blake2b(body, digest_size=16).digest()
        found = parse_fields(body) if received else None
        key = None
        if self._key is not None and (match := self._key.search(body)) is not None:
            key = (match[1] or b"").decode("utf-8", "replace")
        model = found.get("model") if found else None
        entry = self.ledger.open(
            digest,
            model=model if isinstance(model, str) else "unknown",
            path=head.path,
            key=key,
            authorized=head.authorization is not None,
            received=received,
        )
        generated = self.ledger.totals.generated
        call = Call(body, found, digest, entry.attempt, head.authorization, reused, generated, time.time())
        return call, entry

    def _fill(self) -> None:
        """Serve from the queue while there is room."""
        capacity = self.config.capacity
        while self._queue and (capacity is None or self._serving < capacity):
            exchange = self._queue.popleft()
            if not exchange.over:
                self._occupy(exchange)

    def _occupy(self, exchange: Exchange) -> None:
        exchange.serving = True
        self._serving += 1
        # counted anew: answers may have been generated while it waited
        call = exchange.call = exchange.call._replace(generated=self.ledger.totals.generated)
        self._serve(exchange, self.script.plan(call))

    def _serve(self, exchange: Exchange, plan: Plan) -> None:
        exchange.plan = plan
        exchange.ledger.serve(exchange.entry, exchange.call.digest, plan)
        if plan.latency_s > 0:
            exchange.timer = self._loop.call_later(plan.latency_s, exchange.carrier.perform, exchange)
        else:
            # not at once: the caller must know the exchange before it is performed
            self._loop.call_soon(exchange.carrier.perform, exchange)

    def administer(self, head: Head, body: bytes) -> tuple[int, bytes]:  # noqa: PLR0911  # one per route
        """Everything that is not a chat completion: status and JSON (lines)."""
        match (head.method, head.path):
            case ("GET", "/health"):
                return 200, b'{"status":"ok","simulated":true}'
            case ("GET", "/v1/models"):
                return 200, self._models()
            case ("GET", "/ledger"):
                if "summary=1" in head.query:
                    return 200, self.ledger.summary()
                since = re.search(r"since=(\d+)", head.query)
                return 200, b"".join(self.ledger.lines(int(since[1]) if since else 0))
            case ("GET", "/control"):
                return 200, self.config.to_json()
            case ("POST", "/control"):
                return self._control(body)
            case ("POST", "/outage"):
                # after the reply to this has left: an outage resets every connection
                self._loop.call_later(OUTAGE_DELAY_S, self.on_outage)
                return 200, b'{"status":"outage"}'
            case ("POST", "/reset"):
                self.reset()
                return 200, b'{"status":"reset"}'
            case _:
                return 404, b'{"detail":"Not Found"}'

    def _control(self, body: bytes) -> tuple[int, bytes]:
        changes = parse_fields(body)
        if changes is None:
            return 400, b'{"error":"the body must be a JSON object of settings"}'
        try:
            config = self.config.changed(changes)
        except ValueError as err:
            return 400, orjson.dumps({"error": str(err)})
        self.configure(config)
        return 200, config.to_json()

    def _models(self) -> bytes:
        models = self.config.models or ("simulated-small", "gpt-4o", "gpt-4o-mini")
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "batcher"} for name in models]
        return orjson.dumps({"object": "list", "data": listed})
