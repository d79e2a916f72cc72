"""Which columns of a usage file mean what: ours by their names, those of other tools by the names they are known for.

A column that is not there is None; nothing is guessed from values. `--map` names a column for a meaning and wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from batcher.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

_USAGE = ("", "usage.", "response.body.usage.", "response.usage.", "model_usage.")
"""Where other tools put token counts: columns of their own, or an object (OpenAI Batch lines: ``response.body``)."""


def _everywhere(*names: str) -> tuple[str, ...]:
    return tuple(place + name for name in names for place in _USAGE)


KNOWN: dict[str, tuple[str, ...]] = {
    "prompt_tokens": (
        "billed_prompt_tokens",
        *_everywhere("prompt_tokens", "input_tokens", "_input_tokens"),
        "gen_ai.usage.input_tokens",
    ),
    "completion_tokens": (
        "billed_completion_tokens",
        *_everywhere("completion_tokens", "output_tokens", "_output_tokens"),
        "gen_ai.usage.output_tokens",
    ),
    "total_tokens": _everywhere("total_tokens"),
    "cached_tokens": _everywhere(
        "cached_tokens",
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "cache_read_tokens",
        "_cached_tokens",
    ),
    "cache_write_tokens": _everywhere("cache_write_tokens", "prompt_tokens_details.cache_write_tokens"),
    "cache_read_beside": _everywhere("cache_read_input_tokens", "input_tokens_cache_read"),
    "cache_write_beside": _everywhere("cache_creation_input_tokens", "input_tokens_cache_write"),
    "reasoning_tokens": _everywhere(
        "reasoning_tokens",
        "completion_tokens_details.reasoning_tokens",
        "output_tokens_details.reasoning_tokens",
    ),
    "cost_usd": ("cost_usd", *_everywhere("cost"), "total_cost", "total_cost_usd", "usd"),
    "request_model": ("request_model", "model", "model_name", "_model", "gen_ai.request.model"),
    "response_model": ("response_model", "response.body.model", "response.model", "gen_ai.response.model"),
    "outcome": ("outcome",),
    "time": ("sent_at", "created_at", "timestamp", "created", "response.body.created"),
    "run_id": ("run_id",),
    "paid_attempts": ("paid_attempts",),
}
"""Meaning -> the columns that may hold it, best first; a dot reaches into an object. `..._beside` are tokens that are
not counted in the prompt's (Anthropic, inspect); where both kinds stand, those within the prompt are taken."""
_FINAL = {"prompt_tokens": "final_prompt", "completion_tokens": "final_completion"}
_OURS = {"run_id", "paid_attempts", "cost_usd", "outcome"}
_BESIDE = {"cached_tokens": "cache_read_beside", "cache_write_tokens": "cache_write_beside"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Meaning -> path of the column, from the top.

    Attributes:
        is_ours: an output of ours, so `run_id` names the run that paid.
        is_batch: lines that a provider's batch API wrote.
    """

    columns: Mapping[str, tuple[str, ...]]
    is_ours: bool
    is_batch: bool

    @property
    def has_usage(self) -> bool:
        return "cost_usd" in self.columns or {"prompt_tokens", "completion_tokens"} <= self.columns.keys()


def layout_of(
    schema: pa.Schema, *, named: Mapping[str, str], by: tuple[str, ...], prefix: str = ""
) -> Layout:
    """Find the columns.

    Args:
        schema: of the file.
        named: meaning -> column, from the user; a name that is not there is no error here (other files may have it).
        by: further columns that are wanted.
        prefix: before our own column names, from `[output] prefix`.
    """
    found = _known(schema, named, prefix)
    for meaning, kept in _FINAL.items():
        if found.get(meaning, ("",))[0].startswith(prefix + "billed_"):
            path = find(schema, prefix + meaning)
            if path is not None:
                found[kept] = path
    for name in by:
        path = find(schema, name) or find(schema, prefix + name)
        if path is not None:
            found[f"by:{name}"] = path
    is_ours = found.keys() >= _OURS
    without = [] if is_ours else ["run_id", "paid_attempts"]  # names that mean something else elsewhere
    without += [beside for inside, beside in _BESIDE.items() if inside in found]
    columns = {meaning: path for meaning, path in found.items() if meaning not in without}
    return Layout(columns, is_ours, is_batch=find(schema, "response.body") is not None)


def _known(schema: pa.Schema, named: Mapping[str, str], prefix: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for meaning, names in KNOWN.items():
        wanted = (
            (named[meaning],)
            if meaning in named
            else (*((prefix + name) for name in names if prefix), *names)
        )
        path = next((path for name in wanted if (path := find(schema, name)) is not None), None)
        if path is not None:
            found[meaning] = path
    return found


def find(schema: pa.Schema, name: str) -> tuple[str, ...] | None:
    """The path of a column by its name, or by a dotted name into objects; None when there is none."""
    if schema.get_field_index(name) >= 0:
        return (name,)
    path = tuple(name.split("."))
    if len(path) == 1 or schema.get_field_index(path[0]) < 0:
        return None
    kind = schema.field(path[0]).type
    for step in path[1:]:
        if not pa.types.is_struct(kind) or kind.get_field_index(step) < 0:
            return None
        kind = kind.field(step).type
    return path


def parse_map(text: str | None) -> dict[str, str]:
    """``prompt_tokens=in,completion_tokens=out`` as a mapping.

    Raises:
        JobError: not of that form, or a meaning that there is not.
    """
    found = {}
    for pair in filter(None, (each.strip() for each in (text or "").split(","))):
        meaning, is_pair, column = pair.partition("=")
        if not is_pair or not column or meaning not in KNOWN:
            names = ", ".join(KNOWN)
            raise JobError(f"--map {pair!r} is not MEANING=COLUMN", hint=f"meanings: {names}")
        found[meaning] = column
    return found
