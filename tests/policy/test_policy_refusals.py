"""Refusals that the rate does not cause: told apart from a limit, borne, and not for ever."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from flow_simulation import (
    OK,
    REFUSED,
    BusyBackend,
    Client,
    FailingServer,
    Served,
    TokenBucketServer,
    around,
)

from batcher.policy import FlowSettings
from batcher.policy.excess import Excess
from batcher.policy.gate import Gate
from batcher.policy.vain_cuts import VainCuts
from batcher.records import Request

ROW = Request(1, b"{}", "0" * 32, "m")


def given_back(client: Client) -> list[float]:
    """When cuts were given back."""
    return [event.at for event in client.flow.drain_events() if "given back" in event.reason]


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("hint_s", [None, 1.0, 5.0])
@pytest.mark.parametrize(("share", "kept"), [(0.005, 0.8), (0.02, 0.8), (0.05, 0.8), (0.1, 0.6)])
def test_a_busy_backend_of_many_does_not_slow_a_run_down(
    share: float, kept: float, hint_s: float | None, pinned: bool
) -> None:
    settings = FlowSettings(concurrency=64) if pinned else FlowSettings(most_concurrency=64)
    client = Client(BusyBackend(FailingServer(around(1.0)), share, hint_s), settings).run(60.0)
    assert client.wall_rate(15, 60) >= kept * 64
    assert client.gave_up == {}


@pytest.mark.parametrize("hint_s", [None, 5.0])
def test_nor_does_it_after_minutes(hint_s: float | None) -> None:
    server = BusyBackend(FailingServer(around(1.0)), 0.02, hint_s)
    client = Client(server, FlowSettings(most_concurrency=64)).run(240.0)
    assert client.wall_rate(60, 240) >= 0.9 * 64
    times = given_back(client)
    assert 2 <= len(times) <= 4, "judged again after each minute"


@pytest.mark.parametrize("depth_s", [0.1, 1.0])
@pytest.mark.parametrize("share", [0.02, 0.05])
@pytest.mark.parametrize("hint", [None, "s"])
def test_a_limit_is_found_behind_refusals_of_another_cause(
    depth_s: float, share: float, hint: str | None
) -> None:
    limit = TokenBucketServer(100, depth_s, around(0.3), hint=hint)
    client = Client(BusyBackend(limit, share, None if hint is None else 1.0), FlowSettings()).run(60.0)
    assert client.wall_rate(15, 60) >= 88
    assert client.refused(15, 60) <= share + 0.04


@pytest.mark.parametrize("depth_s", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("hint", [None, "s"])
@pytest.mark.parametrize("changes", [(), ((30.0, 0.5),), ((30.0, 0.75),)])
def test_cuts_at_a_limit_are_never_taken_for_vain(
    depth_s: float, hint: str | None, changes: tuple[tuple[float, float], ...]
) -> None:
    server = TokenBucketServer(100, depth_s, around(0.3), hint=hint, changes=changes)
    client = Client(server, FlowSettings()).run(90.0)
    assert given_back(client) == []


def test_a_limit_that_begins_later_is_found_although_some_refusals_are_borne() -> None:
    calm, limited = FailingServer(around(0.3)), TokenBucketServer(50, 0.1, around(0.3))

    def server(request: Request, now: float) -> Served:
        return calm(request, now) if now < 30.0 else limited(request, now)

    client = Client(BusyBackend(server, 0.05), FlowSettings(most_concurrency=64)).run(60.0)
    assert client.wall_rate(15, 30) >= 150
    assert client.wall_rate(40, 60) >= 0.88 * 50
    assert client.refused(40, 60) <= 0.05 + 0.04


@pytest.mark.parametrize("latency_s", [1.0, 2.0, 4.0])
def test_a_slow_start_at_long_latency_does_not_overrun_the_limit_for_long(latency_s: float) -> None:
    client = Client(TokenBucketServer(100, 1.0, around(latency_s), hint=None), FlowSettings()).run(60.0)
    assert client.refused(0, 60) <= 0.05


def gate_with(borne: float = 0.0) -> Gate:
    gate = Gate(window=lambda: 64, rng=random.Random(1), blind=False, borne=lambda: borne)
    for _ in range(10):
        gate.commit(ROW, 0.0)
        gate.on_verdict(OK, 0.0)
    return gate


def refuse(gate: Gate, *, refused: int, among: int) -> bool:
    """Whether so many hints, evenly among so many requests, close it."""
    for n in range(among):
        gate.commit(ROW, 1.0)
        if (n + 1) * refused // among > n * refused // among:
            gate.on_verdict(replace(REFUSED, wait_s=5.0), 1.0)
        else:
            gate.on_verdict(OK, 1.0)
    return gate.ask(ROW, 1.1) is not None


@pytest.mark.parametrize(
    ("refused", "among", "borne", "closes"),
    [
        (1, 1, 0.0, False),
        (20, 200, 0.0, False),
        (20, 20, 0.0, True),
        (100, 200, 0.0, True),
        (60, 200, 0.2, False),
        (180, 200, 0.2, True),
    ],
)
def test_a_hint_closes_the_gate_when_more_than_single_requests_are_refused(
    refused: int, among: int, borne: float, closes: bool
) -> None:
    assert refuse(gate_with(borne), refused=refused, among=among) is closes


def test_the_first_replies_close_it_at_once() -> None:
    gate = Gate(window=lambda: 64, rng=random.Random(1), blind=False)
    gate.on_verdict(replace(REFUSED, wait_s=5.0), 1.0)
    assert gate.ask(ROW, 1.1) is not None


@pytest.mark.parametrize(("share", "is_too_much"), [(0.02, False), (0.08, False), (0.2, True), (0.5, True)])
def test_excess_is_what_goes_beyond_the_share_borne(share: float, is_too_much: bool) -> None:
    excess, rng = Excess(0.1), random.Random(5)
    seen = False
    for _ in range(400):
        excess.sent()
        if rng.random() < share:
            excess.refused()
        seen = seen or excess.is_too_much
    assert seen is is_too_much


def test_refusals_that_come_back_before_the_answers_are_measured_by_what_was_sent() -> None:
    excess = Excess(0.1)
    for _ in range(64):
        excess.sent()
    for _ in range(6):
        excess.refused()
    assert not excess.is_too_much


def series(*, cuts: int = 3, sent: int = 100, open_s: float = 2.0) -> VainCuts:
    """Of 100 a second, each cut after 2 s and one refusal."""
    made = VainCuts(100.0, 0.0)
    for _ in range(cuts):
        made.cut_again(refused=1, sent=sent, span_s=2.0, open_s=open_s)
    return made


def test_cuts_are_vain_when_three_measured_ones_to_three_quarters_ended_nothing() -> None:
    assert series().are_vain(75.0, refused=1, sent=50)
    assert not series().are_vain(76.0, refused=1, sent=50), "not cut enough"
    assert not series(cuts=2).are_vain(60.0, refused=5, sent=50), "too few cuts"
    assert not series(open_s=1.0).are_vain(60.0, refused=5, sent=50), "the gate was shut"
    assert not series(sent=3).are_vain(60.0, refused=40, sent=50), "a flood"
    helped = series()
    helped.raised()
    assert not helped.are_vain(60.0, refused=5, sent=50), "raised since"
