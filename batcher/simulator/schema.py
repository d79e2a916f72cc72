"""Pure: a JSON schema to a value that satisfies it, drawn with given dice.

Understands what providers accept in structured output: type (also as a list), enum, const, properties,
required, additionalProperties, items, prefixItems, anyOf/oneOf/allOf, local $ref, number and length bounds,
common formats and simple patterns. What it does not understand it ignores. Recursion ends because from a
depth of 5 on optional properties are left out, arrays are as short as allowed, and branches that end are
preferred.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from batcher.simulator.pattern import match_pattern

if TYPE_CHECKING:
    from batcher.simulator.dice import Dice

Schema = Mapping[str, object]

SHALLOW = 6
DEEPEST = 40
WORDS = (
    "order",
    "invoice",
    "late delivery",
    "blue",
    "standard",
    "Berlin",
    "spare part",
    "annual plan",
    "headset",
)
FORMATS = {
    "date-time": "2026-03-14T09:26:53Z",
    "date": "2026-03-14",
    "time": "09:26:53Z",
    "duration": "P3D",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.com/a",
    "uuid": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
}


def fit(schema: Schema, dice: Dice) -> object:
    """A value that satisfies `schema` (the root of its own $refs)."""
    return _fit(schema, schema, dice, 0)


def _fit(schema: object, root: Schema, dice: Dice, depth: int) -> object:
    if schema is True or not isinstance(schema, Mapping):
        return dice.pick(WORDS)
    schema = _resolve(schema, root)
    if "const" in schema:
        return schema["const"]
    options = schema.get("enum")
    if isinstance(options, Sequence) and options:
        return dice.pick(options)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(branches, Sequence) and branches:
        chosen = _merge(_without(schema, "anyOf", "oneOf"), _branch(branches, root, dice, depth))
        return _fit(chosen, root, dice, depth + 1) if depth < DEEPEST else None
    return _fit_type(_type_of(schema, dice, depth), schema, root, dice, depth)


def _fit_type(kind: str, schema: Schema, root: Schema, dice: Dice, depth: int) -> object:  # noqa: PLR0911  # one per type
    match kind:
        case "object":
            return _fit_object(schema, root, dice, depth)
        case "array":
            return _fit_array(schema, root, dice, depth)
        case "integer":
            return int(_fit_number(schema, dice, whole=True))
        case "number":
            return _fit_number(schema, dice, whole=False)
        case "boolean":
            return dice.below(2) == 1
        case "null":
            return None
        case _:
            return _fit_string(schema, dice)


def _resolve(schema: Schema, root: Schema, seen: frozenset[str] = frozenset()) -> Schema:
    """Follow local references and fold `allOf` in; a reference that leads nowhere or in a circle is dropped."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = {} if reference in seen else _resolve(_look_up(reference, root), root, seen | {reference})
        schema = _merge(_without(schema, "$ref"), target)
    parts = schema.get("allOf")
    if isinstance(parts, Sequence):
        schema = _without(schema, "allOf")
        for part in parts:
            schema = _merge(schema, _resolve(part, root, seen) if isinstance(part, Mapping) else {})
    return schema


def _look_up(reference: str, root: Schema) -> Schema:
    place: object = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        place = place.get(key) if isinstance(place, Mapping) else None
    return place if isinstance(place, Mapping) else {}


def _merge(first: Schema, second: Schema) -> Schema:
    """Both at once, roughly: properties and required are joined, for anything else the second wins."""
    merged = {**first, **second}
    for key, empty in (("properties", {}), ("required", [])):
        one, two = first.get(key, empty), second.get(key, empty)
        if isinstance(one, Mapping) and isinstance(two, Mapping) and (one or two):
            merged[key] = {**one, **two}
        elif isinstance(one, list) and isinstance(two, list) and (one or two):
            merged[key] = [*one, *(name for name in two if name not in one)]
    return merged


