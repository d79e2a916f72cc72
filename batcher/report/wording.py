"""Pure: the summary and its advice as lines of text, and numbers as people read them."""

from __future__ import annotations

import os
import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING

from batcher.records import Outcome

if TYPE_CHECKING:
    from batcher.report.summary import FailureGroup, Summary

MOST_GROUPS = 8
"""Kinds of failure that the summary lists; the rest is counted in one line."""
EXAMPLE_CHARS = 100
OUTCOMES = tuple(outcome.value for outcome in Outcome)

_SAID = {"context_length": "context too long", "moderated": "declined by a filter"}
"""Words for an `error_type` that its own letters do not say; others are shown as they are, without underscores."""
_ADVICE = {
    "context_length": "no retry helps: shorten the prompt",
    "request_too_large": "no retry helps: shorten the prompt",
    "moderated": "no retry helps: the filter would decline again",
    "exceeds_tpm": "no retry helps: the request is larger than the rate limit",
    "bad_request": "",
    "unprocessable": "",
    "model_not_found": "no retry helps: the row names a model that is not there",
}
"""`error_type` -> what to do about rows that the same request would fail again; the example says why."""


def harmless(text: str) -> str:
    """Text from a model or server made safe for a terminal: control characters become spaces or vanish."""
    return "".join(
        " " if letter in "\n\r\t" else letter for letter in text if letter in "\n\r\t" or letter.isprintable()
    )


def duration(seconds: float) -> str:
    """Like "18 min 29 s", "4.2 s" or "3 h 05 min"."""
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def money(usd: float) -> str:
    """US dollars, with as many digits as a small sum needs to be seen."""
    if usd == 0:
        return "$0.00"
    if abs(usd) < 0.00001:
        return "under $0.00001"
    if abs(usd) < 0.01:
        return f"${usd:.5f}".rstrip("0")
    return f"${usd:,.2f}"


def shown_path(path: str, here: PurePath) -> str:
    """The path as a person at `here` (absolute) would write it: relative where that is shorter."""
    if not PurePath(path).is_absolute():
        return path
    relative = os.path.relpath(path, here)
    return relative if len(relative) < len(path) else path


def summary_lines(summary: Summary, *, here: PurePath) -> list[str]:
    """The summary of a published output, as design section 7 shows it.

    Args:
        summary: what was done.
        here: the working directory, absolute; paths are shown as seen from it.
    """
    rows = summary.rows_total or 0
    head = f"  {_headline(summary, here)}  {rows:,} rows, verified"
    if summary.finished_before:
        head += " · complete since an earlier session, nothing was sent"
    else:
        head += f" · {duration(summary.elapsed_s)}"
    lines = [head + _money_words(summary), "    " + _outcome_words(summary)]
    if summary.simulated:
        lines.insert(0, "  SIMULATED: the answers come from the embedded simulator; nothing was paid.")
    lines += _group_lines(summary, here)
    if summary.reused:
        lines.append(f"    {summary.reused:,} answers were taken over; they cost nothing")
    if summary.possibly_paid:
        lines.append(possibly_paid_line(summary))
    if summary.damaged:
        lines.append(f"    {summary.damaged:,} damaged journal records were found; their rows ran again")
    lines += [f"    note: {harmless(warning)}" for warning in summary.warnings]
    return lines


def _headline(summary: Summary, here: PurePath) -> str:
    if summary.tried_for is None:
        return harmless(shown_path(summary.output or "", here))
    return f"try {summary.try_number} of {harmless(shown_path(summary.tried_for, here))}"


def stop_line(summary: Summary) -> str | None:
    """What a stopped session did and what is left; None when it stopped before it began."""
    if summary.rows_total is None:
        return None
    requests = "1 request" if summary.sent == 1 else f"{summary.sent:,} requests"
    paid = f"{summary.paid:,} paid" if summary.paid else "nothing paid"
    if summary.ambiguous:
        paid += f", {summary.ambiguous:,} perhaps"
    left = max(0, summary.rows_total - summary.rows_done)
    return f"Stopped after {requests}; {paid}. Rows stored {summary.rows_done:,}, still to do {left:,}."


