"""What is told of two outputs side by side, as values; texts stand in them as they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from batcher.report.plain import named

if TYPE_CHECKING:
    from batcher.report.findings import Findings


class Pair(NamedTuple):
    """Rows where this output says `left` and the other `right`; None is "no value"."""

    left: str | None
    right: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two outputs agree on one column.

    Attributes:
        compared: rows where both have a value.
        equal: those of them where it is the same.
        kappa: Cohen's kappa, which takes off what chance alone would agree on; None when it is not defined or there
            are too many values.
        pairs: the most frequent differences, nulls included, largest first.
    """

    name: str
    compared: int
    equal: int
    kappa: float | None
    pairs: tuple[Pair, ...]

    @property
    def share(self) -> float | None:
        """0 to 1; None when nothing could be compared."""
        return self.equal / self.compared if self.compared else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two outputs side by side.

    Attributes:
        matched_by: "row_index" or "custom_id".
        matched: rows that stand in both; `only_left` and `only_right` stand in one.
        outcomes: (this output's outcome, the other's) pairs of matched rows, the most frequent first.
        agreements: of label columns that both have; of the completion where there are none.
    """

    left: Findings
    right: Findings
    matched_by: str
    matched: int
    only_left: int
    only_right: int
    outcomes: tuple[Pair, ...]
    agreements: tuple[Agreement, ...]

    def to_json(self) -> dict[str, object]:
        """One JSON object, plain types only."""
        return named(self) | {
            "left": self.left.to_json(),
            "right": self.right.to_json(),
            "agreements": [named(each) | {"share": each.share} for each in self.agreements],
        }
