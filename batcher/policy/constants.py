"""Every number of the flow control, with its unit and its source.

"rules" is the project's failure rules, sections 1 and 2; "chosen" was decided here, with the reason.
"""

from __future__ import annotations

from typing import Final

# --- budgets of a row (rules, section 1) ------------------------------------------------------------------
MAX_ATTEMPTS: Final = 5
"""R: charged attempts of a row."""
MAX_PAID_ATTEMPTS: Final = 3
"""P: paid or ambiguous attempts of a row."""
LONELY_ATTEMPT_APART_S: Final = 180.0
"""Chosen: when nothing is answered any more, only attempts this far apart are charged to R. (60 s was planned: an
outage of five minutes failed the last row of a run.) Four of them take 12 minutes, so an outage of 10 minutes fails
no row even where it meets the last one; but rows that always fail end."""
LONELY_OWN_APART_S: Final = 60.0
"""The same for a row that had failed while the endpoint was well, as long as that is not held for down."""
PROOF_ATTEMPT_S: Final = 60.0
PROOF_PAID_S: Final = 600.0
"""Chosen: so long the last attempt that R, or P, allows a row waits at most for an answer to a request that was sent
after the row had failed: an outage of 10 minutes must use up neither."""
PROOF_AMBIGUOUS_S: Final = 5.0
PROOF_AMBIGUOUS_APART_S: Final = 10.0
"""Chosen: so long any attempt after one that may have been paid for, and for each other row that waits."""
THROTTLED_REFUSALS: Final = 100
THROTTLED_OTHERS: Final = 1_000
"""A row refused so often while so many others succeeded is `throttled`."""

# --- waiting (rules, sections 1 and 2) --------------------------------------------------------------------
BACKOFF_FAULT_S: Final = 0.5
BACKOFF_THROTTLED_S: Final = 2.0
BACKOFF_MOST_S: Final = 60.0
HINT_JITTER_SHARE: Final = 0.1
"""Chosen: a hint is stretched by up to this share, so that rows refused together do not come back
together."""
HINT_JITTER_START_S: Final = 0.25
HINT_JITTER_MOST_S: Final = 2.0
"""Chosen: and by up to 0.25 s x 2^n, at most 2 s, so that `Retry-After: 0` is no licence for a hot loop."""
PARK_OVER_S: Final = 600.0
"""A longer wait than this is announced as parking."""
PARK_UNKNOWN_S: Final = 3_600.0
"""Chosen: a daily limit without a hint is probed once an hour (limits reset at an unknown hour of an
unknown zone)."""
PARK_MOST_S: Final = 86_400.0
"""Parked longer than this without a success between: exit 7."""

# --- classification (rules, section 1) --------------------------------------------------------------------
TRUSTED_AFTER: Final = 100
"""After so many successes a 404 is the server's trouble, not a wrong model name."""

# --- run-level watch (rules, section 1) -------------------------------------------------------------------
NOT_AN_API_OF_FIRST: Final = 20
NOT_AN_API_MOST: Final = 5
FIRST_CONNECTS: Final = 3
RECENT_ROWS: Final = 200
SAME_CODE_SHARE: Final = 0.5
SAME_CODE_FIRST_ROWS: Final = 50
SAME_CODE_FIRST_COUNT: Final = 20
TRUNCATED_SHARE: Final = 0.2
NO_SUCCESS_S: Final = 6 * 3_600.0
NEVER_SUCCESS_S: Final = 600.0

# --- admission --------------------------------------------------------------------------------------------
CANARY_S: Final = 15.0
"""Rules: the canary holds the others back for at most this long after its dispatch."""
RAMP_S: Final = 1.0
RAMP_STEP_S: Final = 0.1
RAMP_STEPS_PER_WINDOW: Final = 8
"""Chosen: for the first second after the gate opens, at most window/8 requests (at least 1) per 100 ms:
the window is full again within a second, and a server bucket of 100 ms never sees all of it at once."""
GATE_BLIND_S: Final = 0.25
GATE_BLIND_MOST_S: Final = 30.0
GATE_BLIND_LEAST: Final = 4
GATE_BLIND_OF_LAST: Final = 32
"""Chosen: refusals without a hint close the gate for 0.25 s, doubled until something succeeds, once at
least 4 of the last 32 or so results were refusals and most of them were. Single refusals between successes
(one busy backend of many) close nothing. The pace controller takes this over when it knows the rate."""
GATE_LONE_SHARE: Final = 0.35
GATE_LONE_TIMES: Final = 2.0
GATE_LONE_LEAST: Final = 5
"""Chosen: beside a found pace, hints close the gate when more is refused than a third of what is sent, or than twice
the share that is refused at any rate; and while fewer than 5 results are known."""

