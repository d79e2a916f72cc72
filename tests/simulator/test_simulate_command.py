"""`batcher simulate` as a command."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from simulator_wire import ask, chat, connect, post, read_all

from batcher.cli.simulate import simulate
from batcher.simulator import MODES

COMMAND = [sys.executable, "-c", "from batcher.cli.simulate import simulate; simulate()"]


def _start(*options: str) -> tuple[subprocess.Popen[str], int, str]:
    """A running command, its port, and what it told."""
    process = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while lines[-1] and not lines[-1].startswith("Ctrl-C"):
        lines.append(process.stdout.readline())
    url = lines[0].strip()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    return process, int(url.removesuffix("/v1").rpartition(":")[2]), "".join(lines)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_ends_it_with_its_code_and_no_traceback(number: int, code: int) -> None:
    process, port, told = _start("--latency", "fixed:3600")
    with connect(port) as sock:  # a request in flight does not delay it
        sock.sendall(post(chat()))
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        read_all(sock)
    assert process.returncode == code
    assert errors == ""
    assert "simulated" in told
    assert "--base-url" in told


def test_options_reach_the_simulator() -> None:
    process, port, _ = _start(
        "--fault", "bad_gateway=1", "--latency", "fixed:0", "--config", '{"faulty_attempts": 2}'
    )
    assert [ask(port, post(chat())).status for _ in range(3)] == [502, 502, 200]
    process.terminate()
    process.communicate(timeout=10)


def test_it_ends_with_its_parent_when_asked() -> None:
    program = f"import subprocess, sys; subprocess.run([*{COMMAND!r}, '--exit-with-parent'])"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port = int(parent.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2])
    with connect(port) as sock:
        parent.kill()
        parent.wait()
        read_all(sock)
    parent.stdout.close()


def test_list_names_every_fault() -> None:
    told = CliRunner().invoke(simulate, ["--list-faults"]).output
    assert [line for line in told.splitlines() if not line.startswith(" ")] == list(MODES)


@pytest.mark.parametrize(
    "options",
    [
        ["--fault", "rate_limitt=0.1"],
        ["--fault", "rate_limit"],
        ["--fault", "rate_limit=2"],
        ["--latency", "soon"],
        ["--rpm", "-1"],
        ["--config", "[]"],
        ["--config", "{"],
    ],
)
def test_bad_options_are_usage_errors(options: list[str]) -> None:
    done = CliRunner().invoke(simulate, options)
    assert done.exit_code == 2
    assert "Usage" in done.output


def test_taken_port_is_told() -> None:
    process, port, _ = _start()
    done = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, check=False)
    process.terminate()
    process.communicate(timeout=10)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
