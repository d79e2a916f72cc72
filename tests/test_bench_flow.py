"""The arithmetic of the flow-control measurements, and one of them in small."""

from __future__ import annotations

import pytest
from flow_figures import (
    WEIGHTS,
    Seen,
    answered,
    median_latency_s,
    most_at_once,
    most_within,
    refused_share,
    seen_in,
    shut_s,
    spent_usd,
    throughput,
)
from flow_run import Figures, measure
from flow_servers import BY_NAME, CONTEST, SERVERS, Change, Server, of_show
from flow_table import best_pinned, judge, table

from batcher.simulator import SimulatorConfig


def ok(at: float, back_at: float | None, **more: int) -> Seen:
    return Seen(at, back_at, 200, **more)


def refused(at: float, told_wait_s: float | None = None) -> Seen:
    return Seen(at, at + 0.25, 429, told_wait_s)


def figures(client: str = "auto", *, show: int = 1, **changes: object) -> Figures:
    plain: dict[str, object] = {
        "show": show,
        "server": "a",
        "client": client,
        "seconds": 60.0,
        "allowed_per_s": 100.0,
        "unit": "requests",
        "achieved_per_s": 90.0,
        "share": 0.9,
        "wall_share": 0.8,
        "refused": 0.01,
        "median_s": 0.3,
        "window": 40.0,
        "in_flight": 35,
        "failed": 0,
        "shut_s": 5.0,
        "requests": 6_000,
        "cpu": 0.2,
        "load": 1.0,
    }
    return Figures(**(plain | changes))  # type: ignore[arg-type]


def test_the_ledger_is_read_in_order_of_arrival_from_its_first_request_on() -> None:
    entry = {
        "received_at": 110.0,
        "replied_at": 111.5,
        "status": 200,
        "told_wait_s": None,
        "limit_tokens": 172,
        "prompt_tokens": 70,
        "completion_tokens": 20,
    }
    earlier = entry | {"received_at": 100.0, "replied_at": None, "limit_tokens": None}
    assert seen_in([entry, earlier]) == [
        Seen(0.0, None, 200, None, 0, 90),
        Seen(10.0, 11.5, 200, None, 172, 90),
    ]
    assert seen_in([]) == []


@pytest.mark.parametrize(
    ("seen", "shut"),
    [
        ([], 0.0),
        ([refused(1.75, 3.0)], 3.0),
        ([refused(1.75, 3.0), refused(2.75, 1.0), refused(3.75, 2.0)], 4.0),  # overlapping waits count once
        ([refused(1.75, 1.0), refused(5.75, 1.0)], 2.0),
        ([refused(-2.25, 3.0), refused(9.25, 8.0)], 1.5),  # only what lies within the span
        ([refused(1.75), ok(2.0, 3.0)], 0.0),
    ],
)
def test_time_in_which_a_told_wait_runs_is_not_counted(seen: list[Seen], shut: float) -> None:
    assert shut_s(seen, 0.0, 10.0) == pytest.approx(shut)
    answers = [ok(at, at + 0.5) for at in range(10)]
    assert throughput([*seen, *answers], 0.0, 10.0) == pytest.approx(
        (10 + sum(s.status == 200 for s in seen)) / (10 - shut)
    )


def test_a_gate_that_was_never_open_has_no_throughput() -> None:
    assert throughput([refused(-1.0, 50.0)], 0.0, 10.0) is None


def test_answers_count_when_they_are_written_and_by_the_unit_of_the_limit() -> None:
    seen = [ok(0.0, 9.99, reserved=172, used=90), ok(9.0, 10.0, used=5), ok(9.0, None), refused(5.0)]
    assert answered(seen, 0.0, 10.0) == 1
    assert answered(seen, 0.0, 10.0, weight=WEIGHTS["used"]) == 90
    assert answered(seen, 10.0, 20.0, weight=WEIGHTS["used"]) == 5
    assert throughput(seen, 0.0, 10.0, weight=WEIGHTS["reserved"]) == pytest.approx(17.2)
    assert refused_share(seen, 0.0, 6.0) == 0.5
    assert refused_share(seen, 20.0, 30.0) is None
    assert median_latency_s([ok(0.0, 1.0), ok(0.0, 3.0), ok(0.0, 2.0), refused(0.0)]) == 2.0
    assert median_latency_s([refused(0.0)]) is None


