"""The summary, word for word as the design shows it; money and durations as people read them; safe text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

import pytest
from report_samples import HERE, LABELS

from batcher.engine.judging import SCHEMA_MISMATCH
from batcher.policy.table import RULES_ELSEWHERE, TEMPLATES
from batcher.report import FailureGroup, Summary, harmless, summary_lines, wording
from batcher.report.wording import duration, money, shown_path


def lines_of(summary: Summary, *, here: PurePath = HERE) -> list[str]:
    return summary_lines(summary, here=here)


def advice_for(kind: str, *, outcome: str = "failed", summary: Summary = LABELS) -> str:
    lines = lines_of(replace(summary, failures=(FailureGroup(outcome, kind, None, 7),)))
    return lines[2].strip()


# --- the whole


def test_the_summary_reads_as_the_design_shows_it() -> None:
    assert "\n".join(lines_of(LABELS)) == (
        "  labels.parquet  200,000 rows, verified · 18 min 29 s · $35.81"
        " ($0.18 per 1,000 ok rows; $0.06 of it for repeated attempts)\n"
        "    ok 199,688 · truncated 41 · refused 19 · failed 240 · invalid 12\n"
        "    198 failed  context too long: longest 141,002 tokens   no retry helps: shorten the prompt\n"
        "     41 truncated at 64 tokens     batcher retry labels.parquet --outcome truncated"
        " --set request.max_completion_tokens=256"
    )


def test_a_run_where_all_is_well_is_two_lines() -> None:
    summary = Summary(verb="run", output="/data/o.parquet", rows_total=3, outcomes={"ok": 3}, cost_usd=0.0)
    assert lines_of(replace(summary, elapsed_s=4.21)) == [
        "  o.parquet  3 rows, verified · 4.2 s · $0.00",
        "    ok 3",
    ]


def test_an_empty_output_still_says_what_came_of_its_rows() -> None:
    summary = Summary(verb="run", output="/data/o.parquet", rows_total=0)
    assert lines_of(summary) == ["  o.parquet  0 rows, verified · 0.0 s · 0 + 0 tokens", "    ok 0"]


def test_a_run_that_was_finished_says_that_nothing_was_sent() -> None:
    first = lines_of(replace(LABELS, finished_before=True))[0]
    assert "complete since an earlier session, nothing was sent" in first
    assert "18 min" not in first


def test_a_simulated_run_says_so_before_anything_else() -> None:
    assert lines_of(replace(LABELS, simulated=True))[0].startswith("  SIMULATED")


def test_without_a_price_tokens_stand_for_dollars_and_the_line_to_add_is_shown() -> None:
    summary = replace(
        LABELS, cost_usd=None, prompt_tokens=1_200_000, completion_tokens=450, unpriced_model="gpt-4o"
    )
    assert lines_of(summary)[0].endswith(
        '1,200,000 + 450 tokens (no dollars: add [prices."gpt-4o"] to the job)'
    )


def test_dollars_that_are_unknown_for_want_of_usage_are_not_blamed_on_a_price() -> None:
    summary = replace(LABELS, cost_usd=None, prompt_tokens=0, completion_tokens=0, unpriced_model="gpt-4o")
    assert lines_of(summary)[0].endswith("0 + 0 tokens (no dollars: the endpoint reported no usage)")


def test_reuse_crashes_damage_and_notes_have_a_line_each() -> None:
    summary = replace(
        LABELS,
        failures=(),
        reused=1_050,
        possibly_paid=((1, 7), (2, 3), (2, 7)),
        damaged=2,
        warnings=("more than a fifth is truncated\x1b[2J",),
    )
    assert lines_of(summary)[2:] == [
        "    1,050 answers were taken over; they cost nothing",
        "    2 rows may have been paid twice after an interruption: row_index 3, 7",
        "    2 damaged journal records were found; their rows ran again",
        "    note: more than a fifth is truncated[2J",
    ]


def test_of_many_possibly_paid_rows_the_first_eight_are_named() -> None:
    line = wording.possibly_paid_line(replace(LABELS, possibly_paid=tuple((1, n) for n in range(64))))
    assert line == (
        "    64 rows may have been paid twice after an interruption: row_index 0, 1, 2, 3, 4, 5, 6, 7, …"
    )


def test_the_summary_of_a_try_names_the_output_it_was_for() -> None:
    tried = replace(
        LABELS,
        verb="try",
        output="/data/.batcher/labels.parquet.run/tries/001.part",
        tried_for="/data/labels.parquet",
        try_number=1,
        rows_total=20,
        outcomes={"ok": 20},
        failures=(),
        cost_usd=None,
        elapsed_s=2,
    )
    assert lines_of(tried)[0] == "  try 1 of labels.parquet  20 rows, verified · 2.0 s · 0 + 0 tokens"


def test_a_limit_is_raised_under_the_name_that_the_job_gave_it() -> None:
    named = replace(LABELS, limit_named_by="max_tokens")
    assert advice_for("", outcome="truncated", summary=named).endswith("--set request.max_tokens=256")


def test_a_try_never_advises_to_retry_its_part() -> None:
    tried = replace(
        LABELS, verb="try", output="/data/x/001.part", tried_for="/data/labels.parquet", try_number=1
    )
    assert advice_for("", outcome="truncated", summary=tried) == (
        "7 truncated at 64 tokens     try again with --set request.max_completion_tokens=256"
    )
    for kind in ("no_reply", "throttled", "invalid_row"):
        assert "batcher retry" not in advice_for(kind, summary=tried)
    assert "--replace" not in advice_for("invalid_row", outcome="invalid", summary=tried)


# --- failures and advice


def test_every_kind_of_failure_that_has_its_own_words_exists() -> None:
    known = {verdict.error_type for verdict in TEMPLATES.values()} | set(RULES_ELSEWHERE) | {SCHEMA_MISMATCH}
    assert set(wording._SAID) <= known
    assert set(wording._ADVICE) <= known


@pytest.mark.parametrize(
    ("kind", "outcome", "said"),
    [
        ("no_reply", "failed", "7 failed  no reply   batcher retry labels.parquet --outcome failed"),
        ("bad_request", "failed", "7 failed  bad request"),
        ("moderated", "refused", "7 refused  declined by a filter   no retry helps: the filter would decline again"),
        ("refused", "refused", "7 refused  refused"),
        (
            "throttled",
            "failed",
            "7 failed  throttled   batcher retry labels.parquet --outcome failed, when the endpoint is less busy",
        ),
        ("invalid_row", "invalid", "7 invalid  invalid row   never sent: repair the rows, then run with --replace"),
    ],
)  # fmt: skip
def test_the_advice_is_what_helps(kind: str, outcome: str, said: str) -> None:
    assert advice_for(kind, outcome=outcome) == said


def test_truncated_rows_without_a_limit_of_the_job_get_a_plain_command() -> None:
    assert advice_for("", outcome="truncated", summary=replace(LABELS, token_limit=None)) == (
        "7 truncated     batcher retry labels.parquet --outcome truncated"
    )


def test_examples_are_harmless_and_short() -> None:
    group = FailureGroup("failed", "bad_request", None, 1, "\x1b]0;title\x07" + "x" * 500)
    line = lines_of(replace(LABELS, failures=(group,)))[2]
    assert "\x1b" not in line
    assert "\x07" not in line
    assert len(line) < 140


def test_more_kinds_than_fit_are_counted_and_nothing_is_lost() -> None:
    groups = tuple(FailureGroup("failed", f"kind_{n}", None, 1_000 - n) for n in range(12))
    lines = lines_of(replace(LABELS, failures=groups))[2:]
    assert len(lines) == wording.MOST_GROUPS + 1
    assert lines[-1] == f"    {sum(group.rows for group in groups[8:]):,} rows for 4 other reasons"
    assert lines[0].startswith("    1,000 failed  kind 0")
    assert lines[1].startswith("      999 failed  kind 1"), "the numbers stand in one column"


def test_the_largest_group_comes_first_whatever_the_order() -> None:
    assert [line.split()[0] for line in lines_of(LABELS)[2:]] == ["198", "41"]


# --- paths


@pytest.mark.parametrize(
    ("path", "here", "shown"),
    [
        ("/data/out.parquet", "/data", "out.parquet"),
        ("/data/a/b/out.parquet", "/data", "a/b/out.parquet"),
        ("/data/out.parquet", "/data/deep", "../out.parquet"),
        ("/o.parquet", "/very/deep/down/here", "/o.parquet"),
        ("/data/o.parquet", "/", "data/o.parquet"),
        ("out.parquet", "/data", "out.parquet"),
    ],
)
def test_a_path_is_relative_where_that_is_shorter(path: str, here: str, shown: str) -> None:
    assert shown_path(path, PurePath(here)) == shown


def test_a_long_output_path_is_shown_from_here_in_summary_and_advice() -> None:
    deep = "/data/a very/long/path to/labels.parquet"
    lines = lines_of(replace(LABELS, output=deep))
    assert lines[0].startswith("  a very/long/path to/labels.parquet  200,000 rows")
    assert "batcher retry 'a very/long/path to/labels.parquet' --outcome truncated" in lines[3]


def test_a_path_with_control_characters_cannot_rewrite_the_terminal() -> None:
    assert "\x1b" not in "".join(lines_of(replace(LABELS, output="/data/a\x1b[2Jb.parquet", failures=())))


# --- numbers


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"), (4.21, "4.2 s"), (9.94, "9.9 s"), (9.96, "10 s"), (42.4, "42 s"), (59.4, "59 s"),
        (59.6, "1 min 00 s"), (1_109.2, "18 min 29 s"), (3_599.4, "59 min 59 s"), (3_599.6, "1 h 00 min"),
        (11_130, "3 h 05 min"), (90_000, "25 h 00 min"),
    ],
)  # fmt: skip
def test_durations_never_say_sixty(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (0, "$0.00"), (35.81, "$35.81"), (1234.5, "$1,234.50"), (0.01, "$0.01"), (0.0018, "$0.0018"),
        (0.00012, "$0.00012"), (0.000001, "under $0.00001"),
    ],
)  # fmt: skip
def test_money_shows_small_sums_too(usd: float, said: str) -> None:
    assert money(usd) == said


def test_harmless_text_keeps_letters_of_all_scripts_and_no_control() -> None:
    assert harmless("Grüße 漢字 👋") == "Grüße 漢字 👋"
    assert harmless("a\r\nb\tc") == "a  b c"
    assert harmless("\x1b[31mred\x1b[0m\x00\x07\x7f\x9b") == "[31mred[0m"
    assert harmless("\u202egnp.exe\u2066\u200f") == "gnp.exe", (
        "no text that turns around what stands beside it"
    )
