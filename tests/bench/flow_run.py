"""Measure one client on one server: simulator and `batcher run`, each a process, and what the ledger says.

The run is given more rows than it can do and is ended by SIGTERM, so that the time of a measurement is known
beforehand (not by SIGINT: whom a shell starts in the background ignores that, and so do his children). Every figure
but the window and the CPU is taken from the server's side.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import orjson
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
from flow_servers import PRICES

from batcher.simulator import Simulator, launch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flow_servers import Server

START_S = 4.0
"""What a measurement takes beside its span, on a quiet machine: two starts, and what is in flight comes home."""
FIRST_REQUEST_S = 120.0
DRAIN_S = 60.0
POLL_S = 0.02
LIMIT_REACHED = 6
PROBES_SETTLE_S = 10.0
"""Requests sent before the client knew of an outage are no probes."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one client made of one server; None: does not apply, or nothing to divide by.

    Attributes:
        achieved_per_s: units answered per second of open gate, in the measured span.
        share: of what the server allows.
        wall_share: the same with the time in which a Retry-After kept the gate shut.
        refused: share of the requests of the measured span.
        window: the largest that the client gave itself; a number it was pinned to.
        in_flight: the most that the server had at one time.
        failed: rows.
        cpu: of the client, share of one core.
        load: of the machine at the end, over the last minute.
        window_1s, window_60s: the most within any such window, as a share of the most that the limit set by the user
            permits (its 5 %, or one request).
        probes: most requests at one time while the server was away; recovered: rate after it came back by the rate
            before.
        spent: what was paid by the server's count, as a share of the budget.
        odd: what makes the measurement doubtful, or "".
    """

    show: int
    server: str
    client: str
    seconds: float
    allowed_per_s: float
    unit: str
    achieved_per_s: float | None
    share: float | None
    wall_share: float
    refused: float | None
    median_s: float | None
    window: float | None
    in_flight: int
    failed: int
    shut_s: float
    requests: int
    cpu: float
    load: float
    window_1s: float | None = None
    window_60s: float | None = None
    probes: int | None = None
    recovered: float | None = None
    spent: float | None = None
    odd: str = ""

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))


@dataclass(slots=True)
class Client:
    """`batcher run` as a process."""

    process: subprocess.Popen[bytes]
    folder: Path
    cpu_s: float = 0.0
    code: int | None = None

    def is_over(self) -> bool:
        """Asked again and again, it is also what takes the process's accounts."""
        if self.code is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.code = self.process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_s = usage.ru_utime + usage.ru_stime
        return self.code is not None

    def end(self) -> None:
        """What is in flight comes home; if that takes too long it is abandoned."""
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self.is_over():
                return
            self.process.send_signal(signum)
            given_up = time.monotonic() + DRAIN_S
            while not self.is_over() and time.monotonic() < given_up:
                time.sleep(POLL_S)

    def summary(self) -> dict[str, Any]:
        """The run's JSON summary. Raises RuntimeError with what it said when there is none."""
        text = (self.folder / "stdout").read_bytes()
        if not text.strip():
            said = (self.folder / "stderr").read_text(errors="replace")[-2_000:]
            raise RuntimeError(f"batcher run ended with {self.code}: {said}")
        found: dict[str, Any] = orjson.loads(text)
        return found

    def events(self) -> list[dict[str, Any]]:
        files = sorted(
            self.folder.glob(".batcher/*.run/events*.jsonl"), reverse=True
        )  # .old before the present one
        return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]


def measure(
    server: Server, client: str, *, seconds: float, keep: Path | None = None, stopped: Event | None = None
) -> Figures:
    """Run it; blocks for about `server.span(seconds)[1] + START_S` seconds.

    Args:
        server: what to meet.
        client: "auto", or a number of requests in flight.
        seconds: of the whole run, where the server does not say otherwise.
        keep: a folder for the ledger and the run directory; None: nothing is kept.
        stopped: once it is set, the client is ended and nothing is measured.

    Raises:
        RuntimeError: the run did not send anything, or the measurement was stopped.
    """
    stopped = stopped or Event()
    with tempfile.TemporaryDirectory() as name, launch(server.config) as simulator:
        folder = keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        running = _started(server, client, simulator, folder, rows=server.rows(seconds))
        try:
            begun = _first_request(simulator, running)
            odd = _play(server, simulator, running, begun, server.span(seconds)[1], stopped=stopped)
        finally:
            running.end()
        wall_s = time.monotonic() - begun
        entries = simulator.ledger()
        if keep is not None:
            (folder / "ledger.jsonl").write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in entries))
        return _figures(server, client, running, entries, seconds=seconds, wall_s=wall_s, odd=odd)


