"""The output's columns: the one place where their names, types, order and meaning are declared.

`COLUMNS` is the table of the design, row by row and in order; everything that needs to know a column (the
schema, the conversion, the totals, reuse, retry, the docs) reads it here. Types are never inferred from
answers, or two runs of one job could publish two schemas.

Rules:

1. Input columns come first, types, field metadata and values untouched. Only ``batcher.*`` field metadata,
   which an earlier output of ours left there, is taken off: it would make two columns answer to one name.
2. A feature's columns exist when the job uses it, decided before anything is sent. ``reasoning`` and
   ``refusal`` exist by default, because any model may send them and text that was paid for must have a place;
   ``tool_calls`` when tools are given, ``choices_json`` when ``n > 1``, ``logprobs_json`` when asked for, and
   all three for batch lines, whose bodies may ask for any; ``parsed`` and a column per property where the
   job gives a schema (`property_columns` makes types of it).
3. A clash with an input column is an error that shows the prefix line to add. An input column named
   ``custom_id`` that is itself the row's id is no clash: the bookkeeping column of that name carries it, as
   text.
4. Each of our fields says in its metadata what it is: ``batcher.name`` (the name without prefix),
   ``batcher.role``, ``description``, and where they exist ``otel.attribute`` and ``unit``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from batcher.errors import JobError
from batcher.store.cells import array_of, list_of
from batcher.store.pandas_words import pandas_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batcher.store.property_columns import PropertyColumn

NAME_KEY = b"batcher.name"
ROLE_KEY = b"batcher.role"

_INT16, _INT64, _FLOAT = pa.int16(), pa.int64(), pa.float64()
_TEXT, _LONG_TEXT = pa.string(), pa.large_string()
_TIME = pa.timestamp("us", tz="UTC")


class Role(StrEnum):
    """What a later run makes of the column when this output is its input."""

    BOOKKEEPING = "bookkeeping"  # dropped
    OUTPUT = "output"  # kept: what the model said


@dataclass(frozen=True, slots=True)
class Column:
    """One declared output column.

    Attributes:
        name: without prefix.
        meaning: its description in the file.
        feature: the flag of `Features` that makes it exist, None for always.
        otel: attribute name of OpenTelemetry's semantic conventions for GenAI, None where they have none.
        unit: ``ms``, ``{token}``, ``USD`` and the like; None for text.
        never_null: every row has a value, so pandas may read a plain integer.
        saturates: a number too large for the type is stored as the type's largest, because only its size
            matters.
        repeats: few distinct values, so the Parquet encoding (not the Arrow type) uses a dictionary.
    """

    name: str
    type: pa.DataType
    meaning: str
    role: Role = Role.BOOKKEEPING
    feature: str | None = None
    otel: str | None = None
    unit: str | None = None
    never_null: bool = False
    saturates: bool = False
    repeats: bool = False

    def arrow_field(self, prefix: str) -> pa.Field:
        metadata = {NAME_KEY: self.name, ROLE_KEY: self.role.value, b"description": self.meaning}
        if self.otel is not None:
            metadata[b"otel.attribute"] = self.otel
        if self.unit is not None:
            metadata[b"unit"] = self.unit
        return pa.field(prefix + self.name, self.type, metadata=metadata)


_TAGS = Column("tag_*", _TEXT, "from [tags] of the job", feature="tags", repeats=True)
_PROPERTIES = Column("*", _TEXT, "of the answer; null where it does not fit", Role.OUTPUT, "properties")

# fmt: off
COLUMNS: tuple[Column, ...] = (
    Column("custom_id", _TEXT, "the row's own id, as text", feature="custom_id"),
    Column("row_index", _INT64, "zero-based position in the input", never_null=True),
    Column("run_id", _TEXT, "the run that settled the row", repeats=True),
    Column("request_hash", _TEXT, "blake2b-128 of the request; equal exactly when the request is"),
    Column("reused_from", _TEXT, "the run that bought a taken-over answer", repeats=True),
    _TAGS,
    Column("response_id", _TEXT, "the reply's id", otel="gen_ai.response.id"),
    Column("request_id", _TEXT, "the gateway's x-request-id"),
    Column("request_model", _TEXT, "the model asked for", otel="gen_ai.request.model", repeats=True),
    Column("response_model", _TEXT, "the model that answered", otel="gen_ai.response.model", repeats=True),
    Column("finish_reason", _TEXT, "why it stopped", otel="gen_ai.response.finish_reasons", repeats=True),
    Column("warnings", _TEXT, "what was odd in a reply that was kept, as words", repeats=True),
    Column("status_code", _INT16, "HTTP status of the final attempt", otel="http.response.status_code"),
    Column("error_type", _TEXT, "class of the last failure", otel="error.type", repeats=True),
    Column("error_code", _TEXT, "code in the server's error object", repeats=True),
    Column("error_message", _TEXT, "message of the last failure, redacted"),
    Column("attempts", _INT16, "times the request was sent", unit="{attempt}", saturates=True),
    Column("paid_attempts", _INT16, "those that were or may be paid", unit="{attempt}", saturates=True),
    Column("queue_ms", _FLOAT, "from the row's first admission to the final attempt", unit="ms"),
    Column("latency_ms", _FLOAT, "final attempt, first byte out to last byte in", unit="ms"),
    Column("ttft_ms", _FLOAT, "time to the first token", feature="streaming", unit="ms"),
    Column("sent_at", _TIME, "when the final attempt was sent"),
    Column("received_at", _TIME, "when its last byte came"),
    Column("prompt_tokens", _INT64, "usage of the final attempt", otel="gen_ai.usage.input_tokens",
           unit="{token}"),
    Column("completion_tokens", _INT64, "usage of the final attempt", otel="gen_ai.usage.output_tokens",
           unit="{token}"),
    Column("total_tokens", _INT64, "usage of the final attempt", unit="{token}"),
    Column("cached_tokens", _INT64, "part of prompt_tokens read from a cache",
           otel="gen_ai.usage.cache_read.input_tokens", unit="{token}"),
    Column("reasoning_tokens", _INT64, "part of completion_tokens spent on reasoning", unit="{token}"),
    Column("billed_prompt_tokens", _INT64, "over all paid attempts of this run", unit="{token}"),
    Column("billed_completion_tokens", _INT64, "over all paid attempts of this run", unit="{token}"),
    Column("outcome", _TEXT, "ok, truncated, refused, failed, or invalid (never sent)", repeats=True),
    Column("cost_usd", _FLOAT, "what this run spent on the row over all attempts; 0 when reused", unit="USD"),
    Column("cost_source", _TEXT, "gateway, prices, or null when the cost is unknown", repeats=True),
    Column("usage_json", _TEXT, "the reply's usage object, verbatim"),
    # Large: one reply may have 64 MiB and a slice has 512 rows, which overflows the 32-bit offsets of
    # `string`.
    Column("response_json", _LONG_TEXT, "the whole reply of rows that are not ok, or of all with keep_raw"),
    Column("reasoning", _LONG_TEXT, "reasoning text of the answer", Role.OUTPUT, "reasoning"),
    Column("refusal", _LONG_TEXT, "refusal text of the answer", Role.OUTPUT, "refusal"),
    Column("tool_calls", _LONG_TEXT, "tool calls, verbatim, as JSON", Role.OUTPUT, "tool_calls"),
    Column("choices_json", _LONG_TEXT, "further completions of n > 1, as JSON", Role.OUTPUT, "choices"),
    Column("logprobs_json", _LONG_TEXT, "log probabilities of the answer's tokens, as JSON", Role.OUTPUT,
           "logprobs"),
    Column("parsed", _LONG_TEXT, "the validated JSON of the answer", Role.OUTPUT, "parsed"),
    Column("completion", _LONG_TEXT, "choices[0].message.content", Role.OUTPUT),
    _PROPERTIES,
)
# fmt: on


OWN_NAMES = frozenset(column.name for column in COLUMNS if column.name[-1] != "*")
"""Names that no column of a property may have."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the job uses, as far as columns depend on it; known before the run.

    Attributes:
        custom_id: rows have an id of their own (``id_column`` or batch lines).
        id_column: name of the input column that holds it; None means ``custom_id``, as in batch lines.
        tags: tag -> value, one constant column each.
        properties: labels, or what the answer's schema names: a typed column each, last.
    """

    custom_id: bool = False
    id_column: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    streaming: bool = False
    reasoning: bool = True
    refusal: bool = True
    tool_calls: bool = False
    choices: bool = False
    logprobs: bool = False
    parsed: bool = False
    properties: tuple[PropertyColumn, ...] = ()

    def columns(self) -> Iterable[Column]:
        """Our columns of such a job, in order."""
        for column in COLUMNS:
            if column is _TAGS:
                yield from (replace(column, name=f"tag_{tag}") for tag in self.tags)
            elif column is _PROPERTIES:
                yield from (
                    replace(column, name=each.name, type=each.kind.type, repeats=each.kind.repeats)
                    for each in self.properties
                )
            elif column.feature is None or getattr(self, column.feature):
                yield column


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The schema of a run's parts and of its output.

    Attributes:
        arrow: input columns, then ours, with all metadata.
        inputs: positions, in the input schema, of the input columns that are carried over.
        columns: our columns, in order.
        prefix: stands before the name of each of them; usually empty.
        tags: unprefixed column name -> its constant value.
    """

    arrow: pa.Schema
    inputs: tuple[int, ...]
    columns: tuple[Column, ...]
    prefix: str
    tags: Mapping[str, str]

    @classmethod
    def build(cls, input_schema: pa.Schema, *, features: Features, prefix: str = "") -> OutputSchema:
        """Lay out the output of a job over this input.

        Raises:
            JobError: an input column has the name of an output column, or two output columns have one name.
        """
        columns = tuple(features.columns())
        _refuse_repeated_labels(columns)
        carried = _carried(input_schema, features, prefix)
        kept = [input_schema.field(index) for index in carried]
        _refuse_clash([each.name for each in kept], [column.name for column in columns], prefix)
        fields = [_without_our_metadata(each) for each in kept] + [
            each.arrow_field(prefix) for each in columns
        ]
        never_null = {prefix + column.name for column in columns if column.never_null}
        metadata = {key: value for key, value in (input_schema.metadata or {}).items() if _is_foreign(key)}
        metadata[b"pandas"] = pandas_metadata(fields, inputs=input_schema, never_null=never_null)
        tags = {f"tag_{tag}": value for tag, value in features.tags.items()}
        return cls(pa.schema(fields, metadata=metadata), carried, columns, prefix, tags)

    @property
    def output_fields(self) -> tuple[pa.Field, ...]:
        """Our fields, in order."""
        return tuple(self.arrow.field(index) for index in range(len(self.inputs), len(self.arrow)))

    def name_of(self, unprefixed: str) -> str:
        """The column's name in the file."""
        return self.prefix + unprefixed

    def positions(self) -> dict[str, int]:
        """Unprefixed name -> position in the schema (input columns may repeat a name, so names are no
        key).
        """
        return {column.name: index for index, column in enumerate(self.columns, start=len(self.inputs))}


