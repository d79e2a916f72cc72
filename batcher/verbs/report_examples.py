"""The few rows that a report shows: read by their place, shortened while they are read.

Row groups that hold none of them are not touched; of the others one is in memory at a time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa

from batcher.report.findings import Example
from batcher.store.columns import our_columns
from batcher.verbs.report_counts import label_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow.parquet as pq

EXAMPLES: Final = 3
"""Rows shown of each kind of failure."""
_ANSWERS: Final = ("completion", "refusal", "parsed", "tool_calls")
"""What a row says, the first one that says something."""
_TEXTS: Final = ("row_index", "custom_id", "error_message", *_ANSWERS)
_INPUTS: Final = 2
_INPUT_CHARS: Final = 200
_MESSAGE_CHARS: Final = 700
_ANSWER_CHARS: Final = 500


class Spot(NamedTuple):
    """A row by its place in the file."""

    group: int
    place: int


def read_examples(
    file: pq.ParquetFile, spots: Iterable[Spot], *, labels: Sequence[str]
) -> dict[Spot, Example]:
    """These rows, by their spots. Raises pyarrow errors when the file is damaged."""
    schema = file.schema_arrow
    at = our_columns(schema)
    ours = {name: schema.names[at[name]] for name in (*_TEXTS, *labels) if name in at}
    inputs = _inputs(schema, set(at.values()))
    by_group: defaultdict[int, list[Spot]] = defaultdict(list)
    for spot in spots:
        by_group[spot.group].append(spot)
    found = {}
    for group in sorted(by_group):
        table = file.read_row_group(group, columns=[*ours.values(), *inputs], use_threads=False)
        for spot in by_group[group]:
            row = {name: table.column(name)[spot.place].as_py() for name in table.schema.names}
            values = {name: row[column] for name, column in ours.items()}
            found[spot] = _example(values, {name: row[name] for name in inputs}, labels)
    return found


def _inputs(schema: pa.Schema, ours: set[int]) -> list[str]:
    """The first input columns of text or numbers; a name that stands there twice is nobody's."""
    names = schema.names
    return [
        each.name
        for index, each in enumerate(schema)
        if index not in ours and names.count(each.name) == 1 and _is_plain(each.type)
    ][: _INPUTS + 1]  # one of them may be the id itself


def _is_plain(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
    )


def _example(values: dict[str, object], inputs: dict[str, object], labels: Sequence[str]) -> Example:
    custom_id = values.get("custom_id")
    answer = next((values[name] for name in _ANSWERS if values.get(name)), None)
    row_index = values["row_index"]
    assert isinstance(row_index, int)
    told = [(name, value) for name, value in inputs.items() if value is not None and value != custom_id]
    return Example(
        row_index=row_index,
        custom_id=None if custom_id is None else _short(str(custom_id), _INPUT_CHARS),
        inputs={
            _short(name, _INPUT_CHARS): _short(str(value), _INPUT_CHARS) for name, value in told[:_INPUTS]
        },
        message=_text(values.get("error_message"), _MESSAGE_CHARS),
        answer=_text(answer, _ANSWER_CHARS),
        labels={
            name: _short(label_text(values[name]), _INPUT_CHARS)
            for name in labels
            if values.get(name) is not None
        },
    )


def _text(value: object, most: int) -> str | None:
    return _short(value, most) if isinstance(value, str) and value else None


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
