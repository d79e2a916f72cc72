"""From what a job asks for to the contract of its answers.

Refuses what could never work, before a row is paid; warns of what a strict server may refuse, since only the
server knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from batcher.chat.contract import ANY_OBJECT, ANYTHING, TextContract, compiled
from batcher.chat.labels import response_format
from batcher.chat.tool_calls import Function, ToolContract
from batcher.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batcher.chat.contract import Contract

_FORMAT = "request.response_format"


def contract_of(
    *,
    labels: Mapping[str, tuple[str, ...]],
    response_format: Mapping[str, Any] | None,
    tools: Sequence[Mapping[str, Any]] | None,
    tool_choice: object,
) -> Contract:
    """The contract of a job's answers; `ANYTHING` where it asks for nothing in particular.

    Args:
        labels: label -> allowed words.
        response_format: as it is sent.
        tools: as they are sent.
        tool_choice: as it is sent: a word, an object, or None.

    Raises:
        JobError: a schema that is none.
    """
    text = _label_contract(labels) if labels else _format_contract(response_format)
    functions = _callable(tools or (), tool_choice)
    if not functions:
        return text
    must_call = tool_choice == "required" or isinstance(tool_choice, dict)
    return ToolContract(functions, must_call, text)


def strictness_warnings(response_format: Mapping[str, Any] | None) -> list[str]:
    """What servers that enforce ``strict`` refuse, as sentences; only where the job says ``strict``."""
    described = (response_format or {}).get("json_schema")
    if not isinstance(described, dict) or described.get("strict") is not True:
        return []
    found: dict[str, None] = {}
    for place, part in _objects(described.get("schema"), ""):
        if part.get("additionalProperties") is not False:
            found[f"{place or '/'} lacks additionalProperties = false"] = None
        missing = sorted(set(part.get("properties") or {}) - set(part.get("required") or []))
        if missing:
            found[f"{place or '/'} does not require {', '.join(missing)}"] = None
    return [f"strict schema: {each}; OpenAI refuses such a schema" for each in list(found)[:5]]


def _label_contract(labels: Mapping[str, tuple[str, ...]]) -> Contract:
    """As the schema that is sent, but for what else an answer says: more than was asked for does no harm."""
    schema = dict(response_format(labels)["json_schema"]["schema"])
    del schema["additionalProperties"]
    name = next(iter(labels))
    bare = (name, frozenset(labels[name])) if len(labels) == 1 else None
    return TextContract(compiled(schema, where="labels"), schema, bare)


def _format_contract(wanted: Mapping[str, Any] | None) -> Contract:
    if wanted is None:
        return ANYTHING
    if wanted.get("type") == "json_object":
        return TextContract(ANY_OBJECT)
    described = wanted.get("json_schema")
    if wanted.get("type") != "json_schema" or not isinstance(described, dict):
        return ANYTHING  # a format of some server that we do not know, "text" among them
    schema = described.get("schema")
    if schema is None:
        return TextContract(ANY_OBJECT)
    if not isinstance(schema, dict):
        raise JobError(f"{_FORMAT}.json_schema.schema is not an object, so it is no schema")
    return TextContract(compiled(schema, where=f"{_FORMAT}.json_schema.schema"), schema)


def _callable(tools: Sequence[Mapping[str, Any]], tool_choice: object) -> dict[str, Function]:
    """The functions that the server may call; none where a tool of another kind may be, or none is to be."""
    if tool_choice == "none" or any(tool.get("type") != "function" for tool in tools):
        return {}
    functions = {
        str(tool["function"]["name"]): _function(tool["function"], place) for place, tool in enumerate(tools)
    }
    named = cast("dict[str, Any]", tool_choice).get("function") if isinstance(tool_choice, dict) else None
    chosen = named.get("name") if isinstance(named, dict) else None
    return {chosen: functions[chosen]} if chosen in functions else functions


def _function(function: Mapping[str, Any], place: int) -> Function:
    parameters = function.get("parameters")
    if parameters is None:
        return Function(ANY_OBJECT, None)
    if not isinstance(parameters, dict):
        raise JobError(f"request.tools[{place}].function.parameters is not an object, so it is no schema")
    return Function(compiled(parameters, where=f"request.tools[{place}].function.parameters"), parameters)


def _objects(schema: object, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object schema in a schema, with its JSON pointer, wherever it stands."""
    if isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from _objects(part, f"{place}/{number}")
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or isinstance(schema.get("properties"), dict):
        yield place, schema
    for key, part in schema.items():
        if key not in {"enum", "const", "default", "examples", "required"}:
            yield from _objects(part, f"{place}/{key}")
