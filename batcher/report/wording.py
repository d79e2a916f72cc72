"""Pure: the summary and its advice as lines of text, and numbers as people read them."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.report.summary import FailureGroup, Summary

MOST_GROUPS = 8
"""Kinds of failure that the summary lists; the rest is counted in one line."""
EXAMPLE_CHARS = 100
OUTCOMES = ("ok", "truncated", "refused", "failed", "invalid")

_ADVICE = {
    "context_length_exceeded": "no retry helps: shorten the prompt",
    "request_too_large": "no retry helps: shorten the prompt",
    "content_filter": "no retry helps: the filter would decline again",
    "throttled": "batcher retry {out} --outcome failed, when the endpoint is less busy",
}
_NO_RETRY = frozenset(
    {"context_length_exceeded", "request_too_large", "content_filter", "exceeds_tpm", "bad_request"}
)


def harmless(text: str) -> str:
    """Text from a model or server made safe for a terminal: control characters become spaces or vanish."""
    return "".join(
        " " if letter in "\n\r\t" else letter for letter in text if letter in "\n\r\t" or letter.isprintable()
    )


def duration(seconds: float) -> str:
    """Like "18 min 29 s", "4.2 s" or "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def money(usd: float) -> str:
    """US dollars, with as many digits as a small sum needs to be seen."""
    if usd == 0:
        return "$0.00"
    if abs(usd) < 0.01:
        return f"${usd:.5f}".rstrip("0")
    return f"${usd:,.2f}"


def summary_lines(summary: Summary) -> list[str]:
    """The summary of a published output, as design section 7 shows it."""
    out = PurePath(summary.output or "").name
    rows = summary.rows_total or 0
    head = f"  {out}  {rows:,} rows, verified"
    if summary.finished_before:
        head += " · complete since an earlier session, nothing was sent"
    else:
        head += f" · {duration(summary.elapsed_s)}"
    lines = [head + _money_words(summary), "    " + _outcome_words(summary)]
    if summary.simulated:
        lines.insert(0, "  SIMULATED: the answers come from the embedded simulator; nothing was paid.")
    lines += _group_lines(summary)
    if summary.reused:
        lines.append(f"    {summary.reused:,} answers were taken over; they cost nothing")
    if summary.possibly_paid:
        lines.append(possibly_paid_line(summary))
    if summary.damaged:
        lines.append(f"    {summary.damaged:,} damaged journal records were found; their rows ran again")
    lines += [f"    note: {harmless(warning)}" for warning in summary.warnings]
    return lines


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


def _group_lines(summary: Summary) -> list[str]:
    groups = sorted(summary.failures, key=lambda group: -group.rows)
    width = max((len(f"{group.rows:,}") for group in groups), default=0)
    lines = [_group_line(group, summary, width) for group in groups[:MOST_GROUPS]]
    if len(groups) > MOST_GROUPS:
        rest = sum(group.rows for group in groups[MOST_GROUPS:])
        lines.append(f"    {rest:,} rows for {len(groups) - MOST_GROUPS} other reasons")
    return lines


def _group_line(group: FailureGroup, summary: Summary, width: int) -> str:
    count = f"    {group.rows:>{width},} {group.outcome}"
    if group.outcome == "truncated":
        at = f" at {summary.token_limit:,} tokens" if summary.token_limit else ""
        return f"{count}{at}     {_retry(group, summary)}"
    said = (group.error_type or "").replace("_", " ")
    example = harmless(group.example)[:EXAMPLE_CHARS]
    reason = f"{count}  {said}" + (f": {example}" if example else "")
    return f"{reason}   {_advice(group, summary)}".rstrip()


def _advice(group: FailureGroup, summary: Summary) -> str:
    if group.outcome == "invalid":
        return "never sent: repair the rows, then run with --replace"
    kind = group.error_type or ""
    if kind in _ADVICE:
        return _ADVICE[kind].format(out=shlex.quote(summary.output or ""))
    if kind in _NO_RETRY or group.outcome == "refused":
        return ""
    return _retry(group, summary)


def _retry(group: FailureGroup, summary: Summary) -> str:
    command = f"batcher retry {shlex.quote(summary.output or '')} --outcome {group.outcome}"
    if group.outcome == "truncated" and summary.token_limit:
        command += f" --set request.max_completion_tokens={summary.token_limit * 4}"
    return command
