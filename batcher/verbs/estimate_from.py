"""`--from OUT`: what the usage columns of an earlier output tell of rows like these.

The output's own input columns are rendered with the job of now, so that its usage is held against the weight that the
estimate gives the same texts. Rows whose request is the same (by hash) prove that the two jobs ask alike; where there
are none the ratio is that of another prompt, and that is said.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa

from batcher.cost.estimate_tokens import prompt_tokens
from batcher.dataset import python_rows
from batcher.errors import DatasetError
from batcher.records import Problem
from batcher.store.columns import from_batch, our_columns
from batcher.store.part import open_part
from batcher.verbs.estimate_rows import SAMPLE_ROWS, answered_from

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow.parquet as pq

    from batcher.ports import RequestBuilder
    from batcher.records import Request
    from batcher.verbs.estimate_rows import Answered

_GROUPS: Final = 20
_SEED: Final = 20_260_103
_NAMES: Final = (
    "request_hash", "request_model", "response_model", "latency_ms", "sent_at", "received_at",
    "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens",
)  # fmt: skip
_NEEDED: Final = ("prompt_tokens", "completion_tokens")
_LEAST_SPAN_S: Final = 1.0
_LEAST_ROWS: Final = 100


class Earlier(NamedTuple):
    """What an earlier output tells.

    Attributes:
        sample: some of its rows, drawn at random.
        same: how many of them make the same request now.
        rows_per_s: of the whole run; None where too few rows or no times tell.
    """

    sample: list[Answered]
    same: int
    rows_per_s: float | None


def usage_of(path: Path, builder: RequestBuilder, input_schema: pa.Schema) -> Earlier:
    """Read some rows of every part of the file; memory is that of one row group.

    Raises:
        DatasetError: no Parquet file, no usage columns, or not the input columns that the job reads.
    """
    try:
        with open_part(path) as file:
            at = _columns(file.schema_arrow, path, builder)
            return _read(file, at, builder, input_schema)
    except (OSError, pa.ArrowException) as err:
        raise DatasetError(f"--from {path} cannot be read: {err}") from err


def _columns(schema: pa.Schema, path: Path, builder: RequestBuilder) -> dict[str, str]:
    """Unprefixed name -> name in the file."""
    ours = {name: schema.names[index] for name, index in our_columns(schema).items()}
    at = {name: ours.get(name, name) for name in _NAMES if ours.get(name, name) in schema.names}
    missing = [name for name in _NEEDED if name not in at]
    missing += sorted(builder.columns - set(schema.names))
    if missing:
        raise DatasetError(
            f"--from {path} has no column {', '.join(missing)}",
            hint="name an output of this job, with its usage columns and the input columns that the prompt reads",
        )
    return at


def _read(file: pq.ParquetFile, at: dict[str, str], builder: RequestBuilder, schema: pa.Schema) -> Earlier:
    rng = random.Random(_SEED)  # noqa: S311 - a sample, not a secret
    total = file.num_row_groups
    groups = sorted(rng.sample(range(total), min(total, _GROUPS)))
    sample: list[Answered] = []
    same, begun, ended = 0, [], []
    columns = sorted({*at.values(), *builder.columns})
    for number in groups:
        table = file.read_row_group(number, columns=columns, use_threads=False)
        wanted = min(table.num_rows, SAMPLE_ROWS // len(groups))
        chosen = table.take(pa.array(sorted(rng.sample(range(table.num_rows), wanted)), pa.int64()))
        values = from_batch(
            chosen, {name: chosen.schema.get_field_index(column) for name, column in at.items()}
        )
        for told, built in zip(values, _requests(chosen, builder, schema), strict=True):
            if isinstance(built, Problem):
                continue
            row = answered_from(prompt_tokens(built.body), told)
            if row is None:
                continue
            sample.append(row)
            same += told.get("request_hash") == built.request_hash
            begun.append(told.get("sent_at"))
            ended.append(told.get("received_at"))
    return Earlier(sample, same, _rate(begun, ended, file.metadata.num_rows))


def _requests(table: pa.Table, builder: RequestBuilder, schema: pa.Schema) -> list[Request | Problem]:
    """Requests of the rows as the job makes them now, from the columns in the types of its input."""
    fields = [
        schema.field(name) if name in schema.names and schema.field(name).type == table.schema.field(name).type
        else table.schema.field(name)
        for name in sorted(builder.columns)
    ]  # fmt: skip
    arrays = [table.column(field.name).combine_chunks() for field in fields]
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
    rows = python_rows(batch, first_row=0, columns=builder.columns, problems={}, raw=builder.raw_columns)
    return [builder.build(row) for row in rows]


def _rate(begun: list[object], ended: list[object], rows: int) -> float | None:
    first = [each for each in begun if isinstance(each, float)]
    last = [each for each in ended if isinstance(each, float)]
    if rows < _LEAST_ROWS or not first or not last or max(last) - min(first) < _LEAST_SPAN_S:
        return None
    return rows / (max(last) - min(first))
