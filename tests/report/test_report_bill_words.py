"""A bill in words: every figure that must be seen stands there, and nothing that a model said can draw."""

from __future__ import annotations

from dataclasses import replace

from batcher.report.bill import Apart, Bill, Outlook, Spending
from batcher.report.bill_words import MOST_GROUPS, bill_lines

TOTAL = Spending({}, 200_000, 199_688, 90_000_000, 30_000_000, 4_000_000, 35.81, 0)
BILL = Bill(
    files=3,
    ledgers=1,
    first_day="2026-11-01",
    last_day="2026-11-22",
    prices="genai-prices 0.2.3, newest price of 2026-11-09",
    groups=(replace(TOTAL, by={"request_model": "gpt-4o", "tag_team": None}),),
    total=TOTAL,
    apart=Apart(
        not_ok_usd=0.06,
        tries_usd=0.02,
        tries=2,
        stopped_usd=1.5,
        stopped=1,
        possibly_paid=3,
        possibly_paid_usd=0.01,
    ),
    per_thousand_ok_usd=0.18,
    saved_by_cache_usd=37.5,
)


def test_a_bill_tells_what_was_spent_on_what() -> None:
    assert bill_lines(BILL) == [
        "  request_model   tag_team      rows        ok   prompt tokens       cached   completion     cost",
        "  gpt-4o          -          200,000   199,688      90,000,000   30,000,000    4,000,000   $35.81",
        "  total                      200,000   199,688      90,000,000   30,000,000    4,000,000   $35.81",
        "",
        "  $35.81 spent, $0.18 per 1,000 ok rows (3 files, 1 ledger, 2026-11-01 to 2026-11-22)",
        "    $0.06 of it for rows that are not ok",
        "    $0.02 of it for 2 trials",
        "    $1.50 of it for 1 run without a file here (stopped, at work, or replaced)",
        "  not in any sum: 3 attempts possibly paid and lost, at most about $0.01",
        "  33% of the prompt tokens came from a cache, which saved $37.50",
        "  prices, where a file or the gateway told none: genai-prices 0.2.3, newest price of 2026-11-09",
    ]


def test_the_unknown_is_said_and_not_added_up() -> None:
    partly = replace(BILL, total=replace(TOTAL, unknown_rows=7))
    assert "the cost of 7 rows is unknown: nobody told tokens or dollars" in "\n".join(bill_lines(partly))
    assert "$35.81+?" in "\n".join(bill_lines(partly))
    wholly = replace(BILL, total=replace(TOTAL, cost_usd=None, unknown_rows=7), unpriced_models=("our-own",))
    told = "\n".join(bill_lines(wholly))
    assert "cost unknown" in told
    assert "no price is known for our-own: give one with --prices FILE" in told


def test_outlook_and_other_prices_say_what_they_assume() -> None:
    outlook = Outlook("2026-11", 60.0, 40.0, 2.0, "2026-11-01", 20, 10)
    asked = replace(BILL, outlook=outlook, what_if="gpt-4.1-mini", total=replace(TOTAL, what_if_usd=17.9))
    told = "\n".join(bill_lines(replace(asked, what_if_missing=("grok-2",))))
    assert (
        "forecast for 2026-11: $60.00, if each of the 10 days left costs $2.00, the mean of the 20 days since"
        in told
    )
    assert "what if gpt-4.1-mini: $17.90 (-50%)" in told
    assert "without grok-2: tokens or the other price are unknown" in told


def test_names_from_a_file_cannot_draw_and_are_cut() -> None:
    evil = replace(
        TOTAL, by={"request_model": "\x1b[31mred\x1b]0;title\x07" + "x" * 200, "tag_team": "[bold]a[/bold]\n"}
    )
    lines = bill_lines(replace(BILL, groups=(evil,), notes=("\x1b[2Jgone",), unpriced_models=("\x1b[1mm",)))
    assert all(letter.isprintable() for line in lines for letter in line)
    assert "[bold]a[/bold]" in "\n".join(lines)
    assert max(len(line) for line in lines) < 160


def test_a_long_list_is_cut_and_its_rest_added_up() -> None:
    groups = tuple(replace(TOTAL, by={"day": str(number)}, cost_usd=2.0) for number in range(MOST_GROUPS + 5))
    lines = bill_lines(replace(BILL, groups=groups))
    assert lines[MOST_GROUPS + 1].split() == ["5", "more", "$10.00"]
    assert len(bill_lines(replace(BILL, groups=()))) > 3
