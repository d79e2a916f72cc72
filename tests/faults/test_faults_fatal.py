"""What stops a run writes no row result, costs at most what was in flight, and the same command goes on."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import orjson
import pytest
from runs import LEDGER_KEY, batcher, carry, journal_kinds, make_job, marked, paid_by_content, write_texts

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runs import Ended

    from batcher.simulator import Simulator

ROWS = 800
CONCURRENCY = 16


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0.005", ledger_key=LEDGER_KEY)) as simulator:
        yield simulator


@pytest.fixture
def server(shared: Simulator) -> Simulator:
    shared.control(fail_after={}, faults={}, faults_by_substring={}, api_key=None, models=[])
    shared.reset()
    return shared


def run_into(server: Simulator, folder: Path, mode: str, after: int, *, rows: int = ROWS) -> Ended:
    """A run whose server answers everything with `mode` once it has generated `after` answers."""
    server.control(fail_after={mode: after})
    write_texts(folder / "in.jsonl", marked(rows))
    return carry(make_job(folder, server.base_url, concurrency=CONCURRENCY))


def pays_only_the_rest(server: Simulator, folder: Path, *, rows: int = ROWS) -> None:
    """The same command, once the server is right again, completes; no answer is bought twice."""
    bought = server.totals()["generated"]
    server.control(fail_after={})
    ended = carry(make_job(folder, server.base_url, concurrency=CONCURRENCY))
    assert (ended.exit_code, ended.said.outcomes) == (0, {"ok": rows})
    assert ended.said.sent == rows - bought
    assert set(paid_by_content(server).values()) == {1}
    totals = server.totals()
    assert totals["generated"] == rows
    lines = [orjson.loads(line) for line in (folder / ".batcher" / "ledger.jsonl").read_bytes().splitlines()]
    assert [line["exit_code"] for line in lines][-1] == 0
    assert sum(line["paid_attempts"] for line in lines) == rows, (
        "what every session paid stands in the ledger"
    )
    assert sum(line["attempts"] for line in lines) == totals["requests"]
    assert sum(line["completion_tokens"] for line in lines) == totals["completion_tokens"]


@pytest.mark.parametrize(
    ("mode", "after", "exit_code"),
    [
        ("unauthorized", 0, 5),
        ("unauthorized", 1, 5),
        ("unauthorized", 500, 5),
        ("insufficient_quota", 0, 5),
        ("insufficient_quota", 1, 5),
        ("insufficient_quota", 500, 5),
        ("model_not_found", 0, 2),
        ("model_not_found", 1, 2),
        ("redirect_307", 0, 2),
        ("redirect_307", 500, 2),
    ],
)
def test_a_fatal_reply_stops_the_run_and_the_same_command_completes_it(
    server: Simulator, tmp_path: Path, mode: str, after: int, exit_code: int
) -> None:
    ended = run_into(server, tmp_path, mode, after)
    modes = server.totals()["modes"]
    assert ended.exit_code == exit_code
    assert modes.get("ok", 0) == after, "nothing that was paid is missing from the server's own count"
    assert 1 <= modes[mode] <= (CONCURRENCY if after else 1), "at most what was in flight; the canary alone"
    assert not (tmp_path / "out.parquet").exists()
    assert ended.said.outcomes == ({"ok": after} if after else {})
    kinds = journal_kinds(tmp_path)
    assert (kinds["r"], kinds["e"]) == (after, 0), "answers only, and no row result"
    assert ended.said.rows_done == after
    pays_only_the_rest(server, tmp_path)


def test_an_unknown_model_costs_one_request_and_names_the_model(server: Simulator, tmp_path: Path) -> None:
    server.control(models=["another-model"])
    write_texts(tmp_path / "in.jsonl", marked(50))
    ended = carry(make_job(tmp_path, server.base_url))
    assert ended.exit_code == 2
    assert "simulated-small" in str(ended.error)
    assert len(server.ledger()) == 1
    changed = carry(make_job(tmp_path, server.base_url, model="another-model"))
    assert changed.exit_code == 4, "another model is another request"
    replaced = carry(make_job(tmp_path, server.base_url, model="another-model"), replace=True)
    assert (replaced.exit_code, replaced.said.sent) == (0, 50)


@pytest.mark.parametrize(("after", "rows"), [(0, 30), (0, ROWS), (1, 64), (500, ROWS)])
def test_one_refusal_for_most_rows_stops_the_run_and_they_are_pending_again(
    server: Simulator, tmp_path: Path, after: int, rows: int
) -> None:
    """20 of the first 50, or half of the last 200; also where every row of the run failed before it stopped."""
    ended = run_into(server, tmp_path, "bad_request", after, rows=rows)
    assert ended.exit_code == 10
    assert ended.error is not None
    assert "does not support 0.2" in str(ended.error), "the server's own words"
    refused = server.totals()["modes"]["bad_request"]
    assert refused <= (101 if after == 500 else 20) + CONCURRENCY
    assert not (tmp_path / "out.parquet").exists()
    pays_only_the_rest(server, tmp_path, rows=rows)


def test_a_web_page_is_not_an_api(server: Simulator, tmp_path: Path) -> None:
    ended = run_into(server, tmp_path, "html_200", 0)
    assert ended.exit_code == 2
    assert ended.error is not None
    assert "OpenAI-compatible" in f"{ended.error} {ended.error.hint}"
    assert server.totals()["requests"] <= 6 + CONCURRENCY
    assert journal_kinds(tmp_path)["e"] == 0
    server.control(fail_after={})
    again = carry(make_job(tmp_path, server.base_url))
    assert (again.exit_code, again.said.outcomes) == (0, {"ok": ROWS})


def test_a_404_after_a_hundred_answers_is_an_outage_that_passes(server: Simulator, tmp_path: Path) -> None:
    healed = threading.Event()

    def heal() -> None:
        while not healed.is_set():
            if server.totals()["modes"].get("model_not_found", 0) >= 20:
                server.control(fail_after={})
                return
            time.sleep(0.01)

    watcher = threading.Thread(target=heal)
    watcher.start()
    try:
        ended = run_into(server, tmp_path, "model_not_found", 200)
    finally:
        healed.set()
        watcher.join()
    assert (ended.exit_code, ended.said.outcomes) == (0, {"ok": ROWS})
    assert set(paid_by_content(server).values()) == {1}


def test_nobody_listening_stops_after_three_connections(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(
            ("127.0.0.1", 0)
        )  # bound, not listening: connections are refused, and nobody takes the port
        write_texts(tmp_path / "in.jsonl", marked(20))
        ended = carry(make_job(tmp_path, f"http://127.0.0.1:{held.getsockname()[1]}/v1"))
    assert ended.exit_code == 7
    assert ended.said.sent == 3
    assert ended.said.paid == ended.said.ambiguous == 0
    assert journal_kinds(tmp_path)["e"] == 0


def test_a_missing_key_stops_before_anything_and_names_its_variable(
    server: Simulator, tmp_path: Path
) -> None:
    write_texts(tmp_path / "in.jsonl", marked(3))
    ended = carry(make_job(tmp_path, server.base_url, api_key_env="HOUSE_KEY"), environ={})
    assert ended.exit_code == 5
    assert "$HOUSE_KEY" in str(ended.error)
    assert server.ledger() == []
    assert not (tmp_path / ".batcher").exists()


def test_the_missing_default_key_is_named_on_the_command_line(tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(3))
    ended = batcher(
        *("run", "-i", "in.jsonl", "-o", "out.parquet", "--model", "gpt-4o", "--prompt", "{{ text }}"),
        folder=tmp_path,
        environ={"PIPELLM_API_KEY": ""},
    )
    assert ended.returncode == 5
    assert b"PIPELLM_API_KEY" in ended.stderr
    assert not (tmp_path / ".batcher").exists()


def test_the_default_key_goes_to_no_other_house(server: Simulator, tmp_path: Path) -> None:
    """Not to another base_url by itself, and not when its variable is named for one."""
    environ = {"PIPELLM_API_KEY": "sk-house-0123456789abcdef"}
    write_texts(tmp_path / "in.jsonl", marked(3))
    named = carry(make_job(tmp_path, server.base_url, api_key_env="PIPELLM_API_KEY"), environ=environ)
    assert named.exit_code == 2
    assert server.ledger() == []
    unnamed = carry(make_job(tmp_path, server.base_url), environ=environ)
    assert unnamed.exit_code == 0
    assert not any(entry["authorized"] for entry in server.ledger())


def test_a_wrong_key_is_told_and_the_right_one_completes(server: Simulator, tmp_path: Path) -> None:
    server.control(api_key="sk-right-0123456789abcdef")
    write_texts(tmp_path / "in.jsonl", marked(40))
    job = make_job(tmp_path, server.base_url, api_key_env="HOUSE_KEY")
    wrong = carry(job, environ={"HOUSE_KEY": "sk-wrong-0123456789abcdef"})
    assert (wrong.exit_code, wrong.said.sent) == (5, 1)
    right = carry(job, environ={"HOUSE_KEY": "sk-right-0123456789abcdef\n"})
    assert (right.exit_code, right.said.outcomes) == (0, {"ok": 40})
