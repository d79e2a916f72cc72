"""What batcher costs as one thing grows: connections, rows, the size of replies, TLS.

    python tests/bench/scaling.py                        every point; 1,000,000 rows alone take about 20 minutes
    python tests/bench/scaling.py --point connections,tls
    python tests/bench/scaling.py --point rows --rows 100000,1000000

connections   64 to 4,096, the server's delay growing with them, so that rows/s stay the same
full          4,096 connections, and a delay (+- 20 %) at which the cost found at 64 fills 70 % of a core: throughput as
              a share of connections / delay, and how late the event loop was
rows          10,000 to 1,000,000: memory and CPU per row
replies       1 kB to 1 MB
tls           off and on

The server is that of `speed.py`. With `--results PATH` every measurement is added to that file, and what stands there
is not measured again: the same command goes on after Ctrl-C. On a busy machine trust the ratios only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench_clients import BY_NAME, measure
from bench_figures import Cost, Run, cost
from bench_server import Delay, is_nginx_here, serving
from speed import Results

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 640.0
"""Rows per second of the points with a fixed rate: 64 connections at 100 ms, about a quarter of a core."""
FULL = 4_096
FILLED = 0.7
SPREAD = 0.2
CLIENT = BY_NAME["batcher"]
POINTS = ("connections", "full", "rows", "replies", "tls")


class Spot(NamedTuple):
    """One setting, measured with few rows and with many.

    Attributes:
        name: what was varied, and to what.
        rows: few, many.
    """

    name: str
    connections: int
    delay: Delay
    rows: tuple[int, int]
    reply_bytes: int = 1_200
    tls: bool = False

    @property
    def limit_per_s(self) -> float:
        """What connections and delay allow."""
        return self.connections / self.delay.mean_s

    @property
    def span_s(self) -> float:
        """About how long both sizes take."""
        row_s = max(1 / self.limit_per_s, CLIENT.cpu_us / 1e6 + self.reply_bytes * 20e-9)
        return sum(self.rows) * row_s + 4.0


def spots(points: Sequence[str], *, rows: Sequence[int], seconds: float) -> list[Spot]:
    """What is measured, in order; `full` is not among them, because it needs what another found."""
    plain, many = Delay(0.1, 0.1), int(RATE * seconds)
    found = []
    if "connections" in points or "full" in points:
        for each in (64, 512, 2_048, 4_096) if "connections" in points else (64,):
            delay = Delay(each / RATE, each / RATE)
            found.append(Spot(f"connections {each:,}", each, delay, (2 * each, 2 * each + many)))
    if "rows" in points:
        found += [Spot(f"rows {each:,}", 512, plain, (2_000, each)) for each in rows]
    if "replies" in points:
        for size in (1_000, 10_000, 100_000, 1_000_000):
            most = max(256, int(many * min(1.0, 20_000 / size)))
            found.append(Spot(f"replies {size:,} bytes", 64, plain, (64, 64 + most), size))
    if "tls" in points:
        found += [
            Spot(f"TLS {'on' if tls else 'off'}", 64, plain, (128, 128 + many), tls=tls)
            for tls in (False, True)
        ]
    return found


def full_spot(cpu_us: float, *, seconds: float) -> Spot:
    """4,096 connections with latencies at which a row's cost fills `FILLED` of a core."""
    rate = FILLED * 1e6 / cpu_us
    delay_s = FULL / rate
    delay = Delay(delay_s * (1 - SPREAD), delay_s * (1 + SPREAD))
    return Spot(f"full {FULL:,} connections", FULL, delay, (2 * FULL, 2 * FULL + int(rate * seconds)))


def run(spot: Spot, results: Results) -> Cost | None:
    """Both sizes, unless they stand in the results. None: one could not be measured."""
    found: list[Run] = []
    for rows in spot.rows:
        key = (spot.name, CLIENT.name, spot.connections, str(spot.delay), rows, 0)
        known = next((each for each in results.runs if each.key == key), None)
        if known is None:
            try:
                with serving(spot.delay, reply_bytes=spot.reply_bytes, tls=spot.tls) as server:
                    known = measure(
                        CLIENT,
                        server,
                        connections=spot.connections,
                        delay=spot.delay,
                        rows=rows,
                        point=spot.name,
                    )
            except RuntimeError as err:
                print(f"not measured: {spot.name}: {err}", file=sys.stderr, flush=True)
                return None
            results.add(known)
        found.append(known)
    one = cost(*found)
    print(line(spot, one, found[-1]), flush=True)
    return one


HEADINGS = (
    "| point | connections | delay ms | rows | CPU us/row | rows/s | of connections/delay | peak MiB | lag p99 ms |",
    "|---|---|---|---|---|---|---|---|---|",
)


def line(spot: Spot, one: Cost, large: Run) -> str:
    share = "" if one.rows_per_s is None else f"{one.rows_per_s / spot.limit_per_s:.0%}"
    rate = "" if one.rows_per_s is None else f"{one.rows_per_s:,.0f}"
    lag = "" if large.lag_ms is None else f"{large.lag_ms:.0f}"
    return (
        f"| {spot.name} | {spot.connections:,} | {spot.delay} | {large.rows:,} | {one.cpu_us:,.0f} | {rate} "
        f"| {share} | {one.peak_mib:,.0f} | {lag} |"
    )


def main() -> None:
    given = _options().parse_args()
    points = given.point.split(",")
    if unknown := set(points) - set(POINTS):
        raise SystemExit(f"unknown point {', '.join(sorted(unknown))}; there are {', '.join(POINTS)}")
    rows = [int(each) for each in given.rows.split(",")]
    todo = spots(points, rows=rows, seconds=given.seconds)
    minutes = sum(spot.span_s for spot in todo) / 60 + ("full" in points) * (2 * given.seconds + 30) / 60
    kind = "nginx with lua" if is_nginx_here() else "uvloop (nginx with its lua module is not installed)"
    print(
        f"Server on loopback: {kind}. {len(todo) + ('full' in points)} points, about {minutes:.0f} minutes.\n"
    )
    print(*HEADINGS, sep="\n", flush=True)
    results = Results(given.results)
    try:
        for spot in todo:
            found = run(spot, results)
            if spot.name == "connections 64" and "full" in points and found is not None:
                run(full_spot(found.cpu_us, seconds=given.seconds), results)
    except KeyboardInterrupt:
        print("stopped; with --results the same command goes on", file=sys.stderr)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--point", default=",".join(POINTS), metavar="NAMES", help=f"of {', '.join(POINTS)}")
    parser.add_argument("--rows", default="10000,100000,1000000", metavar="NUMBERS", help="of the point rows")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of the larger size, where the rate is fixed"
    )
    parser.add_argument("--results", type=Path, metavar="PATH", help="add to it, and go on from it")
    return parser


if __name__ == "__main__":
    main()
