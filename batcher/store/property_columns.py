"""From a JSON schema to typed columns, and from a value that satisfies it to their cells.

The one place where a schema's words become Arrow types. Rules:

1. string -> string, integer -> int64, number -> double, boolean -> bool; an enum or const by its values.
2. array with items -> list, object with properties -> struct; properties that the schema does not name stand
   in ``parsed`` only.
3. null beside one other type (a list of types, anyOf, oneOf) is that type, as every column is nullable;
   integer beside number is double.
4. Whatever else (no type, several types, a map, a tuple, a recursion, a reference that leads nowhere) is
   string, holding the value as JSON.
5. A property that is named like one of our own columns becomes ``parsed_NAME``.

A cell never raises and is never rounded: a value that its type cannot hold (an integer beyond 64 bits, JSON
a thousand levels deep) is null, and ``parsed`` has it. Types come from the schema alone, or two runs of one
job could publish two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

DEEPEST = 16
"""Chosen: levels of lists and structs; Parquet readers slow down or give up well before a hundred."""

_INT64 = range(-(2**63), 2**63)


class Kind(NamedTuple):
    """What a schema becomes.

    Attributes:
        type: of the column, or of a list's items or a struct's field.
        cell: from a JSON value to what `type` holds; None where it does not fit.
        repeats: few distinct values.
    """

    type: pa.DataType
    cell: Callable[[Any], object]
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class PropertyColumn:
    """One property of the answer as a column."""

    property: str
    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Expansion:
    """The columns of a validated value."""

    columns: tuple[PropertyColumn, ...] = ()

    def __call__(self, value: object) -> dict[str, object]:
        """Cells by column name; none for a value that is no object."""
        if not isinstance(value, dict):
            return {}
        return {
            each.name: None if (cell := value.get(each.property)) is None else each.kind.cell(cell)
            for each in self.columns
        }


def expansion_of(schema: Mapping[str, Any] | None, *, ours: Collection[str]) -> Expansion:
    """The columns for the properties of a schema, in its order.

    Args:
        schema: of the whole answer; without properties there are no columns.
        ours: names of our own columns.
    """
    if schema is None:
        return Expansion()
    root = _resolved(schema, schema, frozenset())
    properties = root[0].get("properties") if root is not None else None
    if root is None or not isinstance(properties, dict):
        return Expansion()
    return Expansion(
        tuple(
            PropertyColumn(name, f"parsed_{name}" if name in ours else name, _kind(part, schema, root[1], 1))
            for name, part in properties.items()
            if name
        )
    )


# --- kinds ------------------------------------------------------------------------------------------------


def _json(value: object) -> str | None:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested deeper than orjson writes
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:  # and deeper than Python does
        return None


def _integer(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():  # 5.0 is an integer to JSON Schema
        value = int(value)
    return value if type(value) is int and value in _INT64 else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


JSON = Kind(pa.string(), _json)
_SIMPLE = {
    "string": Kind(pa.string(), _text),
    "integer": Kind(pa.int64(), _integer),
    "number": Kind(pa.float64(), _number),
    "boolean": Kind(pa.bool_(), _truth),
}
_WORD = Kind(pa.string(), _text, repeats=True)
_OF_PYTHON = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _kind(part: object, root: Mapping[str, Any], seen: frozenset[str], depth: int) -> Kind:
    resolved = _resolved(part, root, seen) if isinstance(part, dict) else None
    if resolved is None or depth > DEEPEST:
        return JSON
    schema, seen = resolved
    for words in ("anyOf", "oneOf"):
        if isinstance(schema.get(words), list):
            return _of_branches(schema[words], root, seen, depth)
    if "enum" in schema or "const" in schema:
        options = schema["enum"] if isinstance(schema.get("enum"), list) else [schema.get("const")]
        return _of_values(options)
    names = [each for each in _names(schema) if each != "null"]
    if names == ["array"] and isinstance(schema.get("items"), dict) and "prefixItems" not in schema:
        return _list(_kind(schema["items"], root, seen, depth + 1))
    if names == ["object"] and not isinstance(schema.get("additionalProperties"), dict):
        return _struct(schema.get("properties"), root, seen, depth)
    return _joined([_SIMPLE.get(name, JSON) for name in names])


def _names(schema: Mapping[str, Any]) -> list[str]:
    """The types a schema names, or those that its words are for."""
    kind = schema.get("type")
    if isinstance(kind, list):
        return [str(each) for each in kind]
    if isinstance(kind, str):
        return [kind]
    return ["object"] if isinstance(schema.get("properties"), dict) else []


def _of_branches(
    branches: Sequence[object], root: Mapping[str, Any], seen: frozenset[str], depth: int
) -> Kind:
    kept = [each for each in branches if not (isinstance(each, dict) and each.get("type") == "null")]
    return _joined([_kind(each, root, seen, depth) for each in kept])


def _of_values(options: Sequence[object]) -> Kind:
    names = {_OF_PYTHON.get(type(each)) for each in options if each is not None}
    if names == {"string"}:
        return _WORD
    return _joined([_SIMPLE[name] if name is not None else JSON for name in sorted(names, key=str)])


def _joined(kinds: Sequence[Kind]) -> Kind:
    """One kind for values of any of these."""
    if not kinds or any(each is JSON for each in kinds):
        return JSON
    types = {each.type for each in kinds}
    if types == {pa.int64(), pa.float64()}:
        return _SIMPLE["number"]
    is_one = len(kinds) == 1 or (len(types) == 1 and not pa.types.is_nested(kinds[0].type))
    return kinds[0] if is_one else JSON


def _list(item: Kind) -> Kind:
    def cell(value: object) -> object:
        if not isinstance(value, list):
            return None
        return [None if each is None else item.cell(each) for each in value]

    return Kind(pa.list_(item.type), cell)


def _struct(properties: object, root: Mapping[str, Any], seen: frozenset[str], depth: int) -> Kind:
    if not isinstance(properties, dict) or not properties or "" in properties:
        return JSON
    kinds = {name: _kind(part, root, seen, depth + 1) for name, part in properties.items()}

    def cell(value: object) -> object:
        if not isinstance(value, dict):
            return None
        return {
            name: None if (inner := value.get(name)) is None else kind.cell(inner)
            for name, kind in kinds.items()
        }

    return Kind(pa.struct([pa.field(name, kind.type) for name, kind in kinds.items()]), cell)


def _resolved(
    schema: Mapping[str, Any], root: Mapping[str, Any], seen: frozenset[str]
) -> tuple[Mapping[str, Any], frozenset[str]] | None:
    """The schema behind local references and an ``allOf`` of one, with the references on the way to it.

    None for a reference that leads nowhere, out of the schema, or to where it is already (a recursion).
    """
    while True:
        parts = schema.get("allOf")
        reference = schema.get("$ref")
        if isinstance(parts, list) and len(parts) == 1 and "properties" not in schema:
            schema = parts[0] if isinstance(parts[0], dict) else {}
        elif isinstance(reference, str):
            found = _looked_up(reference, root)
            if found is None or reference in seen:
                return None
            seen |= {reference}
            schema = found
        else:
            return schema, seen


def _looked_up(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if reference != "#" and not reference.startswith("#/"):
        return None
    place: object = root
    for step in reference.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        place = place.get(key) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else None
