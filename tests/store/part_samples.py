"""Small shards, parts and outputs for the tests of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.ipc

from batcher.records import EndRecord, Outcome, RowHistory
from batcher.store.columns import Features, OutputSchema
from batcher.store.footer import FileFacts
from batcher.store.property_columns import expansion_of
from batcher.store.seal import Sealed, seal_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batcher.ports import Settle
    from batcher.store.property_columns import PropertyColumn


def properties(*names: str) -> tuple[PropertyColumn, ...]:
    """Columns of text, as labels make them."""
    return expansion_of({"properties": {name: {"type": "string"} for name in names}}, ours=()).columns


INPUT_SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("text", pa.string())])
FACTS = FileFacts(
    version="0.1.0",
    run_id="run-1",
    fingerprint="f" * 32,
    base_url="https://api.pipellm.ai/v1",
    simulated=False,
    complete=True,
    prices_version=None,
    session=1,
    model="m",
    created_at=1_700_000_000.25,
)
SCHEMA = OutputSchema.build(
    INPUT_SCHEMA, features=Features(properties=properties("category"), tags={"team": "support"})
)
SENT_AT = 1_700_000_000.123456


@dataclass(frozen=True)
class SampleSettled:
    outcome: Outcome
    values: Mapping[str, object]


def answer_values(row_index: int, completion: str | None = None) -> dict[str, object]:
    """Output values of a row that was answered; most columns have something in them."""
    return {
        "request_hash": f"{row_index:032x}",
        "response_id": f"chatcmpl-{row_index}",
        "request_model": "m",
        "response_model": "m-2026",
        "finish_reason": "stop",
        "status_code": 200,
        "attempts": 1,
        "paid_attempts": 1,
        "queue_ms": 1.5,
        "latency_ms": 250.25,
        "sent_at": SENT_AT + row_index,
        "received_at": SENT_AT + row_index + 0.25,
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "billed_prompt_tokens": 100,
        "billed_completion_tokens": 10,
        "outcome": "ok",
        "cost_usd": 0.001,
        "cost_source": "prices",
        "usage_json": '{"prompt_tokens":100}',
        "completion": completion or f"answer {row_index}",
        "category": "billing",
    }


def input_batch(first_row: int, rows: int) -> pa.RecordBatch:
    ids = pa.array([10 * row for row in range(first_row, first_row + rows)], pa.int64())
    text = pa.array([f"text {row}" for row in range(first_row, first_row + rows)])
    return pa.RecordBatch.from_arrays([ids, text], schema=INPUT_SCHEMA)


def write_input(path: Path, first_row: int, rows: int, *, batch_rows: int = 500) -> None:
    """A shard's input file: the input columns and the problem column."""
    schema = INPUT_SCHEMA.append(pa.field("__problem", pa.string()))
    with path.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for begin in range(first_row, first_row + rows, batch_rows):
            batch = input_batch(begin, min(batch_rows, first_row + rows - begin))
            arrays = [*batch.columns, pa.nulls(batch.num_rows, pa.string())]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def ended(row_index: int) -> RowHistory:
    """A history that is not empty; `sample_settle` makes an answer of it."""
    return RowHistory(row_index, end=EndRecord(row_index, Outcome.OK, error_type=""))


def sample_settle(history: RowHistory) -> SampleSettled | None:
    return SampleSettled(Outcome.OK, answer_values(history.row_index))


def seal_sample(
    folder: Path,
    first_row: int,
    rows: int,
    *,
    facts: FileFacts = FACTS,
    settle: Settle = sample_settle,
    history: Callable[[int], RowHistory] = ended,
    base: Callable[[int, int], pa.Table] | None = None,
    schema: OutputSchema = SCHEMA,
) -> tuple[Path, Sealed]:
    """A sealed shard in the folder; the part's path and what sealing it returned."""
    input_path = folder / f"{first_row:06d}.arrow"
    part_path = folder / f"{first_row:06d}.part"
    write_input(input_path, first_row, rows)
    sealed = seal_shard(
        shard=first_row,
        input_path=input_path,
        first_row=first_row,
        rows=rows,
        history=history,
        settle=settle,
        schema=schema,
        facts=facts,
        part_path=part_path,
        base=base,
    )
    return part_path, sealed
