"""Pure: an estimate as lines for a person, and as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from batcher.report.wording import duration, money

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.cost.estimate import Interval
    from batcher.verbs.estimate import Estimate
    from batcher.verbs.estimate_reckoning import Reckoned


def estimate_lines(found: Estimate) -> list[str]:
    """Rows, then tokens, dollars and time with their ranges, then what else is worth knowing."""
    weighed, reckoned = found.weighed, found.reckoned
    lines = [f"  {found.output.name}  {row_words(found)}", *reckoned_lines(reckoned)]
    if reckoned.tokens_from and weighed.to_send.requests:
        lines.append(f"    tokens from {reckoned.tokens_from}")
    if weighed.pictures:
        lines.append(f"    {weighed.pictures:,} images: 765 tokens each, or far from it; usage will tell")
    if reckoned.unpriced:
        lines.append(
            f"    no price is known for {', '.join(reckoned.unpriced)}; [prices] in the job names one"
        )
    if weighed.to_send.unbounded and reckoned.completion.high is None:
        lines.append("    completions have no maximum: max_completion_tokens, --from or a try bound them")
    if weighed.first_invalid is not None:
        problem = weighed.first_invalid
        lines.append(f"    row {problem.row_index} is not usable: {problem.message}")
    return [*lines, *(f"    note: {note}" for note in found.notes), "    nothing was sent"]


def row_words(found: Estimate) -> str:
    """Like "300 rows · 12 invalid · 3 duplicates · 50 answered already · 238 to send"."""
    weighed = found.weighed
    words = [f"{weighed.rows:,} rows"]
    words += [f"{weighed.invalid:,} invalid"] if weighed.invalid else []
    words += [f"{weighed.duplicates:,} duplicates"] if weighed.duplicates else []
    words += [f"{weighed.twins:,} of them sent once with their equals"] if weighed.twins else []
    words += [f"{weighed.answered:,} answered already"] if weighed.answered else []
    return " · ".join([*words, f"{weighed.to_send.requests:,} to send"])


def reckoned_lines(reckoned: Reckoned) -> list[str]:
    """A line for each of tokens, dollars and time."""
    rows = [
        ("prompt tokens", interval_words(reckoned.prompt, count)),
        ("completion tokens", interval_words(reckoned.completion, count)),
        ("cost", "unknown" if reckoned.usd is None else interval_words(reckoned.usd, dollars)),
        ("time", _time_words(reckoned)),
    ]
    return [f"    {name:<18} {told}" for name, told in rows]


def _time_words(reckoned: Reckoned) -> str:
    if reckoned.seconds is None:
        return f"unknown: {reckoned.seconds_from}"
    return f"{interval_words(reckoned.seconds, duration)}  ({reckoned.seconds_from})"


def interval_words(interval: Interval, said: Callable[[float], str]) -> str:
    """Like "1,200 (1,100 to 1,350)"; an end that nothing bounds is not invented."""
    low, likely, high = interval
    if likely is None:
        return f"at least {said(low)}"
    if said(low) == said(likely) and (high is None or said(high) == said(likely)):
        return said(likely)
    if high is None:
        return f"{said(likely)} (at least {said(low)})"
    if likely == high:
        return f"at most {said(high)} (at least {said(low)})"
    return f"{said(likely)} ({said(low)} to {said(high)})"


def dollars(usd: float) -> str:
    """As `money`, but with three digits of a small sum, so that the ends of an interval can be told apart."""
    return money(usd) if usd >= 1 or usd < 0.01 else f"${usd:.3g}"


def count(value: float) -> str:
    return f"{value:,.0f}"


def estimate_json(found: Estimate) -> dict[str, object]:
    """Everything of an estimate; intervals as {low, likely, high}, null where nothing bounds them."""
    weighed, reckoned = found.weighed, found.reckoned
    return {
        "verb": "estimate",
        "output": str(found.output),
        "simulated": found.simulated,
        "model": found.model,
        "run_would": found.step.value,
        "rows": weighed.rows,
        "invalid": weighed.invalid,
        "duplicates": weighed.duplicates,
        "sent_with_their_equals": weighed.twins,
        "answered": weighed.answered,
        "to_send": weighed.to_send.requests,
        "images": weighed.pictures,
        "longest_prompt_tokens": round(weighed.heaviest),
        **reckoned_json(reckoned),
        "notes": list(found.notes),
        "requests": [orjson.loads(body) for body in weighed.first],
    }


def reckoned_json(reckoned: Reckoned) -> dict[str, object]:
    """The intervals, and what they stand on."""
    return {
        "prompt_tokens": interval_json(reckoned.prompt),
        "completion_tokens": interval_json(reckoned.completion),
        "total_tokens": interval_json(reckoned.total),
        "cost_usd": None if reckoned.usd is None else interval_json(reckoned.usd),
        "seconds": None if reckoned.seconds is None else interval_json(reckoned.seconds),
        "tokens_from": reckoned.tokens_from,
        "seconds_from": reckoned.seconds_from,
        "unpriced_models": list(reckoned.unpriced),
    }


def interval_json(interval: Interval) -> dict[str, float | None]:
    return dict(interval._asdict())