def _started(server: Server, client: str, simulator: Simulator, folder: Path, *, rows: int) -> Client:
    with (folder / "in.jsonl").open("wb") as file:
        for row in range(rows):
            prompt = f"row {row:07d} ".ljust(server.prompt_bytes, "x")
            file.write(orjson.dumps({"id": row, "prompt": prompt}) + b"\n")
    words = [sys.executable, "-m", "batcher.cli", "run", "--json", "-q", "--yes", "--concurrency", client]
    words += ["-i", str(folder / "in.jsonl"), "-o", str(folder / "out.parquet"), "--model", "m", "--fresh"]
    words += ["--set", f"request.max_tokens={server.max_tokens}", "--base-url", simulator.base_url]
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        # not in a session of its own: what ends the measuring ends its clients
        process = subprocess.Popen(
            [*words, *server.options], stdout=out, stderr=err, stdin=subprocess.DEVNULL
        )
    return Client(process, folder)


def _first_request(simulator: Simulator, running: Client) -> float:
    """The time of its arrival, on this machine's monotonic clock, which the ledger uses too."""
    given_up = time.monotonic() + FIRST_REQUEST_S
    while time.monotonic() < given_up and not running.is_over():
        if simulator.totals()["requests"]:
            return float(simulator.ledger()[0]["received_at"])
        time.sleep(POLL_S)
    running.end()
    raise RuntimeError(f"batcher run sent nothing, exit {running.code}: {running.summary().get('message')}")


def _play(
    server: Server, simulator: Simulator, running: Client, begun: float, until_s: float, *, stopped: Event
) -> str:
    """Let the changes happen at their times; what went wrong, or ""."""
    for change in server.changes:
        if change.at_s < until_s and not _wait(running, begun + change.at_s, stopped):
            return "ended early"
        if change.outage:
            simulator.outage()
        else:
            simulator.control(**change.settings)
    return "" if _wait(running, begun + until_s, stopped) else "ended early"


def _wait(running: Client, until: float, stopped: Event) -> bool:
    """Whether the run is still going at that time. Raises RuntimeError when the measurement is stopped."""
    while (left_s := until - time.monotonic()) > 0:
        if running.is_over():
            return False
        if stopped.wait(min(left_s, 0.1)):
            raise RuntimeError("stopped")
    return not running.is_over()


def _figures(
    server: Server,
    client: str,
    running: Client,
    entries: list[dict[str, Any]],
    *,
    seconds: float,
    wall_s: float,
    odd: str,
) -> Figures:
    begin, end = server.span(seconds)
    seen = seen_in(entries)
    weight = WEIGHTS[server.unit]
    rate = throughput(seen, begin, end, weight=weight)
    summary = running.summary()
    if server.max_cost_usd is not None:
        odd = "" if running.code == LIMIT_REACHED else f"exit {running.code}"
    elif running.code not in {0, 3, 143}:
        odd = f"exit {running.code}: {summary.get('message')}"
    windows = [each["new"] for each in running.events() if each["event"] == "window" and each.get("new")]
    return Figures(
        show=server.show,
        server=server.name,
        client=client,
        seconds=end,
        allowed_per_s=server.allowed_per_s,
        unit=server.unit,
        achieved_per_s=rate,
        share=None if rate is None else rate / server.allowed_per_s,
        wall_share=answered(seen, begin, end, weight=weight) / (end - begin) / server.allowed_per_s,
        refused=refused_share(seen, begin, end),
        median_s=median_latency_s(seen),
        window=max(windows, default=None) if client == "auto" else float(client),
        in_flight=most_at_once(seen, 0.0, wall_s),
        failed=int(summary["outcomes"].get("failed", 0)),
        shut_s=shut_s(seen, begin, end),
        requests=len(seen),
        cpu=running.cpu_s / max(wall_s, 0.1),
        load=os.getloadavg()[0],
        odd=odd,
        spent=None if not server.max_cost_usd else spent_usd(entries, PRICES) / server.max_cost_usd,
        **_windows(server, seen),
        **_outage(server, seen),
    )


def _windows(server: Server, seen: list[Seen]) -> Mapping[str, Any]:
    """How far the limits that the user set were used at most, in any second and in any minute."""
    told: dict[str, float] = {}
    for limit, unit in zip(server.user_limits, ("requests", "used"), strict=True):
        if limit is None:
            continue
        weighed = [(each.at, WEIGHTS[unit](each)) for each in seen]
        one = max((weight for _, weight in weighed), default=0.0)
        for name, span_s in (("window_1s", 1.0), ("window_60s", 60.0)):
            within = limit * span_s / 60
            used = most_within(weighed, span_s) / max(within * 1.05, within + one)
            told[name] = max(told.get(name, 0.0), used)
    return told


def _outage(server: Server, seen: list[Seen]) -> Mapping[str, Any]:
    if server.away is None:
        return {}
    gone, back = server.away
    begin, end = server.measured_from_s, server.measured_from_s + (server.measured_s or 15.0)
    before = throughput(seen, gone - 15.0, gone)
    after = throughput(seen, begin, end)
    return {
        "probes": most_at_once(seen, gone + PROBES_SETTLE_S, back),
        "recovered": after / before if before and after is not None else None,
    }
