"""Pure: the summary and its advice as lines of text, and numbers as people read them."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from batcher.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.report.summary import FailureGroup, Summary

MOST_GROUPS = 8
"""Kinds of failure that the summary lists; the rest is counted in one line."""
EXAMPLE_CHARS = 100
OUTCOMES = tuple(outcome.value for outcome in Outcome)

_SAID = {
    "context_length": "context too long",
    "moderated": "declined by a filter",
    "schema_mismatch": "answer breaks the schema",
}
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


HELD: Final = {
    "stopping": "stopping",
    "deadline": "deadline",
    "budget": "budget (the rest of it is reserved for what is in flight)",
    "memory": "memory (bytes in flight)",
    "parked": "parked until {wake}",
    "endpoint down": "endpoint down, {probe}",
    "sign of life": "endpoint silent, the last attempts wait for a sign of life",
    "rate limit": "rate limit, the endpoint asks to wait {opens}",
    "overloaded": "endpoint overloaded, it asks to wait {opens}",
    "rate limit (requests/min)": "rate limit (requests/min)",
    "rate limit (tokens/min)": "rate limit (tokens/min)",
    "rate limit (found)": "rate limit (found by refusals{found})",
    "canary": "the first reply",
    "ramp": "ramp (opening step by step)",
    "disk": "disk (storing is behind)",
    "dataset": "dataset (reading is behind)",
    "cpu": "our own CPU",
    "window": "window{window}",
}
"""What holds a run -> words for it, some with a place for where the flow control stands. The keys are in `--json`."""
_NORMAL: Final = frozenset({"window", "canary", "ramp", "stopping"})
"""What holds every run for a while, and says nothing about it."""
NOTABLE_S: Final = 10.0
NOTABLE_SHARE: Final = 0.1
NOTABLE_LEAST_S: Final = 2.0


def held_words(reason: str, flow: Mapping[str, object], *, at: float) -> str:
    """What holds the run, with what matters of it now.

    Args:
        reason: a key of `HELD`; others are shown as they are.
        flow: the state of the flow control, as in `progress.json`; {} when unknown.
        at: when that was, seconds since the epoch.
    """
    words = HELD.get(reason)
    return reason if words is None else words.format_map(_held_now(flow, at))


def _held_now(flow: Mapping[str, object], at: float) -> Mapping[str, str]:
    opens_s, probe_s = _number(flow, "gate", "opens_in_s"), _number(flow, "breaker", "next_probe_s")
    window, found = _number(flow, "window", "limit"), _number(flow, "pace", "requests_per_minute")
    wake = time.strftime("%H:%M UTC", time.gmtime(at + opens_s)) if opens_s is not None else "later"
    return {
        "wake": f"{wake} (in {duration(opens_s)})" if opens_s is not None else wake,
        "opens": duration(opens_s) if opens_s is not None else "a little",
        "probe": f"next probe in {duration(probe_s)}" if probe_s is not None else "a probe is under way",
        "found": f", {found:,.0f} requests/min" if found is not None else "",
        "window": f" ({window:,.0f} in flight)" if window is not None else "",
    }


def _number(flow: Mapping[str, object], part: str, name: str) -> float | None:
    told = flow.get(part)
    value = told.get(name) if isinstance(told, dict) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def held_line(flow: Mapping[str, object], *, elapsed_s: float) -> str | None:
    """Like "held: rate limit 3 min 10 s, endpoint down 40 s"; None when nothing held the run notably.

    Args:
        flow: with "held_s", seconds by reason; the kinds of rate limits count as one.
        elapsed_s: what the seconds are a share of.
    """
    told = flow.get("held_s")
    spans: dict[str, float] = {}
    for reason, held_s in told.items() if isinstance(told, dict) else ():
        if reason not in _NORMAL and isinstance(held_s, (int, float)):
            name = "our own CPU" if reason == "cpu" else str(reason).partition(" (")[0]
            spans[name] = spans.get(name, 0.0) + held_s
    least_s = min(NOTABLE_S, max(NOTABLE_LEAST_S, NOTABLE_SHARE * elapsed_s))
    notable = sorted(((held_s, name) for name, held_s in spans.items() if held_s >= least_s), reverse=True)
    return "held: " + ", ".join(f"{name} {duration(held_s)}" for held_s, name in notable) if notable else None


def flow_words(flow: Mapping[str, object]) -> list[str]:
    """Window, pace, budget and deadline as they stand, for `status`; what is not known is left out."""
    words = []
    limit, flying = _number(flow, "window", "limit"), _number(flow, "window", "in_flight")
    window = flow.get("window")
    if limit is not None and isinstance(window, dict):
        words.append(f"window {limit:,.0f} ({window.get('mode', '')}), {flying or 0:,.0f} in flight")
    words += [f"pace {pace}" for pace in _paces(flow)]
    cap, spent = _number(flow, "budget", "max_cost_usd"), _number(flow, "budget", "spent_usd")
    if cap is not None:
        reserved = _number(flow, "budget", "reserved_usd") or 0.0
        words.append(f"budget {money(cap)}: {money(spent or 0.0)} spent, {money(reserved)} reserved")
    left_s = _number(flow, "deadline", "left_s")
    return [*words, f"deadline in {duration(left_s)}"] if left_s is not None else words


def _paces(flow: Mapping[str, object]) -> list[str]:
    limits = flow.get("limits")
    told = limits.get("told_by_server") if isinstance(limits, dict) else None
    words = []
    for unit in ("requests", "tokens"):
        pace = _number(flow, "limits", f"{unit}_per_minute")
        if pace is not None:
            is_told = isinstance(told, dict) and told.get(unit) == pace
            words.append(f"{pace:,.0f} {unit}/min ({'told by the endpoint' if is_told else 'as set'})")
    found = _number(flow, "pace", "requests_per_minute")
    return [*words, f"{found:,.0f} requests/min (found)"] if found is not None else words


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
    held = held_line(summary.flow, elapsed_s=summary.elapsed_s)
    if held is not None and not summary.finished_before:
        lines.append(f"    {held}")
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
        if not summary.prompt_tokens and not summary.completion_tokens:
            return f"{tokens} (no dollars: the endpoint reported no usage)"
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
    said = reason_words(kind)
    example = harmless(group.example)[:EXAMPLE_CHARS]
    reason = f"{count}  {said}" + (f": {example}" if example else "")
    return f"{reason}   {advice(group, summary, here)}".rstrip()


def reason_words(error_type: str) -> str:
    """An `error_type` as people say it."""
    return _SAID.get(error_type, error_type.replace("_", " "))


def advice(group: FailureGroup, summary: Summary, here: PurePath) -> str:
    """What helps rows that are not ok for one reason, or ""; `here` as for `summary_lines`."""
    if group.outcome == Outcome.TRUNCATED:
        return _retry(group, summary, here)
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
        change = f" --set request.{summary.limit_named_by}={summary.token_limit * 4}"
    if not _is_try(summary):
        out = shlex.quote(shown_path(summary.output or "", here))
        return f"batcher retry {out} --outcome {group.outcome}{change}"
    return f"try again with{change}" if change else "the next try, or the run, asks again"


def _is_try(summary: Summary) -> bool:
    return summary.tried_for is not None
