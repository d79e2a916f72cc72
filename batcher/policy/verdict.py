"""The vocabulary of judging a reply: what to do, what it costs the row, what it tells the run.

A `Verdict` is a value: it does not wait, count or stop anything. It is built by `classify` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, StrEnum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.errors import BatcherError
    from batcher.records import Outcome


class Action(StrEnum):
    KEEP = "keep"  # the row is answered; `outcome` says how
    RETRY = "retry"  # the row tries again, unless its budgets are used up
    FAIL = "fail"  # the row ends here; `outcome` is FAILED or REFUSED
    STOP = "stop"  # the run stops, no row result is written
    PARK = "park"  # the row tries again, and the whole run sleeps until an announced time


KEEP: Final = Action.KEEP
"""For what looks at every reply: naming a member by its class costs 0.1 µs in Python 3.11."""


class Paid(Enum):
    """Whether the attempt costs money."""

    NO = "no"
    AMBIGUOUS = "ambiguous"
    YES = "yes"


class Charge(Flag):
    """The budgets an attempt is charged to."""

    NONE = 0
    R = auto()  # attempts of the row, under the rule in `budgets`
    P = auto()  # paid or ambiguous attempts of the row, always
    B = auto()  # the run's retry bucket
    T = auto()  # throttling: costs the row nothing, slows the run


class Effect(Flag):
    """What the run as a whole learns from an attempt."""

    NONE = 0
    CUT_PACE = auto()  # the rate is too high
    CUT_WINDOW = auto()  # too many at once
    CUT_ON_BURST = auto()  # as CUT_WINDOW, when many come together
    HALVE_ON_BURST = auto()  # a burst of these halves the window
    FAULT = auto()  # input of the breaker
    CONNECT = auto()  # no connection stood: 20 in a row open the breaker, 3 at the very first stop
    NOT_AN_API = auto()  # more than 5 in the first 20 stop the run
    SAME_CODE = auto()  # one code on most rows stops the run
    TRUNCATED = auto()  # more than 20 % of the last 200 rows: one warning


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reply amounts to.

    Attributes:
        rule: unique name of the table line, a key of `classify.RULES`.
        outcome: for KEEP and FAIL; None otherwise.
        error_type: one of few values, for the output column; None for a plain `ok`.
        charges: budgets that this attempt touches if the row goes on.
        wait_s: the server's hint in seconds, >= 0; None when it gave none.
        free_first: the first such retry of a row is charged to nothing.
        most_retries: how many retries this rule grants a row; None: as many as the budgets allow.
        stop: for STOP, the exception to raise.
        message: one sentence for a person; None for KEEP.
        status_code: the HTTP status, or None when no status line came.
        error_code: the server's own code, verbatim, or None.
        error_message: the server's own message or the fault's, scrubbed, or None.
    """

    rule: str
    action: Action
    outcome: Outcome | None = None
    error_type: str | None = None
    paid: Paid = Paid.NO
    charges: Charge = Charge.NONE
    effects: Effect = Effect.NONE
    wait_s: float | None = None
    free_first: bool = False
    most_retries: int | None = None
    stop: type[BatcherError] | None = None
    message: str | None = None
    status_code: int | None = None
    error_code: str | None = None
    error_message: str | None = None
