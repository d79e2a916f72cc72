"""`[labels]`: a few columns with allowed words, as a schema for the request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_NAME_CHARS = 64  # of response_format.json_schema.name, OpenAI: letters, digits, underscores, dashes


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


def _schema_name(labels: Mapping[str, tuple[str, ...]]) -> str:
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", "_".join(labels)).strip("_")
    return name[:_MAX_NAME_CHARS] or "labels"