# --- attempts (rules, section 2) --------------------------------------------------------------------------
ATTEMPT_LEAST_S: Final = 600.0
ATTEMPT_BASE_S: Final = 60.0
ATTEMPT_TOKENS_PER_S: Final = 10.0
STREAM_IDLE_S: Final = 120.0
"""Rules: between two pieces of a stream, counted after the first."""
"""The slowest rate of completion tokens that is still waited for."""

# --- window (rules, section 2) ----------------------------------------------------------------------------
WINDOW_START: Final = 4
WINDOW_USED_SHARE: Final = 0.8
"""A success grows the window only while at least this share of it is in flight."""
WINDOW_CUT: Final = 0.7
WINDOW_HALVED: Final = 0.5
BURST_S: Final = 5.0
BURST_LEAST: Final = 5
BURST_SHARE: Final = 0.1
"""A burst: at least 5 within 5 s, and more than a tenth of the window."""
BLOCK_GROWTH: Final = 1.2
"""A new block begins when the window is this much larger than at the last one's beginning."""
BLOCK_GAIN: Final = 1.05
"""A larger window must bring this much more tokens per second."""
BLOCK_MARGIN: Final = 1.15
"""Chosen: an estimated window is taken this much larger. A block of 32 replies tells its speed to about 10 %, and what
is too small costs throughput for a minute; too large costs 15 % latency. (Of 60 simulated servers that queue, 13 were
left under 95 % of their throughput without it, none with it.)"""
BLOCK_LEAST_REPLIES: Final = 50
BLOCK_RETRY_S: Final = 60.0
"""After a step back: how long the window is not grown."""
WINDOW_MOST: Final = 4_096
WINDOW_CALM_S: Final = 60.0
"""Chosen: cuts closer together than this belong to one trouble; slow start aims at the window before it."""
DESCRIPTORS_KEPT: Final = 96
"""Chosen: file descriptors left for journals, parts, inputs, the resolver and the terminal."""
FILL_S: Final = 1.0
FILL_AT_ONCE: Final = 32
"""A pinned window is filled over the first second; chosen: up to 32 requests are no crowd, so at once."""

# --- pace (rules, section 2) ------------------------------------------------------------------------------
PACE_BURST_S: Final = 0.05
"""A bucket holds one request or this many seconds of its rate, whichever is more."""
SET_BURST_S: Final = 0.03
"""Chosen: the same for a limit that the user set. 50 ms are all of the 5 % by which a window of 1 s may exceed it,
and requests bunch on their way: of 105 that left within a second up to 109 arrived within one, on a busy machine."""
SET_TOKENS_SHARE: Final = 0.97
"""Chosen: how much of a token limit that the user set is used. A request's tokens are an estimate until its reply tells
them, so at the whole rate 100 requests of scattered lengths exceed some window of 1 s by 7 %."""
TOLD_APART_S: Final = 0.05
"""Chosen: told limits are looked for in one reply of so many seconds."""
RESERVED_BURST_S: Final = 2.0
"""Chosen: seconds of its rate that the bucket of reserved tokens holds; the other one limits bursts."""
CREDITS_KEPT: Final = 4
"""Chosen: credits of reserved tokens may lift the bucket above full by so many requests."""
BYTES_PER_TOKEN: Final = 3.5
ESTIMATE_MEMORY: Final = 50
"""Chosen: replies over which the running means of the token estimate look back."""
ESTIMATE_EVERY: Final = 8
"""Chosen: when so many replies were seen, one of 8 is enough (the others save 0.5 µs)."""
ESTIMATE_RATIO_LEAST: Final = 0.1
ESTIMATE_RATIO_MOST: Final = 10.0
COMPLETION_GUESS: Final = 256
"""Chosen: completion tokens of a request without a token maximum, until the first usage is known."""
EXCESS_MOST: Final = 5.0
EXCESS_CREDIT: Final = 2.0
"""Chosen: 5 refusals beyond the share borne are too many. By chance alone 2, 5 and 10 % refused, each measured rightly,
come to that once in 670,000, 71,000 and 29,000 requests (2 million drawn); a flood does after 6 refusals."""
FOUND_START_SHARE: Final = 0.1
FOUND_START_S: Final = 5.0
FOUND_START_LEAST: Final = 300
"""Chosen: before the first cut a tenth refused is borne for 5 s and 300 requests, so that single refusals do not end
the slow start."""
FOUND_CUT: Final = 0.92
FOUND_CUT_AGAIN: Final = 0.96
FOUND_AGAIN_S: Final = 2.0
FOUND_FLOOD_S: Final = 0.1
FOUND_FLOOD_LEAST: Final = 5
FOUND_FLOOD_LEAST_S: Final = 0.25
"""Chosen: seconds since the cut x share refused since, so that 10 % are borne for 1 s and 40 % for 0.25 s."""
FOUND_DOUBT: Final = 2.0
"""Chosen: by how much the rate by the clock may be too low because of a shut gate."""
FOUND_EVIDENCE_S: Final = 0.5
FOUND_BLIND_CUT: Final = 0.8
"""Chosen: below half a second of open gate since a cut nothing was measured, so the next cut is this."""
FOUND_HOLD_S: Final = 10.0
FOUND_RAISES: Final = (0.01, 0.02, 0.04, 0.08)
"""The raises of the first seconds after the hold; the last one is repeated."""
FOUND_LOOK_BACK_S: Final = 1.0
FOUND_FIRST_LOOK_BACK_S: Final = 0.25
FOUND_FIRST_MOST_S: Final = 4.0
FOUND_FIRST_LEAST: Final = 10
FOUND_LATENCY_MEMORY: Final = 8
"""Chosen: before the first cut the window doubles, once per answer's time, so only the last one tells the rate: the
running mean of the answers' latency, between 0.25 s and 4 s, and longer while fewer than 10 were let through."""
FOUND_RAMP: Final = 0.5
"""Chosen: raise per second after the first cut and after cuts were given back. Slow start is over too soon when a
shallow bucket refused a lump of it."""
FOUND_CELL_S: Final = 0.05
FOUND_LEAST_PER_S: Final = 0.1
"""Chosen: when everything is refused, one request every 10 s still asks."""
FOUND_USED_SHARE: Final = 0.8
FOUND_TOLD_PER_S: Final = 2.0
"""The share of the pace that must be used for a raise; chosen: a second tells nothing of a pace below 2 a second, which
is raised once in 2 requests instead."""
VAIN_CUTS: Final = 3
VAIN_PACE: Final = 0.75
VAIN_REFUSALS: Final = 3
VAIN_SHARE_MOST: Final = 0.3
VAIN_EVIDENCE: Final = 20
VAIN_OPEN_SHARE: Final = 0.99
VAIN_SERIES_S: Final = 60.0
"""Chosen: cuts were in vain after 3 that were measured, to 3/4 of the pace, 3 refusals, and at most 30 % refused. At
limits on the rate, of any depth, none ever were: there a cut to less than was let through ends the refusals."""
BORNE_S: Final = 60.0
BORNE_LEAST: Final = 0.005
BORNE_TIMES: Final = 1.5
BORNE_MARGIN: Final = 0.01
"""Chosen: the share refused at any rate is borne for 60 s; half as much again, and 1 %, is not too much yet."""

