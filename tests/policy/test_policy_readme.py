"""The README's table of constants is the program's, in its order: a number that is added or changed shows there."""

from __future__ import annotations

import re
from pathlib import Path

from batcher.policy import constants

TABLE = (Path(__file__).parents[2] / "README.md").read_text().partition("## Constants of the flow control")[2]
ROWS = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", TABLE, re.MULTILINE)


def spelt(value: object) -> str:
    """As the table writes it: thousands with commas, several values side by side."""
    if isinstance(value, tuple):
        return ", ".join(map(spelt, value))
    assert isinstance(value, int | float)
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def test_the_table_holds_every_constant_with_its_value_in_order() -> None:
    declared = [(name, spelt(value)) for name, value in vars(constants).items() if name.isupper()]
    assert [(name, value) for name, value, _ in ROWS] == declared


def test_every_constant_has_a_meaning_and_the_table_is_folded() -> None:
    assert all(meaning.strip() for _, _, meaning in ROWS)
    assert TABLE.index("<details>") < TABLE.index("| `") < TABLE.index("</details>")
