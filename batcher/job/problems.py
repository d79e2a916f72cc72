"""What is wrong with a job, in sentences: pydantic's findings and our own, each with file, table and key.

Values are quoted back, shortened, except where a key or a token may stand by mistake (`[endpoint]`, and
any name that sounds like one): nothing secret may reach a terminal or a log by way of an error message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from batcher.errors import JobError
from batcher.job.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Where a value stands in the job: `("limits", "concurrency")`; numbers count list items from 0."""

TableKeys = Mapping[tuple[str, ...], Collection[str]]
"""The known keys of each table; `()` holds the tables, `"*"` stands for any name (`("prices", "*")`)."""

SHOWN_CHARS = 60

TYPE_NAMES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "finite_number": "a finite number",
}

BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}

HINTS: Mapping[Place, str] = {
    ("input", "path"): "give it in the job file, or with -i",
    ("output", "path"): "give it in the job file, or with -o",
    ("request", "model"): "give it in the job file, or with --model",
    ("endpoint", "api_key"): (
        "a key never stands in a job: put it into an environment variable and name that in api_key_env"
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    text: str


def raise_all(
    problems: Sequence[Problem],
    *,
    file: str | None,
    origins: Mapping[tuple[str, ...], str],
    hint: str | None = None,
) -> None:
    """Raise one JobError that tells every problem, or return when there is none.

    Args:
        problems: in the order to tell them.
        file: the job file as the user typed it, None without one.
        origins: places that an option gave, with that option.
        hint: what to type next.
    """
    if not problems:
        return
    lines = list(
        dict.fromkeys(
            f"{where(problem.place, file=file, origins=origins)}: {problem.text}" for problem in problems
        )
    )
    if len(lines) == 1:
        raise JobError(lines[0], hint=hint)
    raise JobError("\n".join([f"{len(lines)} things in this job need a change:", *lines]), hint=hint)


def where(place: Place, *, file: str | None, origins: Mapping[tuple[str, ...], str]) -> str:
    """`jobs/label.toml [limits] concurrency`, or the option that gave the value."""
    names = tuple(str(part) for part in place)
    for length in range(len(names), 0, -1):
        flag = origins.get(names[:length])
        if flag is not None:
            return f"{flag} {dotted(place)}" if flag == "--set" else flag
    shown = f"{file} " if file is not None else ""
    return shown + in_table(place)


def in_table(place: Place) -> str:
    """`[request.response_format] type`; a list item counts from 1, as a person does."""
    if not place:
        return "the job"
    if len(place) == 1:
        return f"[{place[0]}]"
    *table, key = place
    if isinstance(key, int):
        return f"[{dotted(tuple(table[:-1])) or table[-1]}] {table[-1]}, item {key + 1}"
    return f"[{dotted(tuple(table))}] {key}"


def dotted(place: Place) -> str:
    """The place as `--set` takes it; names that need quotes get them."""
    return ".".join(
        str(part) if str(part).replace("_", "").replace("-", "").isalnum() else f'"{part}"' for part in place
    )


def shown(value: object) -> str:
    """A value as the user would write it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = orjson.dumps(value.encode("utf-8", "replace").decode()).decode()
        return text if len(text) <= SHOWN_CHARS else f'{text[: SHOWN_CHARS - 2]}…"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value)[:SHOWN_CHARS]


def is_private(place: Place) -> bool:
    """Whether a value there must not be quoted back."""
    names = [str(part).lower() for part in place]
    return names[:1] == ["endpoint"] or any(
        word in name for name in names for word in ("key", "secret", "authorization")
    )


def from_pydantic(error: ErrorDetails, keys: TableKeys) -> Problem:
    """One finding of pydantic as a Problem.

    Args:
        error: as `ValidationError.errors()` gives it.
        keys: the known keys of each table; `()` holds the tables. `"*"` stands for any name (`("prices",
        "*")`).
    """
    place: Place = tuple(error["loc"])
    return Problem(place, _sentence(error, place, keys))


def _sentence(error: ErrorDetails, place: Place, keys: TableKeys) -> str:
    kind = error["type"]
    if kind == "missing":
        return _with_hint("is missing", place)
    if kind == "extra_forbidden":
        return unknown_key(place, keys)
    if kind == "value_error":
        return str(error["ctx"]["error"])
    wanted = _wanted(error)
    found = "" if is_private(place) else f", not {shown(error['input'])}"
    is_unquoted = kind == "string_type" and not isinstance(error["input"], dict | list)
    return f"{wanted}{found}" + (" (text needs quotes, in --set too: '\"…\"')" if is_unquoted else "")


def _wanted(error: ErrorDetails) -> str:
    """`must be at least 1`: what a value that has a wrong type or is out of range should be."""
    kind = error["type"]
    if kind in TYPE_NAMES:
        return f"must be {TYPE_NAMES[kind]}"
    if kind in BOUNDS:
        words, bound = BOUNDS[kind]
        return f"must be {words} {error['ctx'][bound]:g}"
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}".replace("'", '"')
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}"


def unknown_key(place: Place, keys: TableKeys) -> str:
    """Why this key is refused, and which was meant: in its own table first, else the table it belongs to."""
    if place in HINTS:
        return HINTS[place]
    *table, name = (str(part) for part in place)
    own = keys.get(tuple(table)) or keys.get((*table[:-1], "*"), ())
    word = "table" if not table else "key"
    close = did_you_mean(name, own)
    if close:
        return f"unknown {word}{close}"
    home = next((other for other, names in keys.items() if other and name in names), None)
    if home is not None:
        return f"unknown {word}; {name} belongs in [{dotted(home)}]"
    return f"unknown {word}; here stand: {', '.join(sorted(own))}"


def _with_hint(text: str, place: Place) -> str:
    return f"{text}; {HINTS[place]}" if place in HINTS else text
