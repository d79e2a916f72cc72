"""The flow control end to end: `batcher run` against servers that limit, queue, or go away.

    python tests/bench/flow.py --show 1                    one requirement, on all its servers
    python tests/bench/flow.py --show 8                    "auto" beside 64, 256 and 1,024 in flight
    python tests/bench/flow.py --show 8 --write tests/bench/flow.md           the same, into the table beside this
    python tests/bench/flow.py --server rate-1s --client auto,64 --seconds 60

Server and client are processes of their own on loopback. With `--results PATH` every measurement is added to that file,
and what stands there already is not measured again: the same command goes on after Ctrl-C. Prints how long it will take
before it begins. On a busy machine trust the ratios only, and look at the column "load".
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import NamedTuple

import orjson
from flow_run import START_S, Figures, measure
from flow_servers import BY_NAME, CONTEST, SERVERS, Server, of_show
from flow_table import table


class Task(NamedTuple):
    server: Server
    client: str


def tasks_of(options: argparse.Namespace) -> list[Task]:
    """What is to be measured, in order. Raises SystemExit for an unknown name."""
    if unknown := set(options.server) - set(BY_NAME):
        raise SystemExit(f"unknown server {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    pairs = [(BY_NAME[name], BY_NAME[name].clients) for name in options.server]
    for show in options.show:
        pairs += of_show(show)
    if not pairs:
        pairs = [(server, server.clients) for server in SERVERS]
    clients = tuple(options.client.split(",")) if options.client else None
    found = [Task(server, client) for server, names in pairs for client in clients or names]
    return list({(task.server.name, task.client): task for task in found}.values())


def results_in(path: Path | None) -> dict[tuple[str, str], Figures]:
    if path is None or not path.exists():
        return {}
    found = [Figures(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
    return {(each.server, each.client): each for each in found}


class Measuring:
    """Measures tasks, some at a time, and remembers what was found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.stopped = Event()
        self.done = results_in(options.results)

    def is_done(self, task: Task) -> bool:
        return (task.server.name, task.client) in self.done

    def run(self, task: Task) -> None:
        """A measurement that is doubtful is shown, but not kept: the same command repeats it."""
        options = self._options
        keep = options.keep / f"{task.server.name}.{task.client}.{int(time.time())}" if options.keep else None
        try:
            found = measure(
                task.server, task.client, seconds=options.seconds, keep=keep, stopped=self.stopped
            )
        except RuntimeError as err:
            print(f"{task.server.name}  {task.client}  not measured: {err}", file=sys.stderr, flush=True)
            return
        self.done[task.server.name, task.client] = found
        if options.results is not None and not found.odd:
            with options.results.open("ab") as file:
                file.write(found.to_json() + b"\n")
        print(table([found])[1], flush=True)

    def table_of(self, tasks: list[Task]) -> list[str]:
        return table([self.done[task.server.name, task.client] for task in tasks if self.is_done(task)])


def main() -> None:
    options = _options().parse_args()
    tasks, measuring = tasks_of(options), Measuring(options)
    left = [task for task in tasks if not measuring.is_done(task)]
    minutes = sum(task.server.span(options.seconds)[1] + START_S for task in left) / options.jobs / 60
    print("SIMULATED servers on loopback.", f"{len(left)} of {len(tasks)} measurements to do,", end=" ")
    print(f"{options.jobs} at a time: about {minutes:.0f} minutes.", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = ThreadPoolExecutor(options.jobs)
    try:
        list(pool.map(measuring.run, left))
    except KeyboardInterrupt:
        measuring.stopped.set()
        print("stopped; with --results the same command goes on", file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)
        lines = measuring.table_of(tasks)
        print("", *lines, sep="\n")
        if options.write is not None:
            options.write.write_text("\n".join([_heading(options), "", "```", *lines, "```", ""]))


def _heading(options: argparse.Namespace) -> str:
    """The command without the places where its results are kept."""
    chosen = [f"--show {show}" for show in options.show] + [f"--server {name}" for name in options.server]
    chosen += [f"--client {options.client}"] * bool(options.client)
    chosen += [f"--seconds {options.seconds:g}", f"--jobs {options.jobs}"]
    return f"`python tests/bench/flow.py {' '.join(chosen)}` (simulated servers on loopback)"


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shows = sorted({server.show for server in SERVERS} | {CONTEST})
    parser.add_argument(
        "--show", type=int, action="append", default=[], choices=shows, help="a requirement; repeatable"
    )
    parser.add_argument(
        "--server", action="append", default=[], help=f"one of {', '.join(BY_NAME)}; repeatable"
    )
    parser.add_argument(
        "--client", help="auto or numbers, separated by commas; each server has its own otherwise"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of a run, where the server does not say otherwise"
    )
    parser.add_argument("--jobs", type=int, default=1, help="measurements at the same time")
    parser.add_argument(
        "--results", type=Path, help="JSON lines: what was measured; what stands there is not repeated"
    )
    parser.add_argument("--write", type=Path, help="the table to this Markdown file, too")
    parser.add_argument(
        "--keep", type=Path, help="a folder for ledgers and run directories, one per measurement"
    )
    return parser


if __name__ == "__main__":
    main()
