"""An output's rows added up for a report: one pass, row group by row group, needed columns only, in Arrow's kernels.

Rows that were taken over count among outcomes, labels and tokens; what this run did (time, latency, models, cost) is
told without them. Never holds a row; the few that are shown as examples are read by themselves at the end.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batcher.records import Outcome
from batcher.report.findings import ErrorClass, ModelUse
from batcher.report.sketch import Sketch
from batcher.report.timeline import MICROSECONDS, UNNAMED, Counts
from batcher.report.timeline import Counter as TimeCounter
from batcher.store.columns import COLUMNS, NAME_KEY, ROLE_KEY, Role, our_columns
from batcher.store.part import Totals, open_part
from batcher.verbs.report_counts import LabelCounter, counted, measure
from batcher.verbs.report_examples import EXAMPLES, Spot, read_examples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow.parquet as pq

    from batcher.report.findings import Distribution, Example, LabelColumn
    from batcher.report.timeline import Timeline

MOST_CLASSES: Final = 500
"""Kinds of failure told apart; beyond them the server's own codes, which may be any text, are left out."""
SHOWN_CLASSES: Final = 25
MOST_MODELS: Final = 50
_KIND: Final = ("outcome", "error_type", "error_code", "status_code")
_READ: Final[tuple[str, ...]] = (
    *_KIND,
    "row_index",
    "reused_from",
    "request_model",
    "warnings",
    "attempts",
    "paid_attempts",
    "latency_ms",
    "ttft_ms",
    "sent_at",
    "received_at",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "billed_prompt_tokens",
    "billed_completion_tokens",
    "cost_usd",
    "cost_source",
)
_OURS: Final = frozenset(column.name for column in COLUMNS)
ANSWER_EXAMPLES: Final = 5

Kind = tuple[str, str | None, str | None, int | None]


@dataclass(frozen=True, slots=True)
class RowFindings:
    """What stands in the rows; the fields are those of `batcher.report.Findings`."""

    totals: Totals
    waiting: int
    attempts: Mapping[int, int]
    warnings: Mapping[str, int]
    sources: Mapping[str, int]
    models: tuple[ModelUse, ...]
    timeline: Timeline | None
    latency: Distribution | None
    ttft: Distribution | None
    prompt: Distribution | None
    completion: Distribution | None
    classes: tuple[ErrorClass, ...]
    more_classes: int
    more_rows: int
    labels: tuple[LabelColumn, ...]
    answers: tuple[Example, ...]


def read_rows(path: Path) -> RowFindings:
    """Add an output up. Raises pyarrow errors and OSError when it is damaged or gone."""
    with open_part(path) as file:
        survey = _Survey.of(file)
        for number in range(file.num_row_groups):
            survey.add(number, file)
        return survey.findings(file)


def label_columns(schema: pa.Schema) -> dict[str, int]:
    """Label columns that can be counted, by unprefixed name -> position."""
    found = {}
    for index, each in enumerate(schema):
        said = each.metadata or {}
        name = said.get(NAME_KEY, b"").decode("utf-8", "replace")
        is_output = said.get(ROLE_KEY) == Role.OUTPUT.value.encode()
        if name and is_output and name not in _OURS and LabelCounter.can_count(each.type):
            found[name] = index
    return found


class _Tally(NamedTuple):
    rows: int = 0
    attempts: int = 0
    cost_usd: float = 0.0
    cost_known: int = 0

    def plus(self, other: _Tally) -> _Tally:
        return _Tally(
            self.rows + other.rows,
            self.attempts + other.attempts,
            self.cost_usd + other.cost_usd,
            self.cost_known + other.cost_known,
        )


