"""`response_format`: as the API takes it, a bare JSON Schema, or a file with either.

The schema file is the one file beside the job that is read here.

What already is a response_format is sent as given. A bare schema is wrapped, not improved: `strict` is sent
only when the user says so, because strict servers refuse schemas that do not name every property as required.
"""

from __future__ import annotations

import re
from pathlib import Path

import orjson

JSON_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
SCHEMA_WORDS = frozenset(
    {"properties", "$schema", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "items", "$defs"}
)


def response_format(given: object) -> object:
    """What to send, from what stands in the job (paths already absolute).

    Raises:
        ValueError: a sentence about what is wrong, without the place.
    """
    if not isinstance(given, dict):
        return given
    if "file" not in given:
        return wrapped(given, name="answer")
    unknown = sorted(set(given) - {"file", "name", "strict"})
    if unknown:
        raise ValueError(f"beside file only name and strict may stand, not {unknown[0]}")
    path = Path(str(given["file"]))
    found = wrapped(read_schema(path), name=str(given.get("name") or path.stem))
    inner = found.get("json_schema")
    if "strict" in given and isinstance(inner, dict):
        found = {**found, "json_schema": {**inner, "strict": given["strict"]}}
    return found


def wrapped(schema: dict[str, object], *, name: str) -> dict[str, object]:
    """A response_format around a bare schema or a `{name, schema}` object; anything with another `type` as
    it is.
    """
    if isinstance(schema.get("schema"), dict) and "type" not in schema:
        return {"type": "json_schema", "json_schema": {"name": _api_name(name), **schema}}
    kind = schema.get("type")
    is_schema = (
        kind in JSON_TYPES
        if isinstance(kind, str)
        else isinstance(kind, list) or bool(SCHEMA_WORDS & set(schema))
    )
    if is_schema:
        return {"type": "json_schema", "json_schema": {"name": _api_name(name), "schema": schema}}
    if kind is None:
        raise ValueError('has neither a type ("json_schema", "json_object") nor the words of a JSON Schema')
    if kind == "json_schema" and not isinstance(schema.get("json_schema"), dict):
        raise ValueError('type "json_schema" needs a table json_schema with name and schema')
    return schema


def read_schema(path: Path) -> dict[str, object]:
    """The JSON object in a schema file."""
    try:
        content = path.read_bytes()
    except OSError as err:
        raise ValueError(f"cannot read the schema file {path}: {err.strerror or err}") from err
    try:
        found = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as err:
        raise ValueError(f"{path}:{err.lineno}: not JSON: {err.msg}") from err
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object, so it is no schema")  # noqa: TRY004
    return found


def _api_name(name: str) -> str:
    """A schema name as the API takes it: letters, digits, _ and -, at most 64."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
