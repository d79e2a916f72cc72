"""Every reason that can hold a run has words, with what matters of it now; the summary tells only what was notable."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from report_samples import HERE, LABELS

from batcher.policy import Charge, FlowSettings, FlowState
from batcher.policy.admit import PROOF
from batcher.policy.found_pace import PACED
from batcher.policy.pace import REQUESTS, TOKENS
from batcher.policy.table import TEMPLATES
from batcher.policy.verdict import Action
from batcher.report import Standing, summary_lines, terminal_line
from batcher.report.wording import HELD, flow_words, held_line, held_words
from batcher.verbs.held import CPU, DISK, STOPPING, WINDOW

if TYPE_CHECKING:
    from collections.abc import Mapping

AT = 1_700_000_000.0  # 22:13:20 UTC
FLOW: Mapping[str, Any] = {
    "window": {"limit": 64, "most": 4096, "in_flight": 61, "mode": "growing"},
    "limits": {
        "requests_per_minute": 6_000.0,
        "tokens_per_minute": 90_000.0,
        "told_by_server": {"requests": 6_000.0, "tokens": None},
    },
    "pace": {"requests_per_minute": 5_420.4},
    "gate": {"open": False, "opens_in_s": 7_800.0, "reason": "parked", "shut_s": 12.0},
    "breaker": {"open": True, "failed_probes": 2, "next_probe_s": 4.2, "retries_left": 50.0},
    "budget": {"max_cost_usd": 5.0, "spent_usd": 3.2, "reserved_usd": 0.4},
    "deadline": {"left_s": 725.0},
}


def test_every_reason_of_the_flow_control_and_of_the_board_has_words() -> None:
    shutting = {
        verdict.rule.replace("_", " ")
        for verdict in TEMPLATES.values()
        if Charge.T in verdict.charges and verdict.action is not Action.PARK
    }
    named = {"deadline", "budget", "parked", "endpoint down", PROOF, "canary", "ramp", "memory"}
    assert set(HELD) == shutting | named | {REQUESTS, TOKENS, PACED, WINDOW, CPU, DISK, STOPPING, "dataset"}


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("rate limit (tokens/min)", "rate limit (tokens/min)"),
        ("rate limit (found)", "rate limit (found by refusals, 5,420 requests/min)"),
        ("endpoint down", "endpoint down, next probe in 4.2 s"),
        ("parked", "parked until 00:23 UTC (in 2 h 10 min)"),
        ("rate limit", "rate limit, the endpoint asks to wait 2 h 10 min"),
        ("window", "window (64 in flight)"),
        ("cpu", "our own CPU"),
        ("something new {here}", "something new {here}"),
    ],
)
def test_the_words_say_what_matters_now(reason: str, said: str) -> None:
    assert held_words(reason, FLOW, at=AT) == said


@pytest.mark.parametrize("reason", HELD)
def test_the_words_need_no_state(reason: str) -> None:
    said = held_words(reason, {}, at=AT)
    assert said
    assert "{" not in said
    assert "None" not in said


def test_a_probe_on_its_way_is_not_announced() -> None:
    flow = {"breaker": {"open": True, "next_probe_s": None}}
    assert held_words("endpoint down", flow, at=AT) == "endpoint down, a probe is under way"


def test_the_progress_line_uses_the_words_until_the_run_drains() -> None:
    standing = Standing(5, 10, None, 0, 64, held_by="parked", flow=FLOW, ts=AT)
    assert terminal_line(standing).endswith("held by: parked until 00:23 UTC (in 2 h 10 min)")
    assert "held by" not in terminal_line(replace(standing, draining=True))


@pytest.mark.parametrize(
    ("held_s", "elapsed_s", "said"),
    [
        (
            {
                "rate limit (found)": 130.0,
                "rate limit": 60.0,
                "endpoint down": 40.0,
                "window": 900.0,
                "dataset": 3.0,
            },
            1_200.0,
            "held: rate limit 3 min 10 s, endpoint down 40 s",
        ),
        ({"cpu": 11.0, "budget": 10.0}, 600.0, "held: our own CPU 11 s, budget 10 s"),
        ({"rate limit": 2.5}, 20.0, "held: rate limit 2.5 s"),
        ({"rate limit": 1.9}, 2.0, None),
        ({"window": 500.0, "canary": 15.0, "ramp": 12.0}, 600.0, None),
        ({}, 600.0, None),
    ],
)
def test_only_what_held_notably_is_told_afterwards(
    held_s: Mapping[str, float], elapsed_s: float, said: str | None
) -> None:
    assert held_line({"held_s": held_s}, elapsed_s=elapsed_s) == said


def test_the_summary_has_one_line_more_when_something_held() -> None:
    held = replace(LABELS, flow={"held_s": {"endpoint down": 40.0}})
    assert summary_lines(held, here=HERE)[2] == "    held: endpoint down 40 s"
    assert summary_lines(replace(held, flow={}), here=HERE) == summary_lines(LABELS, here=HERE)
    assert not any("held" in line for line in summary_lines(replace(held, finished_before=True), here=HERE))


def test_the_state_reads_as_window_paces_budget_and_deadline() -> None:
    assert flow_words(FLOW) == [
        "window 64 (growing), 61 in flight",
        "pace 6,000 requests/min (told by the endpoint)",
        "pace 90,000 tokens/min (as set)",
        "pace 5,420 requests/min (found)",
        "budget $5.00: $3.20 spent, $0.40 reserved",
        "deadline in 12 min 05 s",
    ]
    assert flow_words({}) == []


def test_the_words_fit_what_the_flow_control_really_tells() -> None:
    settings = FlowSettings(requests_per_minute=600, tokens_per_minute=9e4, max_cost_usd=5, deadline_s=60)
    flow = FlowState.from_settings(settings, rng=random.Random(1), now=0.0)
    assert flow_words(flow.state(10.0)) == [
        "window 4 (slow start), 0 in flight",
        "pace 600 requests/min (as set)",
        "pace 90,000 tokens/min (as set)",
        "budget $5.00: $0.00 spent, $0.00 reserved",
        "deadline in 50 s",
    ]