def test_everything_generated_is_spent_whether_or_not_it_came_home() -> None:
    made: dict[str, object] = {"generated": True, "prompt_tokens": 70, "completion_tokens": 20}
    entries = [made, made | {"status": None}, made | {"generated": False}]
    assert spent_usd(entries, (1.0, 10.0)) == pytest.approx(2 * 270 / 1e6)


def test_the_fullest_window_is_found_wherever_it_lies() -> None:
    at = [0.0, 0.4, 0.95, 1.39, 1.4, 5.0]
    weighed = [(each, 1.0) for each in at]
    assert most_within(weighed, 1.0) == 4  # 0.4 to just under 1.4: half open
    assert most_within(weighed, 60.0) == 6
    assert most_within([(0.0, 10.0), (0.5, 2.0), (1.2, 9.0)], 1.0) == 12
    assert most_within([], 1.0) == 0


def test_most_at_once_counts_only_what_arrived_in_the_span() -> None:
    seen = [ok(0.0, 100.0), ok(10.0, 11.0), ok(11.0, 12.0), ok(11.5, None), ok(30.0, 31.0)]
    assert most_at_once(seen, 5.0, 20.0) == 2  # a reply makes room for an arrival at the same moment
    assert most_at_once(seen, 0.0, 20.0) == 3
    assert most_at_once([], 0.0, 1.0) == 0


def test_only_auto_is_judged_and_by_what_its_requirement_asks() -> None:
    assert judge(figures("64", share=0.1), []) == []
    assert all(each.is_met for each in judge(figures(), []))
    for worse in ({"share": 0.87}, {"share": None}, {"refused": 0.03}, {"failed": 1}, {"odd": "ended early"}):
        assert sum(not each.is_met for each in judge(figures(**worse), [])) == 1, worse
    by_user = figures(show=4, window_1s=1.01, window_60s=0.99)
    assert [each.is_met for each in judge(by_user, [])] == [False, True]
    capped = figures("32", show=6, spent=1.001)
    assert [each.is_met for each in judge(capped, [])] == [False, True, True]
    away = figures(show=5, probes=2, recovered=0.5)
    assert [each.is_met for each in judge(away, [])] == [False, False, True]


def test_the_best_pinned_number_is_the_smallest_latency_among_the_fastest() -> None:
    pinned = [
        figures("24", achieved_per_s=80.0, median_s=0.28),
        figures("32", achieved_per_s=99.0, median_s=0.30),
        figures("64", achieved_per_s=100.0, median_s=0.60),
    ]
    auto = figures(show=2, achieved_per_s=95.0, median_s=0.59)
    assert best_pinned([auto, *pinned]) is pinned[1]
    assert all(each.is_met for each in judge(auto, pinned))
    slower = figures(show=2, achieved_per_s=94.0, median_s=0.61)
    assert [each.is_met for each in judge(slower, pinned)] == [False, False, True]
    assert best_pinned([auto]) is None


def test_every_row_of_the_table_stands_under_its_heading() -> None:
    heading, one, two = table([figures(), figures("1024", achieved_per_s=None, share=None, odd="")])
    assert heading.endswith("asked")
    assert "share 90.0% >= 88%" in one
    assert one.index(" 90.0% ") == heading.index("share") - 1
    assert two.startswith("a       1024 ")


def test_every_server_is_named_once_and_belongs_to_a_requirement() -> None:
    assert len(BY_NAME) == len(SERVERS)
    assert {server.show for server in SERVERS} == {1, 2, 3, 4, 5, 6}
    assert {server.show for server, _ in of_show(CONTEST)} == {1, 2, 3}
    assert all(server.allowed_per_s > 0 and server.rows(60.0) < 200_000 for server in SERVERS)


def test_a_measurement_in_small_finds_what_the_server_allows_and_that_it_was_changed() -> None:
    server = Server(
        name="small",
        show=1,
        config=SimulatorConfig(rps=20, burst_s=0.1, latency="fixed:0.01", max_sentences=1),
        allowed_per_s=40.0,
        measured_from_s=0.5,
        measured_s=1.5,
        changes=(Change(at_s=0.3, settings={"rps": 40}),),
    )
    found = measure(server, "4", seconds=2.0)
    assert (found.odd, found.failed, found.window) == ("", 0, 4.0)
    assert 0.5 < found.wall_share <= 1.1
    assert found.requests > 30
    assert 0 < found.in_flight <= 4
