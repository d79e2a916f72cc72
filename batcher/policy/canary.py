"""One request alone at the start of every session, so that a wrong key costs one request and not a window
of them.

    WAITING  nobody is out: one request may go
    FLYING   it is out: the others wait for its reply, or for 15 s after its dispatch
    OPEN     it came back with a reply that is not run-fatal, or took too long: everybody may go, for good

A fault without a reply (a refused connection) proves nothing, so the next request goes alone again. A
run-fatal verdict opens nothing: the run stops.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from batcher.policy.constants import CANARY_S
from batcher.policy.part import Part, Wait
from batcher.policy.verdict import Action

if TYPE_CHECKING:
    from batcher.policy.verdict import Verdict
    from batcher.records import Request

_REASON = "canary"


class _Flight(Enum):
    WAITING = auto()
    FLYING = auto()
    OPEN = auto()


# Bound once: naming a member by its class costs 0.1 µs in Python 3.11, and this is asked for every request.
_WAITING: Final = _Flight.WAITING
_FLYING: Final = _Flight.FLYING
_OPEN: Final = _Flight.OPEN


class Canary(Part):
    def __init__(self, *, patience_s: float = CANARY_S) -> None:
        self._patience_s = patience_s
        self._flight = _WAITING
        self._gives_up_at = math.inf

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        if self._flight is not _FLYING or now >= self._gives_up_at:
            return None
        return Wait(self._gives_up_at, _REASON)

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        if self._flight is _OPEN:
            return
        if self._flight is _FLYING:  # asked after its patience: it took too long
            self._flight = _OPEN
            return
        self._flight = _FLYING
        self._gives_up_at = now + self._patience_s

    def on_sent(self, now: float) -> None:
        if self._flight is _FLYING:
            self._gives_up_at = now + self._patience_s

    def on_verdict(self, verdict: Verdict, now: float) -> None:  # noqa: ARG002
        if self._flight is _OPEN:
            return
        if verdict.action is Action.STOP:
            self._flight, self._gives_up_at = _FLYING, math.inf
        elif verdict.status_code is not None:
            self._flight = _OPEN
        else:
            self._flight = _WAITING

    def on_done(self, now: float) -> None:  # noqa: ARG002
        if self._flight is _FLYING and self._gives_up_at < math.inf:  # cancelled, so nothing was judged
            self._flight = _WAITING

    def holding(self, now: float) -> str | None:
        return _REASON if self._flight is _FLYING and now < self._gives_up_at else None