@dataclass(slots=True)
class _Survey:
    """Everything that is added up during the pass."""

    names: Mapping[str, str]
    labels: Mapping[str, LabelCounter]
    totals: Totals = field(default_factory=Totals)
    waiting: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    models: dict[str, ModelUse] = field(default_factory=dict)
    times: TimeCounter = field(default_factory=TimeCounter)
    sketches: Mapping[str, Sketch] = field(
        default_factory=lambda: {
            name: Sketch() for name in ("latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens")
        }
    )
    kinds: dict[Kind, _Tally] = field(default_factory=dict)
    spots: dict[Kind, list[Spot]] = field(default_factory=dict)
    answers: list[Spot] = field(default_factory=list)
    began: float | None = None

    @classmethod
    def of(cls, file: pq.ParquetFile) -> _Survey:
        schema = file.schema_arrow
        at = our_columns(schema)
        labels = label_columns(schema)
        names: dict[str, str] = {name: schema.names[at[name]] for name in _READ if name in at}
        names |= {f"label {name}": schema.names[index] for name, index in labels.items()}
        return cls(names, {name: LabelCounter(name) for name in labels})

    def add(self, group: int, file: pq.ParquetFile) -> None:
        """One row group."""
        read = file.read_row_group(group, columns=list(self.names.values()), use_threads=False)
        table = read.select(list(self.names.values())).rename_columns(list(self.names))
        ours = read.select([self.names[name] for name in self.names if name in _READ])
        self.totals += Totals.of(ours)
        outcomes = table.column("outcome")
        self.waiting += outcomes.null_count
        table = table.append_column("place", pa.array(range(table.num_rows), pa.int64()))
        table = table.filter(pc.is_valid(outcomes))
        is_ok = pc.equal(table.column("outcome"), Outcome.OK.value)
        table = table.append_column("is_ok", is_ok)
        for name, label in self.labels.items():
            label.add(table.column(f"label {name}"))
        for name in ("prompt_tokens", "completion_tokens"):
            measure(self.sketches[name], table.column(name))
        self._add_failures(group, table.filter(pc.invert(is_ok)))
        self._add_answers(group, table.filter(is_ok).column("place"))
        self._add_bought(table.filter(pc.is_null(table.column("reused_from"))))

    def _add_failures(self, group: int, table: pa.Table) -> None:
        grouped = table.group_by(list(_KIND), use_threads=False).aggregate(
            [
                ([], "count_all"),
                ("attempts", "sum"),
                ("cost_usd", "sum"),
                ("cost_usd", "count"),
                ("place", "min"),
                ("place", "max"),
            ]
        )
        for row in grouped.to_pylist():
            kind: Kind = (row["outcome"], row["error_type"], row["error_code"], row["status_code"])
            if kind not in self.kinds and len(self.kinds) >= MOST_CLASSES:
                kind = (row["outcome"], row["error_type"], None, None)
            tally = _Tally(
                row["count_all"], row["attempts_sum"] or 0, row["cost_usd_sum"] or 0.0, row["cost_usd_count"]
            )
            self.kinds[kind] = self.kinds.get(kind, _Tally()).plus(tally)
            spots = self.spots.setdefault(kind, [])
            for place in sorted({row["place_min"], row["place_max"]}):
                if len(spots) < EXAMPLES:
                    spots.append(Spot(group, place))

    def _add_answers(self, group: int, places: pa.ChunkedArray) -> None:
        """Rows of this group that may be shown as answers: a few, spread over it."""
        count = len(places)
        for number in range(min(count, ANSWER_EXAMPLES)):
            place = places[number * count // ANSWER_EXAMPLES if count > ANSWER_EXAMPLES else number]
            self.answers.append(Spot(group, place.as_py()))

    def _add_bought(self, table: pa.Table) -> None:
        """What this run did itself."""
        self.attempts.update({int(str(n)): rows for n, rows in counted(table.column("attempts").drop_null())})
        for words, rows in counted(table.column("warnings").drop_null()):
            self.warnings.update({word.strip(): rows for word in str(words).split(",")})
        self.sources.update({str(name): n for name, n in counted(table.column("cost_source").drop_null())})
        for name in ("latency_ms", "ttft_ms"):
            if name in self.names:
                measure(self.sketches[name], table.column(name))
        models = pc.fill_null(table.column("request_model"), UNNAMED)
        table = table.append_column("model", models)
        self._add_models(table)
        self._add_times(table.filter(pc.is_valid(table.column("received_at"))))

    def _add_models(self, table: pa.Table) -> None:
        paid = pc.fill_null(pc.greater(table.column("paid_attempts"), 0), fill_value=False)
        unknown = pc.and_(paid, pc.is_null(table.column("cost_usd")))
        asked = table.append_column("unknown", unknown.cast(pa.int64()))
        asked = asked.filter(pc.greater(table.column("attempts"), 0))
        grouped = asked.group_by(["model", "is_ok"], use_threads=False).aggregate(
            [([], "count_all"), ("cost_usd", "count"), ("unknown", "sum"), *_SUMS]
        )
        for row in grouped.to_pylist():
            name = row["model"] if row["model"] in self.models or len(self.models) < MOST_MODELS else "others"
            before = self.models.get(name, ModelUse(name, 0, 0, 0, 0, None, 0))
            cost = before.cost_usd
            if row["cost_usd_count"]:
                cost = (cost or 0.0) + row["cost_usd_sum"]
            self.models[name] = ModelUse(
                model=name,
                rows=before.rows + row["count_all"],
                ok=before.ok + (row["count_all"] if row["is_ok"] else 0),
                prompt_tokens=before.prompt_tokens + (row["billed_prompt_tokens_sum"] or 0),
                completion_tokens=before.completion_tokens + (row["billed_completion_tokens_sum"] or 0),
                cost_usd=cost,
                cost_unknown=before.cost_unknown + (row["unknown_sum"] or 0),
            )

    def _add_times(self, table: pa.Table) -> None:
        first = pc.min(table.column("sent_at").cast(pa.int64())).as_py()
        if first is not None:
            self.began = min(first / MICROSECONDS, self.began or math.inf)
        numbers = pc.divide(table.column("received_at").cast(pa.int64()), self.times.width_us)
        timed = table.append_column("slice", numbers)
        grouped = timed.group_by(["slice", "model", "is_ok"], use_threads=False).aggregate(
            [([], "count_all"), *_SUMS]
        )
        self.times.add(
            (
                row["slice"],
                row["model"] if row["model"] in self.models else UNNAMED,
                Counts(
                    ok=row["count_all"] if row["is_ok"] else 0,
                    not_ok=0 if row["is_ok"] else row["count_all"],
                    cost_usd=row["cost_usd_sum"] or 0.0,
                    prompt_tokens=row["billed_prompt_tokens_sum"] or 0,
                    completion_tokens=row["billed_completion_tokens_sum"] or 0,
                ),
            )
            for row in grouped.to_pylist()
        )

    def findings(self, file: pq.ParquetFile) -> RowFindings:
        """What was added up; reads the rows that are shown."""
        kinds = sorted(self.kinds.items(), key=lambda item: (-item[1].rows, str(item[0])))
        shown, others = kinds[:SHOWN_CLASSES], kinds[SHOWN_CLASSES:]
        step = max(1, len(self.answers) // ANSWER_EXAMPLES)
        answers = self.answers[::step][:ANSWER_EXAMPLES]
        wanted = {spot for kind, _ in shown for spot in self.spots[kind]} | set(answers)
        examples = read_examples(file, wanted, labels=tuple(self.labels))
        classes = (_class(kind, tally) for kind, tally in shown)
        return RowFindings(
            totals=self.totals,
            waiting=self.waiting,
            attempts=dict(sorted(self.attempts.items())),
            warnings=dict(self.warnings.most_common()),
            sources=dict(self.sources.most_common()),
            models=tuple(sorted(self.models.values(), key=lambda use: (-(use.cost_usd or 0), -use.rows))),
            timeline=self.times.timeline(self.began),
            latency=self.sketches["latency_ms"].distribution("ms"),
            ttft=self.sketches["ttft_ms"].distribution("ms"),
            prompt=self.sketches["prompt_tokens"].distribution("tokens"),
            completion=self.sketches["completion_tokens"].distribution("tokens"),
            classes=tuple(
                replace(each, examples=tuple(examples[spot] for spot in self.spots[kind]))
                for each, (kind, _) in zip(classes, shown, strict=True)
            ),
            more_classes=len(others),
            more_rows=sum(tally.rows for _, tally in others),
            labels=tuple(label.column() for label in self.labels.values()),
            answers=tuple(examples[spot] for spot in answers),
        )


_SUMS: Final = (("cost_usd", "sum"), ("billed_prompt_tokens", "sum"), ("billed_completion_tokens", "sum"))


def _class(kind: Kind, tally: _Tally) -> ErrorClass:
    outcome, error_type, error_code, status_code = kind
    return ErrorClass(
        outcome=outcome,
        error_type=error_type,
        error_code=error_code,
        status_code=status_code,
        rows=tally.rows,
        attempts=tally.attempts,
        cost_usd=tally.cost_usd if tally.cost_known else None,
    )
