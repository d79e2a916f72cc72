"""What the simulator has received, generated and written, so that a test can hold paid answers against
stored ones.

*Generated* means paid: an answer was made, whether or not anybody got it. *Complete* means that every byte
of the whole reply was handed to the operating system while the connection was open. Without entries
(`keep=False`) memory is bounded; attempt numbers are remembered for at least the last 131,072 contents.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator.plan import Plan

REMEMBERED_CONTENTS = 131_072


@dataclass(slots=True)
class Entry:
    """One chat-completions request.

    Attributes:
        sequence: order of arrival, from 1 since the start or the last reset.
        content_hash: blake2b-128 of the raw body, hex.
        attempt: of this content, from 1.
        mode: of the plan; "aborted" (the body never came whole), "queued" (not served yet) or "abandoned"
            (left the queue).
        received: the request came whole.
        received_at: monotonic clock of this machine, seconds; replied_at likewise, None before the end.
        key: what `ledger_key` matched in the body.
        authorized: whether an Authorization header came along (its value is never kept).
        limit_tokens: what a token limit counts for it; None where there are no rate limits.
        told_wait_s: how long a 429 of a real rate limit asked to wait; None: it did not say, or is none.
    """

    sequence: int
    content_hash: str
    attempt: int
    model: str
    path: str
    received: bool
    received_at: float
    authorized: bool = False
    key: str | None = None
    mode: str = "queued"
    status: int | None = None
    generated: bool = False
    bytes_written: int = 0
    complete: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    limit_tokens: int | None = None
    told_wait_s: float | None = None
    replied_at: float | None = None
    done: bool = False


@dataclass(slots=True)
class Totals:
    """Attributes:
    paid_again: answers generated for a content that already had one.
    delivered: answers generated and handed over complete.
    max_in_flight: most requests received and not yet replied to at one time.
    """

    requests: int = 0
    received: int = 0
    generated: int = 0
    paid_again: int = 0
    delivered: int = 0
    complete: int = 0
    bytes_written: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    connections: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)


class Memory:
    """A bounded count per content: two generations, the older one is dropped when the younger is full."""

    def __init__(self, size: int = REMEMBERED_CONTENTS) -> None:
        self._size = size
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def count(self, digest: bytes) -> int:
        return self._young.get(digest) or self._old.get(digest, 0)

    def add(self, digest: bytes) -> int:
        """The count with this one."""
        total = self.count(digest) + 1
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[digest] = total
        return total


class Ledger:
    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.totals = Totals()
        self._entries: list[Entry] = []
        self._attempts = Memory()
        self._generated = Memory()

    def attempt_after(self, digest: bytes) -> int:
        """The number that the next attempt of a content will have."""
        return self._attempts.count(digest) + 1

    def open(
        self,
        digest: bytes,
        *,
        model: str,
        path: str,
        key: str | None,
        authorized: bool,
        received: bool = True,
    ) -> Entry:
        """A request has come; counts its attempt when it came whole or is answered early."""
        totals = self.totals
        totals.requests += 1
        totals.received += received
        totals.in_flight += 1
        totals.max_in_flight = max(totals.max_in_flight, totals.in_flight)
        attempt = self._attempts.add(digest)
        now = time.monotonic()
        entry = Entry(totals.requests, digest.hex(), attempt, model, path, received, now, authorized, key)
        if self.keep:
            self._entries.append(entry)
        return entry

    def serve(self, entry: Entry, digest: bytes, plan: Plan) -> None:
        """Service begins: from here on the answer, if the plan makes one, is paid."""
        entry.mode, entry.status, entry.generated = plan.mode, plan.delivery.status, plan.generated
        entry.told_wait_s = plan.told_wait_s
        if plan.generated:
            entry.prompt_tokens, entry.completion_tokens = plan.prompt_tokens, plan.completion_tokens
            totals = self.totals
            totals.generated += 1
            totals.paid_again += self._generated.add(digest) > 1
            totals.prompt_tokens += plan.prompt_tokens
            totals.completion_tokens += plan.completion_tokens

    def close(self, entry: Entry, *, bytes_written: int, complete: bool) -> None:
        """The exchange is over, one way or another; closing twice changes nothing."""
        if entry.done:
            return
        entry.done, entry.complete, entry.bytes_written = True, complete, bytes_written
        entry.replied_at = time.monotonic()
        totals = self.totals
        totals.in_flight -= 1
        totals.complete += complete
        totals.delivered += complete and entry.generated
        totals.bytes_written += bytes_written
        totals.modes[entry.mode] += 1
        totals.statuses[str(entry.status)] += 1

    def lines(self, since: int = 0) -> Iterator[bytes]:
        """JSON lines of the kept entries with a sequence above `since`."""
        for entry in self._entries:
            if entry.sequence > since:
                yield orjson.dumps(entry) + b"\n"

    def summary(self) -> bytes:
        return orjson.dumps(self.totals)
