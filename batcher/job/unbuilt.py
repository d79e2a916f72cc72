"""Keys of the design that are not built yet, each refused with one line.

A cap that is accepted and ignored costs money, so nothing here is ever silently dropped. Building a feature
means deleting its line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.job.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

UNBUILT: Mapping[tuple[str, str], str] = {
    ("request", "stream"): "streaming is not built yet; take it out, the answers are the same",
    ("request", "stream_options"): "streaming is not built yet; take it out, the answers are the same",
}
"""(table, key) -> why it is refused. A key set to false asks for nothing and is accepted."""


def unbuilt(table: Mapping[str, object]) -> list[Problem]:
    """A problem for every key that asks for something not built yet, in the order of `UNBUILT`."""
    return [Problem(place, text) for place, text in UNBUILT.items() if _asks(table.get(place[0]), place[1])]


def without_unbuilt(table: Mapping[str, object]) -> dict[str, object]:
    """The job without the keys that `unbuilt` refuses, so that each is told once."""
    return {
        name: {key: inner for key, inner in value.items() if (name, key) not in UNBUILT or inner is False}
        if isinstance(value, dict)
        else value
        for name, value in table.items()
    }


def _asks(table: object, key: str) -> bool:
    return isinstance(table, dict) and key in table and table[key] is not False
