"""What to do: the failure taxonomy and the flow control, as pure values and small state machines.

    verdict    the vocabulary: what a reply amounts to
    codes      error codes and texts of real servers, as data
    table      the failure table: one rule per line, and what it does
    classify   one reply -> one verdict: which line it falls on
    waits      what a server says about how long to wait
    backoff    how long a row waits before its next attempt
    budgets    how often one row may try
    watch      what a run as a whole cannot go on with
    part       what a part of the flow control must be able to do; what it is told of an attempt
    window, auto_window, blocks, burst    how many at once: a number, or found
    canary, gate                          one alone at first; closed by throttling
    pace, bucket, estimate, told_limits   requests and tokens per minute that are known
    found_pace, vain_cuts, excess         the pace that is found by being refused
    breaker, retry_bucket, recent         the endpoint is down: probes only
    suspects   whose fault a fault is: the row's or the endpoint's
    spend, deadline                       what the user allows
    memory     how many bytes are held at once
    settings, assembly                    which of them a session has
    events     what they changed, and why
    admit      may this request go out now? asks them all together

Nothing here does I/O, reads a clock or draws from a global generator: `now` and `rng` are passed in. Times
are seconds on any one clock that the caller keeps to (in `classify` and `waits`: seconds since the epoch,
because servers send dates), durations are seconds.
"""

from batcher.policy.admit import FlowState, admit
from batcher.policy.backoff import attempt_timeout_s, stream_idle_s, wait_for
from batcher.policy.budgets import RowBudget, RowFacts, RowLimits
from batcher.policy.classify import Context, classify
from batcher.policy.events import FlowEvent
from batcher.policy.part import Observation, Part, Send, Wait
from batcher.policy.settings import FlowSettings
from batcher.policy.spend import ModelRates, refusal_at_start, worst_cost_usd
from batcher.policy.table import RULES, RULES_ELSEWHERE
from batcher.policy.verdict import Action, Charge, Effect, Paid, Verdict
from batcher.policy.waits import server_wait
from batcher.policy.watch import Stop, Warning, Watch  # noqa: A004 - the run's word, no exception
from batcher.policy.window import most_in_flight

__all__ = [
    "RULES",
    "RULES_ELSEWHERE",
    "Action",
    "Charge",
    "Context",
    "Effect",
    "FlowEvent",
    "FlowSettings",
    "FlowState",
    "ModelRates",
    "Observation",
    "Paid",
    "Part",
    "RowBudget",
    "RowFacts",
    "RowLimits",
    "Send",
    "Stop",
    "Verdict",
    "Wait",
    "Warning",
    "Watch",
    "admit",
    "attempt_timeout_s",
    "classify",
    "most_in_flight",
    "refusal_at_start",
    "server_wait",
    "stream_idle_s",
    "wait_for",
    "worst_cost_usd",
]