def to_batch(
    schema: OutputSchema, input_batch: pa.RecordBatch, values: Sequence[Mapping[str, object] | None]
) -> pa.RecordBatch:
    """Join input rows with their output values, strictly typed.

    Args:
        schema: of the output.
        input_batch: rows of the input schema that `schema` was built from; columns beyond it are ignored.
        values: one per row, by unprefixed name, names that the schema lacks ignored; None for a row that is
            null in all our columns. Times are seconds since the epoch.

    Raises:
        CellError: a value is not of its column's type. It is a bug: nothing is rounded or cut to make it fit.
    """
    rows = [each if each is not None else {} for each in values]
    arrays = [input_batch.column(index) for index in schema.inputs]
    for column in schema.columns:
        tag = schema.tags.get(column.name)
        cells = (
            [row.get(column.name) for row in rows] if tag is None else [tag if row else None for row in rows]
        )
        arrays.append(array_of(cells, column.type, name=column.name, saturates=column.saturates))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)


def our_columns(schema: pa.Schema) -> dict[str, int]:
    """Unprefixed name -> position of our columns in a file's schema, by their metadata."""
    found = {}
    for index, each in enumerate(schema):
        name = (each.metadata or {}).get(NAME_KEY)
        if name is not None:
            found[name.decode("utf-8", "replace")] = index  # a damaged name is nobody's
    return found


