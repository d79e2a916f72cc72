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
LONELY_ATTEMPT_APART_S: Final = 60.0
"""When nothing is answered any more, only attempts this far apart are charged to R."""
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

# --- attempts (rules, section 2) --------------------------------------------------------------------------
ATTEMPT_LEAST_S: Final = 600.0
ATTEMPT_BASE_S: Final = 60.0
ATTEMPT_TOKENS_PER_S: Final = 10.0
"""The slowest rate of completion tokens that is still waited for."""
