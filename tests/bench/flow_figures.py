"""Pure: what a server's ledger says about a client's flow control, as numbers.

Times are seconds since the first request arrived. A span is half open: its begin counts, its end does not. Nothing
here reads a clock, a file or a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import Any, NamedTuple

REFUSALS = frozenset({429, 529})


class Seen(NamedTuple):
    """One request, as the server saw it.

    Attributes:
        at: when it had arrived whole.
        back_at: when its reply was written (or its connection gone); None: not over when the ledger was read.
        told_wait_s: how long a refusal asked to wait, None when it did not say.
        reserved: tokens that a token limit counts on arrival: the prompt and the most that may be generated.
        used: tokens of the answer's `usage`; 0 without an answer.
    """

    at: float
    back_at: float | None
    status: int | None
    told_wait_s: float | None = None
    reserved: int = 0
    used: int = 0

    @property
    def is_answer(self) -> bool:
        return self.status == 200 and self.back_at is not None


Weight = Callable[[Seen], float]
WEIGHTS: Mapping[str, Weight] = {
    "requests": lambda _: 1.0,
    "reserved": lambda each: float(each.reserved),
    "used": lambda each: float(each.used),
}
"""What a limit may count."""


def seen_in(entries: Iterable[Mapping[str, Any]]) -> list[Seen]:
    """The entries of a simulator's ledger by time of arrival, the first one at 0."""
    ordered = sorted(entries, key=lambda entry: float(entry["received_at"]))
    begun = float(ordered[0]["received_at"]) if ordered else 0.0
    return [
        Seen(
            at=entry["received_at"] - begun,
            back_at=None if entry["replied_at"] is None else entry["replied_at"] - begun,
            status=entry["status"],
            told_wait_s=entry["told_wait_s"],
            reserved=entry["limit_tokens"] or 0,
            used=entry["prompt_tokens"] + entry["completion_tokens"],
        )
        for entry in ordered
    ]


def shut_s(seen: Iterable[Seen], begin: float, end: float) -> float:
    """Seconds of the span in which a wait told by a refusal was running: overlapping waits count once."""
    waits = sorted(
        (each.back_at, each.back_at + each.told_wait_s)
        for each in seen
        if each.told_wait_s is not None and each.back_at is not None
    )
    shut, reached = 0.0, begin
    for told_at, over_at in waits:
        start, stop = max(told_at, reached), min(over_at, end)
        if stop > start:
            shut, reached = shut + stop - start, stop
    return shut


def answered(
    seen: Iterable[Seen], begin: float, end: float, *, weight: Weight = WEIGHTS["requests"]
) -> float:
    """Units of the answers whose replies were written within the span."""
    return sum(
        weight(each)
        for each in seen
        if each.is_answer and each.back_at is not None and begin <= each.back_at < end
    )


def throughput(
    seen: Sequence[Seen], begin: float, end: float, *, weight: Weight = WEIGHTS["requests"]
) -> float | None:
    """Units answered per second of the span in which no told wait kept the gate shut; None: it was never open."""
    open_s = end - begin - shut_s(seen, begin, end)
    return answered(seen, begin, end, weight=weight) / open_s if open_s > 1e-3 else None


def refused_share(seen: Iterable[Seen], begin: float, end: float) -> float | None:
    """Share of the requests that arrived within the span and were refused; None: none arrived."""
    statuses = [each.status for each in seen if begin <= each.at < end]
    return sum(status in REFUSALS for status in statuses) / len(statuses) if statuses else None


def spent_usd(entries: Iterable[Mapping[str, Any]], prices: tuple[float, float]) -> float:
    """What all generated answers cost, whether or not anybody got them; prices per million (prompt, completion)."""
    paid = [entry for entry in entries if entry["generated"]]
    tokens = [sum(int(entry[name]) for entry in paid) for name in ("prompt_tokens", "completion_tokens")]
    return sum(count * price for count, price in zip(tokens, prices, strict=True)) / 1e6


def median_latency_s(seen: Iterable[Seen]) -> float | None:
    """Median seconds from arrival to reply over all answers, time in the server's queue included."""
    latencies = [each.back_at - each.at for each in seen if each.is_answer and each.back_at is not None]
    return median(latencies) if latencies else None


def most_within(weighed: Iterable[tuple[float, float]], span_s: float) -> float:
    """The largest sum of weights in any half-open sliding window of that length, of (time, weight) pairs."""
    ordered = sorted(weighed)
    most = total = 0.0
    first = 0
    for at, weight in ordered:
        total += weight
        while ordered[first][0] <= at - span_s:
            total -= ordered[first][1]
            first += 1
        most = max(most, total)
    return most


def most_at_once(seen: Iterable[Seen], begin: float, end: float) -> int:
    """The most requests under way at one time, of those that arrived within the span."""
    steps: list[tuple[float, int]] = []
    for each in seen:
        if begin <= each.at < end:
            steps.append((each.at, 1))
            steps.append((end if each.back_at is None else each.back_at, -1))
    # a reply sorts before an arrival at the same time
    return max(accumulate(step for _, step in sorted(steps)), default=0)
