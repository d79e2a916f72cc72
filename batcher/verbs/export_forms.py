"""Rows of an output as JSON lines: with all their columns, or as lines of an OpenAI Batch result. Pure.

A batch line holds the reply itself where it was kept, else it is put together from the columns; a row that is not ok
has an error with code and message, and its reply beside it, because it was paid for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import orjson

from batcher.dataset import python_rows
from batcher.records import ANSWERED, Outcome
from batcher.store.columns import from_batch, our_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

Row = dict[str, object]

BATCH_LINE = re.compile(rb'\{"id":"batch_req_\d{8}T\d{6}Z-[0-9a-f]+_\d+"')
"""How a line of ours begins, by the id that `batch_line` gives it."""

_MEANING = {
    Outcome.TRUNCATED: "the answer was cut at the token limit",
    Outcome.REFUSED: "the model or its filter declined",
    Outcome.FAILED: "no answer",
    Outcome.INVALID: "the row could not be sent",
}
"""For rows whose reply brought no message of its own."""


def jsonl_lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    """One object per row with all columns; what JSON has no word for (NaN, bytes that are no text) is null.

    Raises:
        DatasetError: two columns have one name.
    """
    names = frozenset(batch.schema.names)
    for row in python_rows(batch, first_row=0, columns=names, problems={}):
        yield orjson.dumps(row.values) + b"\n"


def openai_batch_lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    """One line of a batch's result per row."""
    for row in from_batch(batch, our_columns(batch.schema)):
        yield orjson.dumps(batch_line(row)) + b"\n"


def batch_line(row: Mapping[str, object]) -> Row:
    """A row's line.

    Args:
        row: our columns by unprefixed names, nulls left out; without an outcome it is still to be done.
    """
    custom_id = row.get("custom_id")
    line: Row = {
        "id": "_".join(("batch_req", *(str(row[name]) for name in ("run_id", "row_index") if name in row))),
        "custom_id": custom_id if custom_id is not None else str(row["row_index"]),
        "response": None,
        "error": None,
    }
    if "outcome" not in row:
        return line
    outcome = Outcome(str(row["outcome"]))
    line["response"] = _response(row, outcome)
    if outcome is not Outcome.OK:
        line["error"] = {
            "code": row.get("error_code") or row.get("error_type") or outcome.value,
            "message": row.get("error_message") or _MEANING[outcome],
        }
    return line


def _response(row: Mapping[str, object], outcome: Outcome) -> Row | None:
    """None when no reply is known."""
    status = row.get("status_code")
    body = _object(row.get("response_json"))
    if body is None and outcome in ANSWERED and "error_type" not in row:
        body = completion_body(row)
    if body is None and status is None:
        return None
    if body is None:
        body = {"error": {name: row.get(f"error_{name}") for name in ("message", "type", "code")}}
    return {
        "status_code": 200 if status is None else status,
        "request_id": row.get("request_id"),
        "body": body,
    }


def completion_body(row: Mapping[str, object]) -> Row:
    """The chat completion that the columns were taken from, as far as they tell."""
    message: Row = {"role": "assistant", "content": row.get("completion"), "refusal": row.get("refusal")}
    tool_calls, further = _parsed(row.get("tool_calls")), _parsed(row.get("choices_json"))
    if tool_calls is not None:
        message["tool_calls"] = tool_calls
    if row.get("reasoning") is not None:
        message["reasoning_content"] = row["reasoning"]
    others = [each for each in further if isinstance(each, dict)] if isinstance(further, list) else []
    taken = {each.get("index") for each in others}
    index = next(number for number in range(len(others) + 1) if number not in taken)
    choice = {"index": index, "message": message, "finish_reason": row.get("finish_reason")}
    if row.get("logprobs_json") is not None:
        choice["logprobs"] = _parsed(row["logprobs_json"])
    received_at = row.get("received_at")
    return {
        "id": row.get("response_id"),
        "object": "chat.completion",
        "created": int(received_at) if isinstance(received_at, (int, float)) else None,
        "model": row.get("response_model") or row.get("request_model"),
        "choices": sorted([choice, *others], key=_index),
        "usage": _parsed(row.get("usage_json")) or _usage(row),
    }


def _index(choice: Mapping[str, object]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _usage(row: Mapping[str, object]) -> Row | None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: row[name] for name in names} if all(name in row for name in names) else None


def _object(text: object) -> Row | None:
    found = _parsed(text)
    return cast("Row", found) if isinstance(found, dict) else None


def _parsed(text: object) -> object:
    """A JSON text's value; None for anything else."""
    try:
        return orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return None
