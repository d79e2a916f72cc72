"""`[labels]`: a few columns with allowed words, as a schema for the request and as columns of the answer.

An answer that does not fit is null, never a guess: a label that was not offered must not appear in a data
set.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_NAME_CHARS = 64  # of response_format.json_schema.name, OpenAI: letters, digits, underscores, dashes
_FENCED = re.compile(r"\s*```[a-zA-Z]*[ \t]*\r?\n?(.*?)\s*```\s*", re.DOTALL)


def response_format(labels: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The ``response_format`` that makes a server answer with exactly these labels.

    Args:
        labels: label name -> allowed values, both in the user's order.
    """
    return {
        "type": "json_schema",
        "json_schema": {
            "name": _schema_name(labels),
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    name: {"type": "string", "enum": list(values)} for name, values in labels.items()
                },
                "required": list(labels),
                "additionalProperties": False,
            },
        },
    }


def label_values(completion: str | None, labels: Mapping[str, tuple[str, ...]]) -> dict[str, str | None]:
    """The labels an answer gives; null for each that it does not give, or gives a value that is not allowed.

    Args:
        completion: a JSON object, perhaps in a code fence; for a single label also the bare value.
        labels: label name -> allowed values.
    """
    text = _unfenced(completion or "")
    if len(labels) == 1:
        name, allowed = next(iter(labels.items()))
        if text.strip() in allowed:
            return {name: text.strip()}
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        return dict.fromkeys(labels)
    if isinstance(answer, str) and len(labels) == 1:
        answer = dict.fromkeys(labels, answer)
    if not isinstance(answer, dict):
        return dict.fromkeys(labels)
    return {name: _allowed(answer.get(name), allowed) for name, allowed in labels.items()}


def _allowed(value: object, allowed: tuple[str, ...]) -> str | None:
    return value if isinstance(value, str) and value in allowed else None


def _unfenced(text: str) -> str:
    if "```" not in text:
        return text
    fenced = _FENCED.fullmatch(text)
    return fenced.group(1) if fenced else text


def _schema_name(labels: Mapping[str, tuple[str, ...]]) -> str:
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", "_".join(labels)).strip("_")
    return name[:_MAX_NAME_CHARS] or "labels"
