"""Outputs to report, made by script: the columns and footers of real ones, tens of thousands of rows in a second."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batcher.job import JobOptions, load_job
from batcher.store.columns import our_columns
from batcher.store.footer import FileFacts
from batcher.store.part import PartWriter
from batcher.verbs.wiring import InputShape, output_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BEGAN = datetime(2026, 11, 22, 23, 50, tzinfo=UTC)
CATEGORIES = ("billing", "refund", "delivery", "account", "other")
FAULTS: tuple[tuple[float, dict[str, object]], ...] = (
    (0.006, {"outcome": "failed", "error_type": "context_length", "error_code": "context_length_exceeded",
             "status_code": 400, "error_message": "This model's maximum context length is 128000 tokens."}),
    (0.005, {"outcome": "truncated", "finish_reason": "length", "completion": '{"category": "bil'}),
    (0.003, {"outcome": "failed", "error_type": "server_error", "status_code": 503,
             "error_message": "upstream connect error or disconnect/reset before headers. " * 9}),
    (0.002, {"outcome": "refused", "error_type": "moderated", "status_code": 200,
             "refusal": "I'm sorry, but I can't help with that."}),
    (0.0005, {"outcome": "invalid", "error_type": "empty_prompt", "error_message": "the prompt is empty",
              "attempts": 0, "paid_attempts": 0, "sent_at": None, "received_at": None, "latency_ms": None}),
)  # fmt: skip
"""Share of rows, and what is different in them."""

Row = dict[str, object]


def write_output(
    path: Path,
    rows: Sequence[Mapping[str, object]],
    *,
    inputs: pa.Table | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """An output of these rows, our columns by their names; what is left out is null."""
    inputs = inputs if inputs is not None else pa.table({"text": [f"thing {n}" for n in range(len(rows))]})
    if any("custom_id" in row for row in rows):
        inputs = inputs.add_column(0, "id", pa.array([str(row.get("custom_id")) for row in rows]))
    sets = ["input.id_column='id'"] if "id" in inputs.schema.names else []
    sets += [f"labels.{name}=[{', '.join(map(repr, values))}]" for name, values in (labels or {}).items()]
    job = load_job(
        None,
        sets=sets,
        options=JobOptions(input="in.jsonl", output=str(path), model="m", prompt="{{ text }}"),
    )
    schema = output_schema(job, InputShape("jsonl", inputs.schema, len(rows)))
    at = our_columns(schema.arrow)
    arrays = [inputs.column(name).combine_chunks() for name in inputs.schema.names]
    arrays += [
        pa.array([row.get(name) for row in rows], schema.arrow.field(place).type)
        for name, place in at.items()
    ]
    table = pa.Table.from_arrays(arrays, schema=schema.arrow)
    with PartWriter(path, schema, file_facts(**(facts or {}))) as writer:
        for batch in table.to_batches(max_chunksize=2_048):
            writer.write(batch)
    return path


def file_facts(**changed: Any) -> FileFacts:
    known: dict[str, Any] = {
        "version": "0.1.0",
        "run_id": "run-1",
        "fingerprint": "f" * 32,
        "base_url": "https://api.pipellm.ai/v1",
        "simulated": False,
        "complete": True,
        "prices_version": "job",
        "session": 0,
        "model": "gpt-4o-mini",
        "created_at": BEGAN.timestamp(),
    }
    return FileFacts(**known | changed)


def answered(number: int, **changed: object) -> Row:
    """A row that is ok; `changed` by column name."""
    at = BEGAN + timedelta(seconds=number * 0.02)
    row: Row = {
        "row_index": number,
        "run_id": "run-1",
        "request_hash": f"{number:032x}",
        "request_model": "gpt-4o-mini",
        "response_model": "gpt-4o-mini-2024-07-18",
        "finish_reason": "stop",
        "status_code": 200,
        "attempts": 1,
        "paid_attempts": 1,
        "queue_ms": 1.0,
        "latency_ms": 800.0,
        "sent_at": at,
        "received_at": at + timedelta(milliseconds=800),
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "billed_prompt_tokens": 100,
        "billed_completion_tokens": 10,
        "outcome": "ok",
        "cost_usd": 0.000021,
        "cost_source": "prices",
        "completion": f"answer {number}",
    }
    return row | changed


def night_of_faults(path: Path, rows: int, *, seed: int = 7, resumed_after_s: float = 6 * 3600) -> Path:
    """An output with every kind of trouble: faults, retries, a rate limit, a stop in the middle, two models."""
    chance = random.Random(seed)
    made: list[Row] = []
    for number in range(rows):
        share = number / rows
        pace = rows / 1_200 * (0.35 + 0.65 * min(1.0, share * 8)) * (0.4 if 0.55 < share < 0.7 else 1.0)
        at = (made[-1]["received_at"] or made[-2]["received_at"]) if len(made) > 1 else BEGAN
        assert isinstance(at, datetime)
        at += timedelta(seconds=chance.expovariate(1.0) / pace)
        at += timedelta(seconds=resumed_after_s if number == rows // 3 else 0)
        made.append(_row(number, at, chance))
    texts = [f"Ticket {number}: where is my parcel?" for number in range(rows)]
    inputs = pa.table({"subject": texts, "text": [text * 2 for text in texts]})
    urgent = ("yes", "no")
    return write_output(path, made, inputs=inputs, labels={"category": CATEGORIES, "urgent": urgent})


def _row(number: int, at: datetime, chance: random.Random) -> Row:
    latency = 650 * math.exp(chance.gauss(0, 0.55))
    tokens = int(180 * math.exp(chance.gauss(0, 0.4))), int(12 * math.exp(chance.gauss(0, 0.3))) + 1
    model = "gpt-4o-mini" if chance.random() < 0.8 else "gpt-4.1-mini"
    paid = 1 + (chance.random() < 0.02)
    price = (0.15, 0.60) if model == "gpt-4o-mini" else (0.40, 1.60)
    category = chance.choices(CATEGORIES, (31, 24, 22, 14, 9))[0]
    row = answered(
        number,
        custom_id=f"T-{480_000 + number}",
        request_model=model,
        attempts=paid + (chance.random() < 0.06),
        paid_attempts=paid,
        latency_ms=latency,
        sent_at=at - timedelta(milliseconds=latency),
        received_at=at,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        cached_tokens=tokens[0] // 2,
        total_tokens=sum(tokens),
        billed_prompt_tokens=tokens[0] * paid,
        billed_completion_tokens=tokens[1] * paid,
        cost_usd=(tokens[0] * price[0] + tokens[1] * price[1]) * paid / 1e6,
        completion=f'{{"category": "{category}", "urgent": "no"}}',
        category=category,
        urgent="yes" if chance.random() < 0.12 else "no",
    )
    drawn = chance.random()
    for share, changes in FAULTS:
        drawn -= share
        if drawn < 0:
            return row | {"category": None, "urgent": None, "completion": None} | changes
    return row