def possibly_paid_line(summary: Summary) -> str:
    rows = sorted({row for _, row in summary.possibly_paid})
    some = ", ".join(str(row) for row in rows[:8]) + (", …" if len(rows) > 8 else "")
    return f"    {len(rows):,} rows may have been paid twice after an interruption: row_index {some}"


def _money_words(summary: Summary) -> str:
    if summary.cost_usd is None:
        tokens = f" · {summary.prompt_tokens:,} + {summary.completion_tokens:,} tokens"
        if summary.unpriced_model is None:
            return tokens
        return f'{tokens} (no dollars: add [prices."{summary.unpriced_model}"] to the job)'
    words = []
    ok = summary.outcomes.get("ok", 0)
    if ok and summary.cost_usd:
        words.append(f"{money(summary.cost_usd / ok * 1000)} per 1,000 ok rows")
    if summary.repeated_cost_usd:
        words.append(f"{money(summary.repeated_cost_usd)} of it for repeated attempts")
    return f" · {money(summary.cost_usd)}" + (f" ({'; '.join(words)})" if words else "")


def _outcome_words(summary: Summary) -> str:
    shown = [name for name in OUTCOMES if summary.outcomes.get(name)] or ["ok"]
    return " · ".join(f"{name} {summary.outcomes.get(name, 0):,}" for name in shown)


def _group_lines(summary: Summary, here: PurePath) -> list[str]:
    groups = sorted(summary.failures, key=lambda group: -group.rows)
    shown, others = groups[:MOST_GROUPS], groups[MOST_GROUPS:]
    rest = sum(group.rows for group in others)
    width = max((len(f"{rows:,}") for rows in (*(group.rows for group in shown), rest)), default=0)
    lines = [_group_line(group, summary, width, here) for group in shown]
    if others:
        lines.append(f"    {rest:>{width},} rows for {len(others):,} other reasons")
    return lines


def _group_line(group: FailureGroup, summary: Summary, width: int, here: PurePath) -> str:
    count = f"    {group.rows:>{width},} {group.outcome}"
    if group.outcome == Outcome.TRUNCATED:
        at = f" at {summary.token_limit:,} tokens" if summary.token_limit else ""
        return f"{count}{at}     {_retry(group, summary, here)}"
    kind = group.error_type or ""
    said = _SAID.get(kind, kind.replace("_", " "))
    example = harmless(group.example)[:EXAMPLE_CHARS]
    reason = f"{count}  {said}" + (f": {example}" if example else "")
    return f"{reason}   {_advice(group, summary, here)}".rstrip()


def _advice(group: FailureGroup, summary: Summary, here: PurePath) -> str:
    if group.outcome == Outcome.INVALID:
        return "never sent: repair the rows" + ("" if _is_try(summary) else ", then run with --replace")
    kind = group.error_type or ""
    if kind in _ADVICE:
        return _ADVICE[kind]
    if group.outcome == Outcome.REFUSED:
        return ""
    advice = _retry(group, summary, here)
    return f"{advice}, when the endpoint is less busy" if kind == "throttled" else advice


def _retry(group: FailureGroup, summary: Summary, here: PurePath) -> str:
    """What to type for rows that another attempt may help; a try has no output yet that `retry` could take."""
    change = ""
    if group.outcome == Outcome.TRUNCATED and summary.token_limit:
        change = f" --set request.max_completion_tokens={summary.token_limit * 4}"
    if not _is_try(summary):
        out = shlex.quote(shown_path(summary.output or "", here))
        return f"batcher retry {out} --outcome {group.outcome}{change}"
    return f"try again with{change}" if change else "the next try, or the run, asks again"


def _is_try(summary: Summary) -> bool:
    return summary.tried_for is not None
