"""Every row of a job rendered and weighed, nothing sent: how many are usable, equal, answered already, and how heavy.

One pass, in slices; what it holds does not grow with the rows (hashes beyond 16 MiB go to a temporary folder), but for
the index of answers, which lies on the disk too. Rows are rendered exactly as a run would render them, so a hash
found here is a hash that the run finds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.cost.estimate_tokens import prompt_tokens
from batcher.policy.estimate import completions_asked
from batcher.records import Problem, Usage
from batcher.verbs.estimate_rendering import rendered

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path

    from batcher.ports import RequestBuilder, RowSource
    from batcher.records import Request
    from batcher.store.reuse import ReuseIndex

SAMPLE_ROWS: Final = 2_000
"""Answered rows that are remembered, drawn at random among all that there are."""
SPILL_BYTES: Final = 16 << 20
TWINS_REMEMBERED: Final = 100_000
"""As many answers as a session with `dedupe` remembers."""
_PREFIXES: Final = 256
_HASH_BYTES: Final = 16


class Answered(NamedTuple):
    """A row whose usage is known.

    Attributes:
        weight: prompt tokens, as estimated without it.
        latency_ms: None when unknown.
    """

    weight: float
    usage: Usage
    request_model: str | None
    response_model: str | None
    latency_ms: float | None


def answered_from(weight: float, values: Mapping[str, object]) -> Answered | None:
    """From output columns by unprefixed name; None where the usage is not there."""
    usage = Usage(*(_count(values.get(name)) for name in _COUNTS))
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    latency = values.get("latency_ms")
    models = (values.get("request_model"), values.get("response_model"))
    asked, gave = (each if isinstance(each, str) else None for each in models)
    return Answered(weight, usage, asked, gave, latency if isinstance(latency, float) else None)


_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(slots=True)
class Load:
    """Requests of one model that are to be sent.

    Attributes:
        weight: their prompt tokens, about.
        most_completion: the sum of their maxima, of those that have one.
        unbounded: requests without a maximum.
    """

    requests: int = 0
    weight: float = 0.0
    most_completion: int = 0
    unbounded: int = 0

    def add(self, request: Request, weight: float) -> None:
        self.requests += 1
        self.weight += weight
        if request.max_tokens is None:
            self.unbounded += 1
        else:
            self.most_completion += request.max_tokens * completions_asked(request.body)


@dataclass(slots=True)
class Weighed:
    """What the pass found.

    Attributes:
        rows: wanted by the job; `seen` of them were rendered.
        invalid: rows that make no request; `first_invalid` is one of them.
        duplicates: rows whose request an earlier row makes as well.
        answered: rows whose answer is bought already.
        twins: rows that get the answer of an equal row (`dedupe`).
        weight: prompt tokens of all usable rows, about.
        loads: what is left to send, by model.
        sample: some of the answered rows.
        first: bodies of the first requests.
        pictures: images in what is left to send.
    """

    rows: int
    seen: int = 0
    invalid: int = 0
    first_invalid: Problem | None = None
    duplicates: int = 0
    answered: int = 0
    twins: int = 0
    weight: float = 0.0
    heaviest: float = 0.0
    loads: dict[str, Load] = field(default_factory=dict)
    sample: list[Answered] = field(default_factory=list)
    first: list[bytes] = field(default_factory=list)
    pictures: int = 0

    @property
    def scale(self) -> float:
        """What stands for all rows: 1 where every row was seen."""
        return self.rows / self.seen if self.seen else 1.0

    @property
    def to_send(self) -> Load:
        """Over all models, what was seen."""
        total = Load()
        for each in self.loads.values():
            total.requests += each.requests
            total.weight += each.weight
            total.most_completion += each.most_completion
            total.unbounded += each.unbounded
        return total


class Repeats:
    """Counts hashes that came before; memory is bounded, `folder` takes the rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = [bytearray() for _ in range(_PREFIXES)]
        self._bytes = 0

    def add(self, request_hash: str) -> None:
        raw = bytes.fromhex(request_hash)
        self._held[raw[0]] += raw
        self._bytes += _HASH_BYTES
        if self._bytes >= SPILL_BYTES:
            self._spill()

    def count(self) -> int:
        """How many of all were there before."""
        return sum(self._in_bucket(number) for number in range(_PREFIXES))

    def _spill(self) -> None:
        for number, held in enumerate(self._held):
            with (self._folder / f"{number:02x}").open("ab") as file:
                file.write(held)
            held.clear()
        self._bytes = 0

    def _in_bucket(self, number: int) -> int:
        path = self._folder / f"{number:02x}"
        raw = (path.read_bytes() if path.exists() else b"") + self._held[number]
        hashes = {raw[at : at + _HASH_BYTES] for at in range(0, len(raw), _HASH_BYTES)}
        return len(raw) // _HASH_BYTES - len(hashes)


@dataclass(frozen=True, slots=True)
class Scale:
    """How rows are weighed.

    Attributes:
        index: of answers that are bought already, or None.
        folder: an empty temporary one.
        rng: draws the sample.
        dedupe: equal rows are sent once.
        show: bodies to keep.
        most_rows: render about so many, evenly over the input; None: all.
    """

    builder: RequestBuilder
    index: ReuseIndex | None
    folder: Path
    rng: random.Random
    dedupe: bool = False
    show: int = 0
    most_rows: int | None = None

    def weigh(self, source: RowSource, *, rows: int) -> Weighed:
        """Render the first `rows` rows of the source. Raises what reading it raises: DatasetError, Conflict."""
        found, repeats = Weighed(rows), Repeats(self.folder)
        known: OrderedDict[str, None] = OrderedDict()
        stride = 1 if self.most_rows is None else max(1, ceil(rows / self.most_rows))
        for built in rendered(source, self.builder, rows=rows, stride=stride):
            found.seen += 1
            if isinstance(built, Problem):
                found.invalid += 1
                found.first_invalid = found.first_invalid or built
                continue
            repeats.add(built.request_hash)
            self._add(built, found, known)
        found.duplicates = repeats.count()
        return found

    def _add(self, request: Request, found: Weighed, known: OrderedDict[str, None]) -> None:
        weight = prompt_tokens(request.body)
        found.weight += weight
        found.heaviest = max(found.heaviest, weight)
        if len(found.first) < self.show:
            found.first.append(request.body)
        if self.dedupe and request.request_hash in known:
            found.twins += 1
            return
        if self.dedupe:
            known[request.request_hash] = None
            if len(known) > TWINS_REMEMBERED:
                known.popitem(last=False)
        taken = self.index.take(request.request_hash) if self.index is not None else None
        if taken is None:
            found.loads.setdefault(request.model, Load()).add(request, weight)
            found.pictures += request.images
            return
        found.answered += 1
        self._remember(answered_from(weight, taken.values), found)

    def _remember(self, row: Answered | None, found: Weighed) -> None:
        """Keep some of the answered rows, all with the same chance."""
        if row is None:
            return
        if len(found.sample) < SAMPLE_ROWS:
            found.sample.append(row)
        elif (place := self.rng.randrange(found.answered)) < SAMPLE_ROWS:
            found.sample[place] = row