def from_batch(batch: pa.RecordBatch | pa.Table, positions: Mapping[str, int]) -> list[dict[str, object]]:
    """The inverse of `to_batch`: one mapping per row, nulls left out, times as seconds since the epoch."""
    names = list(positions)
    cells = [list_of(batch.column(positions[name])) for name in names]
    return [
        {name: cell for name, cell in zip(names, row, strict=True) if cell is not None}
        for row in zip(*cells, strict=True)
    ]


def _carried(input_schema: pa.Schema, features: Features, prefix: str) -> tuple[int, ...]:
    """Positions of the input columns that stay: all but a ``custom_id`` that our own column of that name
    carries.
    """
    replaced = features.custom_id and not prefix and features.id_column in (None, "custom_id")
    return tuple(i for i, name in enumerate(input_schema.names) if not (replaced and name == "custom_id"))


def _refuse_repeated_labels(columns: Sequence[Column]) -> None:
    repeated = sorted(name for name, count in Counter(column.name for column in columns).items() if count > 1)
    if repeated:
        names = ", ".join(repeated)
        raise JobError(
            f"two output columns would be named {names}",
            hint="give the label, tag or schema property in the job file another name",
        )


def _refuse_clash(inputs: Sequence[str], outputs: Sequence[str], prefix: str) -> None:
    taken = set(inputs)
    clashes = [prefix + name for name in outputs if prefix + name in taken]
    if not clashes:
        return
    number, free = 1, "batcher_"
    while any(free + name in taken for name in outputs):
        number += 1
        free = f"batcher{number}_"
    raise JobError(
        f"the input has columns that are named like output columns: {', '.join(clashes)}",
        hint=f"add to the job file:  [output] prefix = {orjson.dumps(free).decode()}",
    )


def _is_foreign(key: bytes) -> bool:
    """Whether schema metadata of the input goes on into the output; a stored Arrow schema would contradict
    ours.
    """
    return not key.startswith(b"batcher.") and key not in (b"pandas", b"ARROW:schema")


def _without_our_metadata(each: pa.Field) -> pa.Field:
    metadata = {key: value for key, value in (each.metadata or {}).items() if not key.startswith(b"batcher.")}
    return each.with_metadata(metadata or None)
