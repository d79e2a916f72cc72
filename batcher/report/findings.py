"""What a report tells of one output and of what is left of its run, as values.

They are plain data, so that the terminal, the page and `--json` tell the same story. Texts of users, models and
servers stand in them as they came; whoever draws makes them harmless. None means unknown, never 0. Times are seconds
since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batcher.report.plain import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.report.timeline import Timeline


class Bin(NamedTuple):
    """Rows with a value from `low` to below `high`."""

    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """How the values of one column are spread; nulls are not among them.

    Attributes:
        unit: "ms", "tokens" or "number".
        zeros: rows with 0, which stand in no bin.
        bins: contiguous, ascending, empty ones included; none when no value is above 0. They are logarithmic, or, where
            `is_even`, of one width and on whole numbers.
        p50, p90, p95, p99: within 1 % of the true quantile; exact where few whole numbers occur.
    """

    unit: str
    count: int
    least: float
    most: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    zeros: int
    bins: tuple[Bin, ...]
    is_even: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """One row to look at.

    Attributes:
        inputs: a few of the row's input columns, shortened.
        message: of the last failure; None when there was none.
        answer: completion or refusal, shortened; None when there is none.
        labels: label -> value as text.
    """

    row_index: int
    custom_id: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    answer: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """Rows that are not ok for the same reason.

    Attributes:
        attempts: of all its rows together.
        cost_usd: spent on them; None when unknown.
        advice: what helps, or "".
    """

    outcome: str
    error_type: str | None
    error_code: str | None
    status_code: int | None
    rows: int
    attempts: int
    cost_usd: float | None
    examples: tuple[Example, ...] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model was asked, answered and cost in this run; rows that were taken over are not in it.

    Attributes:
        cost_usd: None when no row's cost is known.
        cost_unknown: rows with a paid attempt and no known cost.
    """

    model: str
    rows: int
    ok: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    cost_unknown: int


class LabelValue(NamedTuple):
    """One value of a label; None is "no label"."""

    value: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """The answers of one label column, most frequent first.

    Attributes:
        counts: the most frequent values, without null.
        distinct: different values; `is_capped` when there were too many to count.
        rest: rows with a value that is not listed.
        nulls: rows without one.
        spread: of a column of numbers with many values; else None.
    """

    name: str
    counts: tuple[LabelValue, ...]
    distinct: int
    is_capped: bool
    rest: int
    nulls: int
    spread: Distribution | None = None

    @property
    def is_free(self) -> bool:
        """Mostly different texts, of which only a few are worth showing."""
        return self.rest > sum(each.rows for each in self.counts)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Sums of the usage columns; nulls count as nothing.

    Attributes:
        prompt, completion, cached, reasoning: of the answers in the file, taken-over ones included.
        billed_prompt, billed_completion: over all paid attempts of this run.
        prompt_spread, completion_spread: per row; None when no row has usage.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    billed_prompt: int = 0
    billed_completion: int = 0
    prompt_spread: Distribution | None = None
    completion_spread: Distribution | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What this run spent on the rows of the file.

    Attributes:
        usd: None when no row's cost is known.
        unknown: rows with a paid attempt and no known cost.
        not_ok_usd: the part that went into rows that are not ok.
        sources: where the prices came from -> rows.
    """

    usd: float | None = None
    unknown: int = 0
    not_ok_usd: float | None = None
    sources: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One session of the ledger, tries and stopped ones included.

    Attributes:
        ended_at, exit_code: None when it crashed.
        possibly_paid: attempts whose payment is unknown and whose answer is lost.
    """

    verb: str
    started_at: float
    ended_at: float | None
    rows: int
    rows_ok: int
    reused: int
    attempts: int
    paid_attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    possibly_paid: int
    exit_code: int | None


class FlowSample(NamedTuple):
    """How hard the run pushed at one moment.

    Attributes:
        pace: requests per minute; None when no pace holds.
        latency_ms: median over the latest replies.
    """

    ts: float
    window: float | None = None
    in_flight: float | None = None
    pace: float | None = None
    latency_ms: float | None = None


class FlowChange(NamedTuple):
    """How often one part of the flow control changed something for one reason."""

    part: str
    reason: str
    times: int
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the job. `is_long` when it is better shown as a block."""

    key: str
    value: str
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that is told of one output.

    Attributes:
        output: its path as the user would write it.
        complete: every row of the input is in it.
        outcomes: outcome -> rows; rows without an end are not in it.
        waiting: rows of an export that have no end yet.
        reused: rows whose answer was taken over.
        attempts: attempts of a row -> rows, 0 for rows that were never sent.
        warnings: what was odd in a kept reply -> rows.
        timeline: when rows came in; None when none has a time.
        latency, ttft: of final attempts; None when unknown.
        classes: largest first; `more_classes` further ones are not listed, with `more_rows` rows.
        answers: a few rows that are ok.
        sessions: oldest first; empty when the ledger is gone.
        settings: table -> its keys; empty when the run directory is gone.
        samples, changes: of the flow control, empty when the run directory is gone.
        held: what held the run notably, in words; None when nothing did, or it is unknown.
    """

    output: str
    run_id: str
    version: str
    model: str | None
    base_url: str
    simulated: bool
    complete: bool
    created_at: float
    generation: int
    prices_version: str | None
    rows: int
    outcomes: Mapping[str, int]
    waiting: int
    reused: int
    attempts: Mapping[int, int]
    warnings: Mapping[str, int]
    tokens: Tokens
    cost: Cost
    models: tuple[ModelUse, ...]
    timeline: Timeline | None
    latency: Distribution | None
    ttft: Distribution | None
    classes: tuple[ErrorClass, ...]
    more_classes: int
    more_rows: int
    labels: tuple[LabelColumn, ...]
    answers: tuple[Example, ...]
    sessions: tuple[SessionLine, ...] = ()
    settings: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)
    samples: tuple[FlowSample, ...] = ()
    changes: tuple[FlowChange, ...] = ()
    held: str | None = None

    @property
    def endpoint(self) -> str | None:
        """Where requests went; None when they went nowhere."""
        return None if self.simulated else self.base_url

    @property
    def ok(self) -> int:
        return self.outcomes.get("ok", 0)

    @property
    def not_ok(self) -> int:
        return sum(self.outcomes.values()) - self.ok

    @property
    def bought(self) -> int:
        """Rows that have their end and were not taken over."""
        return sum(self.outcomes.values()) - self.reused

    @property
    def working_s(self) -> float | None:
        """Seconds in which the run was at work, quiet spells between sessions left out; None when unknown."""
        return self.timeline.at_work_s if self.timeline is not None else None

    @property
    def rows_per_s(self) -> float | None:
        """Mean over the time at work; None when unknown."""
        seconds = self.working_s
        return self.timeline.rows / seconds if self.timeline is not None and seconds else None

    @property
    def usd_per_1000_ok(self) -> float | None:
        return self.cost.usd / self.ok * 1000 if self.cost.usd is not None and self.ok else None

    def to_json(self) -> dict[str, object]:
        """One JSON object, plain types only."""
        return named(self) | {
            "rows_per_s": self.rows_per_s,
            "working_s": self.working_s,
            "usd_per_1000_ok": self.usd_per_1000_ok,
        }
