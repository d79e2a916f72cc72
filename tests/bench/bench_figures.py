"""Pure: from measured processes to what a row costs, and the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

YARDSTICK = "bare aiohttp"


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process.

    Attributes:
        server: "nginx" or "uvloop".
        delay: of the server, milliseconds, as "100" or "50-150".
        turn: of the round, from 0.
        cpu_s: user + system; wall_s: from start to end, both with the process's start.
        peak_mib: resident memory at most.
        load: of the machine when it ended, one minute's mean.
        lag_ms: how late the event loop was, 99th percentile; None where nobody looked.
        point: what was varied, for the scaling table.
    """

    client: str
    server: str
    connections: int
    delay: str
    rows: int
    turn: int
    cpu_s: float
    wall_s: float
    peak_mib: float
    load: float
    lag_ms: float | None = None
    point: str = ""

    @property
    def key(self) -> tuple[str, str, int, str, int, int]:
        """What is not measured twice."""
        return (self.point, self.client, self.connections, self.delay, self.rows, self.turn)

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self)) + b"\n"


class Cost(NamedTuple):
    """Of one client in one setting.

    Attributes:
        cpu_us: per row, from the difference between the two sizes, so without the start.
        whole_us: per row of the larger size, with the start.
        start_s: CPU of the start, what is left of the smaller size.
        rows_per_s: from the same difference; None where it is not positive.
        peak_mib: of the larger size.
    """

    cpu_us: float
    whole_us: float
    start_s: float
    rows_per_s: float | None
    peak_mib: float


def runs_in(lines: Iterable[bytes]) -> list[Run]:
    return [Run(**orjson.loads(line)) for line in lines]


def cost(small: Run, large: Run) -> Cost:
    """From two sizes of one round."""
    rows, wall_s = large.rows - small.rows, large.wall_s - small.wall_s
    assert rows > 0, "two sizes are needed"
    row_s = (large.cpu_s - small.cpu_s) / rows
    return Cost(
        cpu_us=row_s * 1e6,
        whole_us=large.cpu_s / large.rows * 1e6,
        start_s=small.cpu_s - row_s * small.rows,
        rows_per_s=rows / wall_s if wall_s > 0 else None,
        peak_mib=large.peak_mib,
    )


def costs(runs: Sequence[Run]) -> dict[int, Cost]:
    """By round, of one client in one setting; rounds without both sizes are left out."""
    found = {}
    for turn in sorted({run.turn for run in runs}):
        sizes = sorted((run for run in runs if run.turn == turn), key=lambda run: run.rows)
        if len(sizes) > 1 and sizes[0].rows < sizes[-1].rows:
            found[turn] = cost(sizes[0], sizes[-1])
    return found


def middle(found: Iterable[Cost]) -> Cost:
    """The median of each figure over the rounds; at least one."""
    cpu, whole, start, rates, peaks = zip(*found, strict=True)
    known = [rate for rate in rates if rate is not None]
    return Cost(median(cpu), median(whole), median(start), median(known) if known else None, max(peaks))


def ratio(mine: dict[int, Cost], theirs: dict[int, Cost]) -> float | None:
    """The median over rounds of CPU per row against another's of the same round: what else runs hits both."""
    both = [
        mine[turn].cpu_us / theirs[turn].cpu_us
        for turn in mine.keys() & theirs.keys()
        if theirs[turn].cpu_us > 0
    ]
    return median(both) if both else None


def table(runs: Sequence[Run], *, yardstick: str = YARDSTICK) -> list[str]:
    """Markdown lines: one table per (connections, delay), clients in order of first appearance."""
    lines: list[str] = []
    for connections, delay in dict.fromkeys((run.connections, run.delay) for run in runs):
        here = [run for run in runs if (run.connections, run.delay) == (connections, delay)]
        by_client = {
            name: costs([run for run in here if run.client == name])
            for name in dict.fromkeys(run.client for run in here)
        }
        lines += ["", f"{connections} connections, server delay {delay} ms ({here[0].server})", ""]
        lines += [
            f"| client | CPU us/row | x {yardstick} | whole us/row | start s | rows/s | peak MiB | rounds |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            _line(name, found, by_client.get(yardstick, {})) for name, found in by_client.items() if found
        ]
    return lines


def _line(name: str, found: dict[int, Cost], against: dict[int, Cost]) -> str:
    one, times = middle(found.values()), ratio(found, against)
    return (
        f"| {name} | {one.cpu_us:,.0f} | {'' if times is None else f'{times:.2f}'} | {one.whole_us:,.0f} "
        f"| {one.start_s:.2f} | {'' if one.rows_per_s is None else f'{one.rows_per_s:,.0f}'} "
        f"| {one.peak_mib:,.0f} | {len(found)} |"
    )
