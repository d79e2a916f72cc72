"""What changed between two fingerprints, as values and as the lines a person reads before paying again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHOWN_CHARS = 88
"""Longest text shown whole; of longer ones, what is around the first change."""
BEFORE_CHANGE = 24
HASH_CHARS = 12


class _NotSet:
    """Stands for a key that is absent; JSON null is a value."""

    def __repr__(self) -> str:
        return "(not set)"


NOT_SET = _NotSet()


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of the fingerprint that is not what it was; `NOT_SET` where it was or is absent."""

    key: str
    old: object
    new: object


def diff(old_parts: Mapping[str, object], new_parts: Mapping[str, object]) -> list[Difference]:
    """Every key whose value differs, in alphabetical order; the input counts as one key, by its hash."""
    differences = []
    for key in sorted({*old_parts, *new_parts} - {"input.hash", "input.rows"}):
        old, new = old_parts.get(key, NOT_SET), new_parts.get(key, NOT_SET)
        if _canonical(old) != _canonical(new):
            differences.append(Difference(key, old, new))
    if old_parts.get("input.hash") != new_parts.get("input.hash"):
        differences.insert(0, Difference("input", _input(old_parts), _input(new_parts)))
    return differences


def readable(differences: Sequence[Difference]) -> list[str]:
    """Two lines for each difference, keys in one column: `key   - "old"` and `+ "new"` below it."""
    width = max((len(each.key) for each in differences), default=0)
    lines = []
    for each in differences:
        old, new = _around_change(_text(each.old), _text(each.new))
        lines += [f"{each.key:<{width}}   - {old}", f"{'':<{width}}   + {new}"]
    return lines


def _canonical(value: object) -> bytes:
    return b"" if value is NOT_SET else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _input(parts: Mapping[str, object]) -> object:
    found = parts.get("input.hash", NOT_SET)
    if found is NOT_SET:
        return NOT_SET
    rows = parts.get("input.rows")
    return _Shown(
        f"hash {str(found)[:HASH_CHARS]}"
        if not isinstance(rows, int)
        else f"{rows:,} rows, hash {str(found)[:HASH_CHARS]}"
    )


class _Shown(str):
    """Text that is shown as it stands, without quotes."""

    __slots__ = ()


def _text(value: object) -> str:
    if value is NOT_SET or isinstance(value, _Shown):
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _around_change(old: str, new: str) -> tuple[str, str]:
    """Both texts, cut to what surrounds their first difference when one is too long."""
    if max(len(old), len(new)) <= SHOWN_CHARS:
        return old, new
    same = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    start = max(0, same - BEFORE_CHANGE)
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int) -> str:
    end = start + SHOWN_CHARS
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
