"""What a verb did, as a value: the same facts for the terminal, for `--json` and for the ledger."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Rows that are not ok for the same reason.

    Attributes:
        example: the server's message of one of them, scrubbed and harmless; may be empty.
    """

    outcome: str
    error_type: str | None
    error_code: str | None
    rows: int
    example: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a verb did.

    Attributes:
        output: path of the published file, or None when nothing was published.
        rows_total: rows the output has or will have; None while the input was not scanned.
        rows_done: rows that have their end, over all sessions.
        sent: exchanges begun in this session; `paid` of them were paid for certain, `ambiguous` may have been.
        reused: rows of the output whose answer was taken over.
        prompt_tokens, completion_tokens: billed, over all paid attempts that the output (or else this session) knows.
        cost_usd: None when no price is known.
        repeated_cost_usd: the part of `cost_usd` that did not become an answer; None when unknown.
        possibly_paid: rows whose answer an earlier crash may have lost, as (session, row_index).
        finished_before: the run was complete already; nothing was sent.
        unpriced_model: the model for which no price is known, or None.
        token_limit: the token maximum of one completion, or None.
        limit_named_by: the key of `[request]` that names it in the job, where only one of its two names may stand.
        tried_for: of a try: the output that the run would publish; None for the other verbs.
        try_number: of a try: its number, from 1.
        outlook: of a try: what all rows come to, as intervals; {} for the other verbs.
        flow: how the flow control ended this session: window, pace, held_s, cuts, pauses; {} when nothing was sent.
    """

    verb: str
    exit_code: int = 0
    exit_reason: str = "ok"
    next: str = "none"
    message: str | None = None
    hint: str | None = None
    output: str | None = None
    simulated: bool = False
    run_id: str | None = None
    session: int = 0
    rows_total: int | None = None
    rows_done: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    sent: int = 0
    paid: int = 0
    ambiguous: int = 0
    throttled: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    repeated_cost_usd: float | None = None
    elapsed_s: float = 0.0
    possibly_paid: tuple[tuple[int, int], ...] = ()
    damaged: int = 0
    warnings: tuple[str, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    finished_before: bool = False
    unpriced_model: str | None = None
    token_limit: int | None = None
    limit_named_by: str = "max_completion_tokens"
    tried_for: str | None = None
    try_number: int | None = None
    outlook: Mapping[str, object] = field(default_factory=dict)
    flow: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """One JSON object, plain types only."""
        return asdict(self)

    @property
    def not_ok(self) -> int:
        return sum(rows for outcome, rows in self.outcomes.items() if outcome != "ok")
