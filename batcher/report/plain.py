"""Values with names as plain JSON values: dataclasses and named tuples become objects, keys become text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def named(value: Any) -> dict[str, object]:
    """The fields of a dataclass instance, each as a plain value."""
    return {each.name: plain(getattr(value, each.name)) for each in fields(value)}


def plain(value: object) -> object:
    """What JSON has words for."""
    if is_dataclass(value):
        return named(value)
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        parts = [plain(each) for each in value]
        return parts if names is None else dict(zip(names, parts, strict=True))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return value
