"""CPU per row of batcher and of what one could use instead, on the same rows against the same server, in turn.

    python tests/bench/speed.py                          all clients, 64 and 512 connections, both delays, three rounds
    python tests/bench/speed.py --client "batcher,bare aiohttp" --delay 100 --rounds 5
    python tests/bench/speed.py --client "batcher,batcher strict,batcher tmpfs"        what durability costs

Each client is a process in an environment of its own (made on first use under the cache folder), with uvloop. It runs
twice per round, with few rows and with many: the difference is the cost of a row, what is left is the start. With
`--results PATH` every measurement is added to that file, and what stands there is not measured again: the same command
goes on after Ctrl-C. Prints how long it will take before it begins. On a busy machine trust the ratios only: they are
taken round by round.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from bench_clients import BY_NAME, DEFAULT, Client, measure, python_of
from bench_figures import Run, runs_in, table
from bench_server import Delay, is_nginx_here, serving

SECONDS = 12.0
"""About how long the larger size takes at least, where the client keeps up with the server."""
START_S = 2.0


class Task(NamedTuple):
    client: Client
    connections: int
    delay: Delay
    rows: int
    turn: int

    @property
    def key(self) -> tuple[str, str, int, str, int, int]:
        return ("", self.client.name, self.connections, str(self.delay), self.rows, self.turn)

    @property
    def span_s(self) -> float:
        """About how long it takes."""
        return START_S + max(
            self.rows * self.delay.mean_s / self.connections, self.rows * self.client.cpu_us / 1e6
        )


def sizes(client: Client, connections: int, delay: Delay, *, seconds: float) -> tuple[int, int]:
    """Few rows and many: a fifth of them at least, and some for each connection."""
    most = connections / max(delay.mean_s, 0.001)
    rows = client.rows(int(min(most, 1e6 / client.cpu_us / client.share) * seconds))
    return max(rows // 5, connections), max(rows, 3 * connections)


def tasks_of(
    clients: list[Client], connections: list[int], delays: list[Delay], *, rounds: int, seconds: float
) -> list[Task]:
    """In turn: every client once before any is measured again."""
    return [
        Task(client, each, delay, rows, turn)
        for each in connections
        for delay in delays
        for turn in range(rounds)
        for client in clients
        for rows in sizes(client, each, delay, seconds=seconds)
    ]


class Results:
    """What was measured, in a file if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.runs = runs_in(path.read_bytes().splitlines()) if path is not None and path.exists() else []

    def has(self, key: tuple[object, ...]) -> bool:
        return any(run.key == key for run in self.runs)

    def add(self, run: Run) -> None:
        self.runs.append(run)
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(run.to_json())


def run_all(tasks: list[Task], results: Results) -> None:
    for task in tasks:
        if results.has(task.key):
            continue
        with serving(task.delay) as server:
            try:
                run = measure(
                    task.client,
                    server,
                    connections=task.connections,
                    delay=task.delay,
                    rows=task.rows,
                    turn=task.turn,
                )
            except RuntimeError as err:
                print(f"not measured: {err}", file=sys.stderr, flush=True)
                continue
        results.add(run)
        print(
            f"round {task.turn + 1}  {task.client.name:<15} {task.connections:>5} connections {task.delay!s:>7} ms "
            f"{run.rows:>7,} rows  {run.cpu_s:6.2f} s CPU  {run.wall_s:6.1f} s  {run.peak_mib:5.0f} MiB  "
            f"load {run.load:.1f}",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    given = _options().parse_args()
    try:
        clients = [BY_NAME[name.strip()] for name in given.client.split(",")]
        delays = [Delay.parse(each) for each in given.delay.split(",")]
    except (KeyError, ValueError) as err:
        raise SystemExit(f"{err}; clients are {', '.join(BY_NAME)}") from err
    connections = [int(each) for each in given.connections.split(",")]
    tasks = tasks_of(clients, connections, delays, rounds=given.rounds, seconds=given.seconds)
    results = Results(given.results)
    left = [task for task in tasks if not results.has(task.key)]
    kind = "nginx with lua" if is_nginx_here() else "uvloop (nginx with its lua module is not installed)"
    minutes = sum(task.span_s for task in left) / 60
    print(
        f"Server on loopback: {kind}. {len(left)} of {len(tasks)} measurements to do, about {minutes:.0f} minutes."
    )
    sys.stdout.flush()
    for client in clients:
        python_of(client)
    try:
        run_all(tasks, results)
    except KeyboardInterrupt:
        print("stopped; with --results the same command goes on", file=sys.stderr)
    wanted = {task.key for task in tasks}
    print(*table([run for run in results.runs if run.key in wanted]), sep="\n")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--client", default=",".join(DEFAULT), metavar="NAMES", help=f"of {', '.join(BY_NAME)}"
    )
    parser.add_argument("--connections", default="64,512", metavar="NUMBERS")
    parser.add_argument("--delay", default="100,50-150", metavar="MS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the larger size, at least")
    parser.add_argument("--results", type=Path, metavar="PATH", help="add to it, and go on from it")
    return parser


if __name__ == "__main__":
    main()