def _without(schema: Schema, *names: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in names}


def _branch(branches: Sequence[object], root: Schema, dice: Dice, depth: int) -> Schema:
    found = [_resolve(branch, root) for branch in branches if isinstance(branch, Mapping)] or [{}]
    if depth >= SHALLOW:
        ending = [b for b in found if b.get("type") not in {"object", "array"} and "properties" not in b]
        found = ending or found
    return dice.pick(found)


def _type_of(schema: Schema, dice: Dice, depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        ending = [k for k in kind if k not in {"object", "array"}] if depth >= SHALLOW else []
        return str(dice.pick(ending or kind))
    if isinstance(kind, str):
        return kind
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "number" if "minimum" in schema or "maximum" in schema else "string"


def _fit_object(schema: Schema, root: Schema, dice: Dice, depth: int) -> dict[str, object]:
    properties, required = schema.get("properties"), schema.get("required")
    described = properties if isinstance(properties, Mapping) else {}
    needed = required if isinstance(required, list) else []
    if depth >= DEEPEST:
        return {}
    fitted = {
        name: _fit(part, root, dice, depth + 1)
        for name, part in described.items()
        if name in needed or (depth < SHALLOW and dice.below(4))
    }
    for name in needed:
        if name not in fitted:
            fitted[name] = _fit(schema.get("additionalProperties", True), root, dice, depth + 1)
    return fitted


def _fit_array(schema: Schema, root: Schema, dice: Dice, depth: int) -> list[object]:
    leading = schema.get("prefixItems")
    values = [_fit(part, root, dice, depth + 1) for part in (leading if isinstance(leading, list) else [])]
    least = _whole(schema.get("minItems"), 0)
    most = max(least, _whole(schema.get("maxItems"), max(least, len(values)) + 3))
    wanted = (
        least if depth >= SHALLOW else least + dice.below(most - least + 1) if most - least < 8 else least + 3
    )
    unique, tries = schema.get("uniqueItems") is True, 0
    while len(values) < wanted and depth < DEEPEST and tries < 200:
        tries += 1
        value = _fit(schema.get("items", True), root, dice, depth + 1)
        if not (unique and value in values):
            values.append(value)
    return values


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _bound(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _fit_number(schema: Schema, dice: Dice, *, whole: bool) -> float:
    """A multiple of the step (`multipleOf`, else 1 or 0.01) inside the bounds; only when none fits, the
    lower bound.
    """
    step = _bound(schema.get("multipleOf")) or (1.0 if whole else 0.01)
    low, high = _bound(schema.get("minimum")), _bound(schema.get("maximum"))
    above, below = _bound(schema.get("exclusiveMinimum")), _bound(schema.get("exclusiveMaximum"))
    floor = low if above is None else above
    ceiling = high if below is None else below
    if floor is None:
        floor = 0.0 if ceiling is None or ceiling >= 0 else ceiling - 100
    ceiling = floor + (100 if whole else 10) if ceiling is None else ceiling
    first = math.floor(floor / step) + 1 if above is not None else math.ceil(floor / step)
    last = math.ceil(ceiling / step) - 1 if below is not None else math.floor(ceiling / step)
    if last < first:
        return (floor + ceiling) / 2
    value = (first + dice.below(last - first + 1)) * step
    return value if step >= 1 else round(value, 10)


def _fit_string(schema: Schema, dice: Dice) -> str:
    known = schema.get("format")
    if isinstance(known, str) and known in FORMATS:
        return FORMATS[known]
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        text = match_pattern(pattern, dice)
        if text is not None and re.search(pattern, text):
            return text
    text = " ".join(dice.pick(WORDS) for _ in range(1 + dice.below(3)))
    least = _whole(schema.get("minLength"), 0)
    while len(text) < least:
        text += " " + dice.pick(WORDS)
    return text[: max(least, _whole(schema.get("maxLength"), len(text)))]
