"""The arithmetic of the speed measurements, and their server in small."""

from __future__ import annotations

import json

import httpx
import pytest
from bench_clients import BY_NAME
from bench_figures import Run, cost, costs, middle, ratio, runs_in, table
from bench_server import Delay, reply_of, serving
from scaling import FULL, POINTS, full_spot, spots
from speed import sizes, tasks_of


def run(client: str, rows: int, cpu_s: float, *, turn: int = 0, wall_s: float | None = None) -> Run:
    return Run(
        client, "nginx", 64, "100", rows, turn, cpu_s, wall_s or rows / 500, peak_mib=rows / 100, load=1.0
    )


def test_two_sizes_tell_the_cost_of_a_row_from_that_of_the_start() -> None:
    found = cost(run("a", 1_000, 1.5), run("a", 5_000, 3.5))
    assert found.cpu_us == pytest.approx(500)
    assert found.start_s == pytest.approx(1.0)
    assert found.whole_us == pytest.approx(700)
    assert found.rows_per_s == pytest.approx(500)
    assert found.peak_mib == 50
    assert cost(run("a", 1_000, 1.5, wall_s=9.0), run("a", 5_000, 3.5, wall_s=8.0)).rows_per_s is None


def test_ratios_are_taken_round_by_round_and_a_round_without_both_sizes_counts_nowhere() -> None:
    mine = [
        run("a", n, n * us / 1e6, turn=turn) for turn, us in enumerate((200, 900, 300)) for n in (100, 200)
    ]
    theirs = [
        run("b", n, n * us / 1e6, turn=turn) for turn, us in enumerate((100, 300, 200)) for n in (100, 200)
    ]
    assert ratio(costs(mine), costs(theirs)) == pytest.approx(2.0)
    assert middle(costs(mine).values()).cpu_us == pytest.approx(300)
    assert list(costs(mine[:-1])) == [0, 1]
    assert ratio(costs(mine), {}) is None


def test_the_table_names_who_was_measured_and_leaves_out_who_was_not() -> None:
    runs = [
        run(name, n, n * us / 1e6)
        for name, us in (("bare aiohttp", 200), ("batcher", 250))
        for n in (100, 200)
    ]
    lines = table([*runs, run("saturate", 100, 1.0)])
    assert lines[1] == "64 connections, server delay 100 ms (nginx)"
    assert lines[-1] == "| batcher | 250 | 1.25 | 250 | 0.00 | 500 | 2 | 1 |"
    assert not any("saturate" in line for line in lines)
    assert runs_in(each.to_json() for each in runs) == runs


def test_everybody_has_a_turn_before_anybody_has_a_second_one() -> None:
    clients, delay = [BY_NAME["batcher"], BY_NAME["plain httpx"]], Delay.parse("50-150")
    tasks = tasks_of(clients, [64], [delay], rounds=2, seconds=10.0)
    assert [(task.turn, task.client.name) for task in tasks[::2]] == [
        (turn, client.name) for turn in (0, 1) for client in clients
    ]
    for task in tasks:
        few, many = sizes(task.client, 64, delay, seconds=10.0)
        assert 64 <= few < many
        assert task.span_s < 60
    assert len({task.key for task in tasks}) == len(tasks)


def test_connections_grow_at_equal_rates_and_the_fullest_point_fills_its_share_of_a_core() -> None:
    found = spots(POINTS, rows=[10_000, 100_000], seconds=10.0)
    rates = [spot.limit_per_s for spot in found if spot.name.startswith("connections")]
    assert rates == pytest.approx([640.0] * 4)
    assert all(spot.rows[0] < spot.rows[1] for spot in found)
    assert len({spot.name for spot in found}) == len(found)
    full = full_spot(350.0, seconds=10.0)
    assert full.connections == FULL
    assert full.limit_per_s * 350e-6 == pytest.approx(0.7)
    assert full.delay.most_s / full.delay.least_s == pytest.approx(1.5)


@pytest.mark.parametrize("text", ["-1", "150-50", "soon", ""])
def test_a_delay_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Delay.parse(text)


def test_the_server_answers_with_a_completion_of_the_size_asked_for() -> None:
    assert len(reply_of(1_200)) == pytest.approx(1_200, abs=20)
    with serving(Delay(0.0, 0.01), reply_bytes=3_000) as server:
        said = httpx.post(f"{server.url}/chat/completions", content=b"{}", trust_env=False)
    assert said.headers["x-request-id"]
    assert said.content == reply_of(3_000)
    assert json.loads(said.content)["choices"][0]["message"]["content"]