# --- retry bucket and breaker (rules, section 2) ----------------------------------------------------------
RETRIES_LEAST: Final = 50
RETRIES_PER_WINDOW: Final = 2
RETRY_REFUND: Final = 1.0
SUCCESS_REFUND: Final = 0.1
RETRY_ROWS_KNOWN: Final = 65_536
"""Chosen: rows remembered as having taken from the bucket."""
BREAKER_IN_A_ROW: Final = 20
BREAKER_IN_A_ROW_S: Final = 5.0
BREAKER_SHARE: Final = 0.5
BREAKER_RESULTS: Final = 20
BREAKER_SPAN_S: Final = 30
PROBES_AFTER_S: Final = (1.0, 2.0, 4.0, 8.0, 10.0)
"""The waits before the first probes; the last one is repeated."""
PROBE_FAILED_ROW_S: Final = 0.5
PROBE_SAME_ROW_S: Final = 2.0
"""Chosen: a row that failed last time, and one that probed before, wait this much longer, so that another one
comes first."""
BLAME_AFTER_S: Final = 900.0
"""Chosen: longer than the 10 minutes of an outage that fails no row."""
FAILING_ROWS_KNOWN: Final = 65_536
"""Chosen: rows remembered as having failed last time."""
OUTAGES_KNOWN: Final = 64

# --- memory (rules, section 2) ----------------------------------------------------------------------------
MOST_BYTES_IN_FLIGHT: Final = 512 * 1024 * 1024
REPLY_SIZE_MEMORY: Final = 50
"""Chosen: replies over which the expected size of the next one looks back."""

# --- budget (rules, section 2) ----------------------------------------------------------------------------
TOKENS_PER_PRICE: Final = 1_000_000
IMAGE_WORST_TOKENS: Final = 50_000
"""The dearest image known: gpt-4o-mini, high detail, 2,833 + 8 x 5,667 tokens."""
IMAGE_TOKENS_GUESS: Final = 765
"""OpenAI's vision guide: 1,024 x 1,024 at high detail for gpt-4o, 85 + 4 x 170 tokens."""

# --- what is told -----------------------------------------------------------------------------------------
EVENTS_KEPT: Final = 1_000
EVENTS_MERGED_S: Final = 1.0
"""Chosen: changes of one part for one reason within a second are told as one."""
