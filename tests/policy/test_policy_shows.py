"""The figures that the flow control must reach, in simulated client-server pairs."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from flow_simulation import (
    BROKEN,
    UNREACHED,
    Client,
    FailingServer,
    QueueingServer,
    Sent,
    TokenBucketServer,
    around,
    constant,
)

from batcher.errors import LimitReached
from batcher.policy import FlowSettings, Verdict
from batcher.policy.verdict import Action
from batcher.records import Request, Usage

CASES = [
    (depth_s, hint, told, changes)
    for depth_s in (0.1, 1.0)
    for hint, told in (("ms", None), ("s", None), (None, None), ("ms", "requests"))
    for changes in ((), ((50.0, 0.5),), ((50.0, 2.0),))
]


def measured_span(changes: tuple[tuple[float, float], ...]) -> tuple[float, float, float]:
    """(from, to, factor on the allowed rate)."""
    if not changes:
        return 15.0, 60.0, 1.0
    ((_, factor),) = changes
    return (65.0 if factor < 1 else 75.0), 110.0, factor


@pytest.mark.parametrize(("depth_s", "hint", "told", "changes"), CASES)
def test_a_rate_limit_is_used_to_88_percent_and_hardly_ever_met(
    depth_s: float, hint: str | None, told: str | None, changes: tuple[tuple[float, float], ...]
) -> None:
    begin, end, factor = measured_span(changes)
    server = TokenBucketServer(100, depth_s, around(0.3), hint=hint, told=told, changes=changes)
    client = Client(server, FlowSettings()).run(end)
    assert client.rate(begin, end) >= 0.88 * 100 * factor
    assert client.refused(begin, end) <= 0.02


@pytest.mark.parametrize("latency_s", [0.05, 1.0])
@pytest.mark.parametrize("depth_s", [0.1, 1.0])
def test_short_and_long_answers_do_not_change_that(latency_s: float, depth_s: float) -> None:
    client = Client(TokenBucketServer(100, depth_s, around(latency_s)), FlowSettings()).run(60.0)
    assert client.rate(15, 60) >= 88
    assert client.refused(15, 60) <= 0.02


@pytest.mark.parametrize("counted", ["reserved", "used"])
@pytest.mark.parametrize("told", [None, "tokens"])
@pytest.mark.parametrize("depth_s", [0.1, 1.0])
@pytest.mark.parametrize("changes", [(), ((50.0, 0.5),), ((50.0, 2.0),)])
def test_a_token_limit_is_used_as_well(
    counted: str, told: str | None, depth_s: float, changes: tuple[tuple[float, float], ...]
) -> None:
    begin, end, factor = measured_span(changes)
    rng = random.Random(3)
    usages: dict[int, Usage] = {}

    def usage(request: Request) -> Usage:
        made = Usage(rng.randint(60, 140), rng.randint(1, 100))
        return usages.setdefault(request.row_index, made)

    def unit(request: Request) -> float:
        used = usage(request)
        return 200.0 if counted == "reserved" else (used.prompt_tokens or 0) + (used.completion_tokens or 0)

    server = TokenBucketServer(
        8_000, depth_s, around(0.3), told=told, unit=unit, usage=usage, changes=changes
    )
    client = Client(server, FlowSettings()).run(end)
    taken = sum(
        unit(Request(sent.row, b"", "", ""))
        for sent in client.log
        if begin <= sent.back_at < end and sent.verdict.action is Action.KEEP
    )
    assert taken / client.open_s(begin, end) >= 0.88 * 8_000 * factor
    assert client.refused(begin, end) <= 0.02


@pytest.mark.parametrize("service", [constant(1.0), around(1.0), around(0.2)])
def test_a_server_that_queues_is_filled_and_not_flooded(service: object) -> None:
    assert callable(service)
    auto = Client(QueueingServer(32, service), FlowSettings()).run(120.0)
    best = Client(QueueingServer(32, service), FlowSettings(concurrency=32)).run(120.0)
    assert auto.wall_rate(20, 120) >= 0.95 * best.wall_rate(20, 120)
    assert auto.median_latency() <= 2 * best.median_latency()


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_answers_of_scattered_length_leave_no_part_of_a_queueing_server_idle(seed: int) -> None:
    rng = random.Random(seed)
    client = Client(QueueingServer(32, lambda: rng.lognormvariate(math.log(0.28), 0.3)), FlowSettings()).run(
        40.0
    )
    mean_s = 0.28 * math.exp(0.3**2 / 2)
    assert client.wall_rate(12, 40) >= 0.95 * 32 / mean_s
    assert client.median_latency() <= 2 * 0.28


def test_a_wide_endpoint_is_filled_within_twenty_seconds() -> None:
    latency = around(1.0, spread=0.2)
    auto = Client(QueueingServer(2_000, latency), FlowSettings()).run(24.0)
    pinned = Client(QueueingServer(2_000, latency), FlowSettings(concurrency=2_000)).run(24.0)
    assert auto.wall_rate(20, 24) >= 0.9 * pinned.wall_rate(20, 24)


LEAVES_SHARE = 1.03
"""By 5 % may a window exceed its limit; 2 % of that are left for requests that bunch on their way to the server."""


def most_within(sent: list[Sent], span_s: float, *, tokens: bool = False) -> float:
    """The largest sum of any half-open sliding span, by the time of sending."""
    ordered = sorted(sent)
    weights = [float(each.tokens) if tokens else 1.0 for each in ordered]
    most = total = 0.0
    first = 0
    for each, weight in zip(ordered, weights, strict=True):
        total += weight
        while ordered[first].at <= each.at - span_s + 1e-6:
            total -= weights[first]
            first += 1
        most = max(most, total)
    return most


@pytest.mark.parametrize("per_minute", [30, 90, 6_000])
@pytest.mark.parametrize("concurrency", [None, 8, 500])
def test_requests_per_minute_hold_in_every_span(per_minute: int, concurrency: int | None) -> None:
    settings = FlowSettings(concurrency=concurrency, requests_per_minute=per_minute)
    client = Client(FailingServer(around(0.5)), settings).run(150.0)
    for span_s in (1.0, 60.0):
        limit = per_minute * span_s / 60
        assert most_within(client.log, span_s) <= max(limit * LEAVES_SHARE, limit + 1)
    assert client.wall_rate(30, 150) >= min(0.95 * per_minute / 60, 14 if concurrency == 8 else 1e9)


@pytest.mark.parametrize(("used", "max_tokens"), [(Usage(100, 3_900), 3_900), (Usage(100, 50), 400)])
@pytest.mark.parametrize("concurrency", [None, 100])
def test_tokens_per_minute_hold_in_every_span(used: Usage, max_tokens: int, concurrency: int | None) -> None:
    per_minute = 60_000
    settings = FlowSettings(concurrency=concurrency, tokens_per_minute=per_minute)
    server = TokenBucketServer(1e6, 1.0, around(2.0), usage=lambda _: used)
    client = Client(server, settings, max_tokens=max_tokens).run(240.0)
    one = (used.prompt_tokens or 0) + (used.completion_tokens or 0)
    for span_s in (1.0, 60.0):
        limit = per_minute * span_s / 60
        assert most_within(client.log, span_s, tokens=True) <= max(limit * LEAVES_SHARE, limit + one)
    assert client.tokens_rate(60, 240) >= 0.9 * per_minute / 60


@pytest.mark.parametrize("verdict", [BROKEN, UNREACHED])
@pytest.mark.parametrize("concurrency", [None, 200])
def test_an_outage_of_ten_minutes_costs_no_row_and_is_over_within_a_minute(
    verdict: Verdict, concurrency: int | None
) -> None:
    server = FailingServer(around(1.0, spread=0.2), down=(60.0, 660.0), verdict=verdict)
    settings = FlowSettings(concurrency=concurrency, most_concurrency=256)
    client = Client(server, settings).run(740.0)
    assert client.gave_up == {}
    begun_at = max(s.back_at for s in client.log if s.at < 60.0) + 5
    probes = [sent for sent in sorted(client.log) if begun_at <= sent.at < 655.0]
    assert 55 <= len(probes) <= 65
    assert all(second.at >= first.back_at for first, second in pairwise(probes)), "one probe at a time"
    assert len({probe.row for probe in probes}) == len(probes), "each with another row"
    assert client.wall_rate(720, 740) >= 0.9 * client.wall_rate(40, 60)


def test_a_row_that_always_fails_fails_alone() -> None:
    cursed = frozenset({50, 2_000})
    client = Client(FailingServer(around(0.2), cursed=cursed), FlowSettings(most_concurrency=50)).run(60.0)
    healthy = Client(FailingServer(around(0.2)), FlowSettings(most_concurrency=50)).run(60.0)
    assert set(client.gave_up) == cursed
    assert client.answered(0, 60) >= 0.97 * healthy.answered(0, 60)


class Price:
    """USD per million tokens."""

    input = 1.0
    cached_input = None
    output = 10.0


@pytest.mark.parametrize("concurrency", [None, 1, 64, 1_000])
def test_the_spend_never_exceeds_the_budget_and_then_the_run_stops(concurrency: int | None) -> None:
    settings = FlowSettings(concurrency=concurrency, max_cost_usd=0.2, rates_of=lambda _: Price())
    client = Client(FailingServer(around(0.5)), settings).run(600.0)
    spent = sum(100 * 1.0 + 50 * 10.0 for s in client.log if s.verdict.action is Action.KEEP) / 1e6
    assert isinstance(client.stopped, LimitReached)
    assert 0.19 <= spent <= 0.2
    assert client.flow.spend is not None
    assert client.flow.spend.spent_usd == pytest.approx(spent)


def test_the_deadline_ends_a_run() -> None:
    client = Client(FailingServer(around(0.5)), FlowSettings(deadline_s=5.0)).run(600.0)
    assert isinstance(client.stopped, LimitReached)
    assert max(sent.at for sent in client.log) < 5.0
    assert client.flow.overdue(5.0) is not None
