"""The running server: HTTP, ledger, limits, queue, control, and its end."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson
import pytest
from simulator_wire import KEY, ask, chat, connect, post, read_all, read_reply

from batcher.simulator import SimulatorConfig, SimulatorError, launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.simulator import Simulator

FAST = SimulatorConfig(latency="fixed:0", ledger_key=r"row (\d+)")


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with launch(FAST) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.control(**orjson.loads(FAST.to_json()))
    running.reset()
    return running


def test_connection_is_kept_alive_and_pipelined_requests_are_answered_in_order(simulator: Simulator) -> None:
    with connect(simulator.port) as sock:
        sock.sendall(post(chat("row 1"), keep=True) + post(chat("row 2"), keep=True) + post(chat("row 3")))
        data = read_all(sock).data
    ids = [f"chatcmpl-{entry['content_hash']}".encode() for entry in simulator.ledger()]
    assert [entry["key"] for entry in simulator.ledger()] == ["1", "2", "3"]
    assert data.count(b"HTTP/1.1 200 OK") == 3
    assert sorted(ids, key=data.find) == ids
    assert simulator.totals()["max_in_flight"] == 1


def test_request_may_come_byte_by_byte_and_in_chunks(simulator: Simulator) -> None:
    body = chat("row 5")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    framed = b"%x\r\n%b\r\n%x;ext=1\r\n%b\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    with connect(simulator.port) as sock:
        for value in head + framed:
            sock.sendall(bytes((value,)))
        assert read_all(sock).status == 200
    assert simulator.ledger()[0]["key"] == "5"


def test_client_that_expects_continue_gets_it(simulator: Simulator) -> None:
    request = post(chat(), extra="expect: 100-continue\r\n")
    head, _, body = request.partition(b"\r\n\r\n")
    with connect(simulator.port) as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_all(sock).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"\x16\x03\x01" * 30_000,
    ],
)
def test_bytes_that_are_no_request_get_400_and_the_door(simulator: Simulator, request_bytes: bytes) -> None:
    with connect(simulator.port) as sock:
        sock.sendall(request_bytes)
        assert sock.recv(100).startswith(b"HTTP/1.1 400 ")
    assert ask(simulator.port, b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n").status == 200


def test_tls_client_fails_at_once(simulator: Simulator) -> None:
    with connect(simulator.port) as sock, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")


def test_models_and_unknown_routes(simulator: Simulator) -> None:
    assert (
        ask(simulator.port, b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n").json["object"] == "list"
    )
    assert ask(simulator.port, b"GET /v1/nothing HTTP/1.0\r\n\r\n").status == 404


def test_ledger_counts_attempts_by_content_and_what_was_paid_again(simulator: Simulator) -> None:
    for text in ("row 1", "row 2", "row 1"):
        ask(simulator.port, post(chat(text)))
    entries = simulator.ledger()
    assert [(e["sequence"], e["key"], e["attempt"]) for e in entries] == [
        (1, "1", 1),
        (2, "2", 1),
        (3, "1", 2),
    ]
    assert all(e["received"] and e["generated"] and e["complete"] and e["status"] == 200 for e in entries)
    assert all(e["replied_at"] >= e["received_at"] for e in entries)
    totals = simulator.totals()
    assert (totals["generated"], totals["paid_again"], totals["delivered"]) == (3, 1, 3)
    assert totals["prompt_tokens"] == sum(e["prompt_tokens"] for e in entries)
    assert totals["completion_tokens"] == sum(e["completion_tokens"] for e in entries)
    assert totals["bytes_written"] == sum(e["bytes_written"] for e in entries)


def test_ledger_never_holds_a_key(simulator: Simulator) -> None:
    ask(simulator.port, post(chat("row 1")))
    assert simulator.ledger()[0]["authorized"] is True
    assert KEY not in str(simulator.ledger())


def test_ledger_without_entries_keeps_totals(simulator: Simulator) -> None:
    simulator.control(ledger=False)
    ask(simulator.port, post(chat("row 1")))
    assert simulator.ledger() == []
    assert simulator.totals()["generated"] == 1


def test_answer_nobody_waited_for_is_paid_but_not_complete(simulator: Simulator) -> None:
    simulator.control(latency="fixed:3600")
    with connect(simulator.port) as sock:
        sock.sendall(post(chat("row 1")))
        while simulator.totals()["generated"] == 0:
            pass
    while simulator.totals()["in_flight"]:
        pass
    [entry] = simulator.ledger()
    assert (entry["generated"], entry["complete"], entry["bytes_written"]) == (True, False, 0)


def test_request_that_never_came_whole_is_not_received(simulator: Simulator) -> None:
    with connect(simulator.port) as sock:
        sock.sendall(post(chat("row 1"))[:-5])
    while simulator.totals()["requests"] == 0:
        pass
    [entry] = simulator.ledger()
    assert (entry["mode"], entry["received"], entry["generated"]) == ("aborted", False, False)


def test_reply_larger_than_the_socket_buffers_is_complete_only_when_read(simulator: Simulator) -> None:
    simulator.control(faults={"body_over_64_mib": 1}, huge_body_bytes=30_000_000)
    with connect(simulator.port) as sock:
        sock.sendall(post(chat("row 1")))
        sock.recv(1000)
        assert simulator.ledger()[0]["complete"] is False
        assert len(read_all(sock).data) > 29_000_000
    assert simulator.ledger()[0]["complete"] is True


def test_answer_in_one_write_is_complete_only_when_it_left(simulator: Simulator) -> None:
    simulator.control(max_sentences=2000)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # otherwise the kernel swallows it
        sock.connect(("127.0.0.1", simulator.port))
        sock.sendall(post(chat("row 1", n=128)))
        sock.recv(1000)
        assert simulator.ledger()[0]["complete"] is False
        read_all(sock)
    assert simulator.ledger()[0]["complete"] is True


@pytest.mark.parametrize("k", [0, 1, 5])
def test_fail_after_lets_exactly_k_answers_pass_until_reconfigured(simulator: Simulator, k: int) -> None:
    simulator.control(fail_after={"unauthorized": k})
    statuses = [ask(simulator.port, post(chat(f"row {row}"))).status for row in range(8)]
    assert statuses == [200] * k + [401] * (8 - k)
    simulator.control(fail_after={})
    assert ask(simulator.port, post(chat("row 9"))).status == 200
    assert simulator.totals()["generated"] == k + 1


def test_fail_after_counts_concurrent_answers_before_they_are_sent(simulator: Simulator) -> None:
    simulator.control(fail_after={"insufficient_quota": 3}, latency="fixed:0.01")
    socks = [connect(simulator.port) for _ in range(8)]
    for row, sock in enumerate(socks):
        sock.sendall(post(chat(f"row {row}")))
    assert sorted(str(read_all(sock).status) for sock in socks) == ["200"] * 3 + ["429"] * 5
    for sock in socks:
        sock.close()


def test_lower_latency_overtakes_higher(simulator: Simulator) -> None:
    simulator.control(latency="fixed:0.2")
    with connect(simulator.port) as slow, connect(simulator.port) as fast:
        slow.sendall(post(chat("row 1")))
        while simulator.totals()["requests"] == 0:
            pass
        simulator.control(latency="fixed:0")
        fast.sendall(post(chat("row 2")))
        read_all(fast)
        assert simulator.ledger()[0]["replied_at"] is None
        read_all(slow)
    first, second = simulator.ledger()
    assert first["replied_at"] > second["replied_at"]
    assert first["replied_at"] - first["received_at"] >= 0.19


def test_capacity_queues_in_order_and_serves_only_so_many(simulator: Simulator) -> None:
    simulator.control(capacity=1, latency="fixed:0.01")
    socks = [connect(simulator.port) for _ in range(4)]
    for row, sock in enumerate(socks):
        sock.sendall(post(chat(f"row {row}")))
        while simulator.totals()["requests"] <= row:
            pass
    for sock in socks:
        assert read_all(sock).status == 200
        sock.close()
    replied = [entry["replied_at"] for entry in simulator.ledger()]
    assert replied == sorted(replied)
    assert all(later - earlier >= 0.009 for earlier, later in pairwise(replied))


def test_fail_after_holds_for_requests_that_waited_in_the_queue(simulator: Simulator) -> None:
    simulator.control(capacity=1, latency="fixed:0.3", fail_after={"unauthorized": 2})
    socks = [connect(simulator.port) for _ in range(3)]
    for row, sock in enumerate(socks):
        sock.sendall(post(chat(f"row {row}")))
        while simulator.totals()["requests"] <= row:  # all arrive before the second answer is begun
            pass
    assert [read_all(sock).status for sock in socks] == [200, 200, 401]
    for sock in socks:
        sock.close()


def test_reset_forgets_also_what_is_still_in_flight(simulator: Simulator) -> None:
    simulator.control(latency="fixed:0.05")
    with connect(simulator.port) as sock:
        sock.sendall(post(chat("row 1")))
        while simulator.totals()["requests"] == 0:
            pass
        simulator.reset()
        assert read_all(sock).status == 200
    totals = simulator.totals()
    assert (totals["requests"], totals["in_flight"], totals["complete"], totals["modes"]) == (0, 0, 0, {})


def test_request_that_left_the_queue_is_not_paid(simulator: Simulator) -> None:
    simulator.control(capacity=1, latency="fixed:3600")
    with connect(simulator.port) as first:
        first.sendall(post(chat("row 0")))
        with connect(simulator.port) as second:
            second.sendall(post(chat("row 1")))
            while simulator.totals()["requests"] < 2:
                pass
        while simulator.totals()["in_flight"] > 1:
            pass
        assert [(e["mode"], e["generated"]) for e in simulator.ledger()] == [
            ("ok", True),
            ("abandoned", False),
        ]


def test_rate_limit_refuses_with_openais_headers(simulator: Simulator) -> None:
    simulator.control(rpm=60, burst_s=2)
    replies = [ask(simulator.port, post(chat(f"row {row}"))) for row in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\n" in replies[0].head
    assert "retry-after: 1\r\n" in replies[2].head + "\r\n"
    assert "retry-after-ms: " in replies[2].head
    assert replies[2].json["error"]["code"] == "rate_limit_exceeded"
    assert simulator.totals()["modes"] == {"ok": 2, "limited": 1}


def test_limit_hints_can_be_left_out(simulator: Simulator) -> None:
    simulator.control(rps=1, limit_hints=[])
    replies = [ask(simulator.port, post(chat(f"row {row}"))) for row in range(2)]
    assert [reply.status for reply in replies] == [200, 429]
    assert "x-ratelimit" not in replies[1].head
    assert "retry-after" not in replies[1].head
    assert "try again" not in replies[1].json["error"]["message"]


@pytest.mark.parametrize(
    ("hints", "least_s", "most_s"),
    [(["message"], 1.0, 2.0), (["retry-after", "message"], 2.0, 2.0), (["retry-after-ms"], 1.0, 2.0)],
)
def test_ledger_tells_the_wait_that_a_refusal_asked_for(
    simulator: Simulator, hints: list[str], least_s: float, most_s: float
) -> None:
    simulator.control(rpm=30, tpm=6_000, burst_s=1, limit_hints=hints)
    for row in range(2):
        ask(simulator.port, post(chat(f"row {row}", max_tokens=9)))
    passed, refused = simulator.ledger()
    assert (passed["status"], passed["told_wait_s"], refused["status"]) == (200, None, 429)
    assert least_s <= refused["told_wait_s"] <= most_s
    assert passed["limit_tokens"] == len(chat("row 0", max_tokens=9)) // 4 + 9


def test_unused_tokens_are_given_back_when_that_is_asked_for(simulator: Simulator) -> None:
    simulator.control(tpm=24_000, credit_unused=True)
    for row in range(3):  # each takes more than half of the bucket of 400, and uses few
        assert ask(simulator.port, post(chat(f"row {row}", max_tokens=238, stop=["."]))).status == 200
    simulator.control(credit_unused=False)
    assert ask(simulator.port, post(chat("row 3", max_tokens=238))).status == 200
    assert ask(simulator.port, post(chat("row 4", max_tokens=238))).status == 429


def test_outage_by_command_comes_after_the_reply_and_ends(simulator: Simulator) -> None:
    simulator.control(outage_s=0.05)
    with connect(simulator.port) as idle:
        simulator.outage()
        assert read_all(idle).end == "reset"
    status = None
    while status is None:  # a refused connection answers at once, so this ends with the outage
        with suppress(ConnectionRefusedError):
            status = ask(simulator.port, post(chat("again"))).status
    assert status == 200


def test_token_limit_counts_the_most_that_may_be_generated(simulator: Simulator) -> None:
    simulator.control(tpm=1000)
    assert ask(simulator.port, post(chat("row 1", max_tokens=900))).status == 200
    refused = ask(simulator.port, post(chat("row 2", max_tokens=100)))
    assert (refused.status, refused.json["error"]["type"]) == (429, "tokens")
    too_large = ask(simulator.port, post(chat("row 3", max_tokens=1001)))
    assert "Limit 1000, Requested 10" in too_large.json["error"]["message"]
    assert "retry-after" not in too_large.head


def test_control_refuses_nonsense_and_changes_nothing(simulator: Simulator) -> None:
    with pytest.raises(SimulatorError, match="did you mean 'latency'"):
        simulator.control(latencyy="fixed:0")
    with pytest.raises(SimulatorError, match="unknown mode"):
        simulator.control(seed=5, faults={"nothing": 1})
    assert simulator.control()["seed"] == 0


def test_same_seed_gives_the_same_replies_in_another_process(simulator: Simulator) -> None:
    mix = SimulatorConfig(
        latency="fixed:0", faults={"length": 0.3, "server_error": 0.3, "malformed_json": 0.2}
    )
    simulator.control(faults=dict(mix.faults))
    with launch(mix) as other:
        for row in range(30):
            one, two = (ask(port, post(chat(f"row {row}"))) for port in (simulator.port, other.port))
            assert (one.status, one.body) == (two.status, two.body)


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit(9)")  # must not be imported
    before = os.getcwd()  # noqa: PTH109
    os.chdir(tmp_path)
    try:
        with launch(FAST) as simulator, connect(simulator.port) as sock:
            sock.sendall(post(chat("row 1"), keep=True))
            assert read_reply(sock).status == 200
            port = simulator.port
    finally:
        os.chdir(before)
    with pytest.raises(ConnectionRefusedError):
        connect(port)


def test_it_ends_when_its_parent_is_killed_but_not_by_ctrl_c() -> None:
    program = (
        "from batcher.simulator import launch\nimport sys\n"
        "with launch() as s:\n    print(s.port, s.pid, flush=True)\n    sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    port, pid = map(int, parent.stdout.readline().split())
    with connect(port) as sock:
        os.kill(pid, signal.SIGINT)
        sock.sendall(post(chat("row 1"), keep=True))
        assert read_reply(sock).status == 200
        parent.kill()
        parent.wait()
        read_all(sock)  # ends when the simulator does; the socket's timeout is the test's
    parent.stdin.close()
    parent.stdout.close()


def test_it_ends_with_its_standard_input() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "batcher.simulator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert orjson.loads(process.stdout.readline())["port"] > 0
    process.communicate(b"", timeout=10)
    assert process.returncode == 0


def test_bad_configuration_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "batcher.simulator", "--config-json", '{"faults":{"x":1}}'],
        capture_output=True, check=False, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "simulator: unknown mode 'x'\n"


def test_simulator_imports_nothing_heavy() -> None:
    program = (
        "import sys, batcher.simulator.server, batcher.simulator\n"
        "print(*sorted({'pyarrow','httpx','pydantic','anyio','jinja2','click','rich','numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == ""
