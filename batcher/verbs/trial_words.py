"""Pure: a try, or several models' side by side, as lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.report.wording import duration
from batcher.verbs.estimate_words import count, dollars, interval_words, reckoned_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.report.comparison import Agreement
    from batcher.verbs.trial import Trial

SHOWN_PAIRS: Final = 3
WIDEST_LABELS: Final = 2
"""Label columns whose agreement stands in the table of models."""


def outlook_lines(trial: Trial) -> list[str]:
    """What all rows come to, and on what that stands."""
    found = trial.outlook
    seen = "" if found.weighed >= trial.rows_of_all else f"; {found.weighed:,} rows were weighed for it"
    head = f"  all {trial.rows_of_all:,} rows, from {found.whole.tokens_from} (95 % intervals{seen})"
    lines = [head, *reckoned_lines(found.whole)]
    if found.whole.unpriced:
        lines.append(f"    no price is known for {', '.join(found.whole.unpriced)}")
    return [*lines, "    batcher run takes these answers over"]


def change_lines(trial: Trial, agreements: Sequence[Agreement]) -> list[str]:
    """Like "since try 1: category 18 of 20 the same (refund -> billing 2)"; nothing for a first try."""
    if trial.earlier is None:
        return []
    told = [_agreement_words(each) for each in agreements if each.compared]
    if all(each.equal == each.compared for each in agreements):
        told = [" · ".join(told)] if told else []
    return [f"  since try {int(trial.earlier.stem)}: {words}" for words in told]


def _agreement_words(agreement: Agreement) -> str:
    name = "answers" if agreement.name == "completion" else agreement.name
    said = f"{name} {agreement.equal:,} of {agreement.compared:,} the same"
    pairs = [] if name == "answers" else agreement.pairs[:SHOWN_PAIRS]
    changed = ", ".join(f"{pair.right or 'none'} -> {pair.left or 'none'} {pair.rows:,}" for pair in pairs)
    return f"{said} ({changed})" if changed else said


def label_lines(rows: Sequence[Mapping[str, object]], labels: Sequence[str]) -> list[str]:
    """How often each value of each label was given, the most frequent first."""
    lines = []
    for label in labels:
        counts: dict[str, int] = {}
        for row in rows:
            value = str(row[label]) if row[label] is not None else "(does not fit)"
            counts[value] = counts.get(value, 0) + 1
        ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        lines.append(f"  {label}: " + " · ".join(f"{value} {n:,}" for value, n in ranked))
    return lines


def side_by_side(
    models: Sequence[str], trials: Sequence[Trial], agreements: Sequence[Sequence[Agreement]]
) -> list[Mapping[str, object]]:
    """A row for each model: ok rows, tokens of an answer, agreement with the first model, and what all rows come to."""
    rows: list[Mapping[str, object]] = []
    for model, trial, agreed in zip(models, trials, agreements, strict=True):
        whole, summary = trial.outlook.whole, trial.summary
        rows.append(
            {
                "model": model,
                "ok": f"{summary.outcomes.get('ok', 0)}/{summary.rows_done}",
                **{
                    f"same {'answer' if each.name == 'completion' else each.name}": f"{each.equal}/{each.compared}"
                    for each in agreed[:WIDEST_LABELS]
                },
                "all: tokens": count(whole.total.likely or 0.0),
                "cost": _dollars(trial),
                "time": "" if whole.seconds is None else duration(whole.seconds.likely or 0.0),
            }
        )
    return rows


def _dollars(trial: Trial) -> str:
    usd = trial.outlook.whole.usd
    if usd is None or usd.likely is None:
        return "no price"
    return interval_words(usd, dollars)
