"""What a run has spent, over all its sessions: the known, and what may have been paid at the most it can have cost.

    known      usage came back and a price is known: its dollars
    unpriced   usage came back, no price was known then: its tokens, priced when somebody asks
    lost       a reply without usage, an attempt nobody knows the end of (an intent that a crash left open, a cut
               connection): the most tokens the request can cost

A shard's sum is taken as it is sealed and stands in its seal record, because the journals that tell of lost attempts
are deleted then; what is not sealed is added up from its journals. Retries of a published output are rounds of the
same run and count; what a `try` bought, and what is taken over, was bought by others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from batcher.chat.reask import asked_again
from batcher.engine.judging import NO_TERMS, SCHEMA_MISMATCH
from batcher.engine.settle import judge
from batcher.policy import Paid, refusal_at_start
from batcher.policy.constants import TOKENS_PER_PRICE
from batcher.policy.estimate import worst_tokens
from batcher.records import Request, Usage
from batcher.store.history import ShardHistory
from batcher.store.manifest import ShardOpen, ShardSeal
from batcher.store.shard_input import ShardRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batcher.engine.judging import Misfit, Terms
    from batcher.policy import ModelRates
    from batcher.ports import RequestBuilder, Settled
    from batcher.records import InputRow, RowHistory
    from batcher.store.manifest import ManifestRecord
    from batcher.verbs.round import Session

    Price = Callable[[str | None, str | None, Usage], float | None]

SEAL_KEY = "spent"
"""Where a seal record's `extra` holds the shard's sum."""
BOUGHT_AGAIN = "bought_again"
"""Set in the `extra` of a shard that is opened again because its answers are gone: they were paid for all the same."""


class Tokens(NamedTuple):
    """Tokens of some attempts; `completion` None: nothing bounds it."""

    attempts: int
    prompt: int
    completion: int | None

    def __add__(self, other: object) -> Tokens:
        if not isinstance(other, Tokens):
            return NotImplemented
        both = self.completion is not None and other.completion is not None
        completion = (self.completion or 0) + (other.completion or 0) if both else None
        return Tokens(self.attempts + other.attempts, self.prompt + other.prompt, completion)


_NONE = Tokens(0, 0, 0)


@dataclass(slots=True)
class Spent:
    """A sum; `unpriced` and `lost` by request model."""

    known_usd: float = 0.0
    unpriced: dict[str, Tokens] = field(default_factory=dict)
    lost: dict[str, Tokens] = field(default_factory=dict)

    def add(self, other: Spent) -> None:
        self.known_usd += other.known_usd
        for mine, theirs in ((self.unpriced, other.unpriced), (self.lost, other.lost)):
            for model, tokens in theirs.items():
                mine[model] = mine.get(model, _NONE) + tokens

    def lost_usd(self, rates_of: Callable[[str], ModelRates | None]) -> float:
        """The most that lost attempts can have cost. Raises JobError as `usd`."""
        return _priced(self.lost, rates_of)

    def usd(self, rates_of: Callable[[str], ModelRates | None]) -> float:
        """The most that all this can have cost.

        Raises:
            JobError: a model has no price, or an attempt was lost that had no token maximum.
        """
        return self.known_usd + _priced(self.unpriced, rates_of) + _priced(self.lost, rates_of)

    def to_json(self) -> dict[str, object]:
        """What is empty is left out."""
        found: dict[str, object] = {"known_usd": self.known_usd}
        for name in ("unpriced", "lost"):
            if tokens := getattr(self, name):
                found[name] = {model: list(each) for model, each in tokens.items()}
        return found

    @classmethod
    def of_seal(cls, record: ShardSeal) -> Self:
        """What the seal record says; of one without a sum, the cost of its rows."""
        told = record.extra.get(SEAL_KEY)
        if not isinstance(told, dict):
            cost = record.totals.get("cost_usd")
            return cls(float(cost) if isinstance(cost, (int, float)) else 0.0)
        sums = ({model: Tokens(*each) for model, each in told.get(name, {}).items()} for name in _SUMS)
        return cls(float(told["known_usd"]), *sums)


_SUMS = ("unpriced", "lost")


def _priced(tokens: Mapping[str, Tokens], rates_of: Callable[[str], ModelRates | None]) -> float:
    total = 0.0
    for model, each in tokens.items():
        rates = rates_of(model)
        if rates is None or each.completion is None:
            refusal = refusal_at_start(model=model, rates=rates, max_tokens=each.completion)
            assert refusal is not None
            raise refusal
        total += (each.prompt * rates.input + each.completion * rates.output) / TOKENS_PER_PRICE
    return total


class Audit:
    """Adds up what journalled rows cost (implements `batcher.ports.Audit`).

    Attributes:
        spent: the sum so far.
    """

    def __init__(self, *, price: Price, builder: RequestBuilder, terms: Terms = NO_TERMS) -> None:
        self.spent = Spent()
        self._price = price
        self._builder = builder
        self._terms = terms  # a row that was asked again sent more than its own request

    def add(self, history: RowHistory, settled: Settled | None, row: Callable[[], InputRow]) -> None:
        """Count one row.

        Args:
            history: of the row.
            settled: what it amounts to, where that is known already: most rows need no second look.
            row: gives its input; asked only where an attempt was lost.
        """
        is_plain = not history.open_intents and len(history.replies) <= (history.reuse is None)
        if settled is None or not (is_plain and self._took(settled.values)):
            self._look_into(history, row)

    def to_json(self) -> Mapping[str, object]:
        return {SEAL_KEY: self.spent.to_json()}

    def _took(self, values: Mapping[str, object]) -> bool:
        """Whether the values of a row with at most one attempt that cost something say what it was."""
        cost, model = values.get("cost_usd"), values.get("request_model")
        if isinstance(cost, float):
            self.spent.known_usd += cost
            return True
        prompt, completion = values.get("billed_prompt_tokens"), values.get("billed_completion_tokens")
        if not (isinstance(prompt, int) and isinstance(completion, int) and isinstance(model, str)):
            return False
        _count(self.spent.unpriced, model, Tokens(1, prompt, completion))
        return True

    def _look_into(self, history: RowHistory, row: Callable[[], InputRow]) -> None:
        lost, mismatches, misfit = history.open_intents, 0, None
        for record in history.replies:
            judged = judge(record, self._terms, mismatches=mismatches)
            mismatches += judged.verdict.rule == SCHEMA_MISMATCH
            misfit = judged.misfit or misfit
            if judged.verdict.paid is Paid.NO:
                continue
            answer = judged.reading.answer if judged.reading is not None else None
            usage = answer.usage if answer is not None else Usage()
            cost = self._price(record.model, answer.response_model if answer is not None else None, usage)
            if cost is not None:
                self.spent.known_usd += cost
            elif usage.prompt_tokens is not None and usage.completion_tokens is not None:
                _count(
                    self.spent.unpriced, record.model, Tokens(1, usage.prompt_tokens, usage.completion_tokens)
                )
            else:
                lost += 1
        if lost:
            self._lose(lost, row(), misfit)

    def _lose(self, attempts: int, row: InputRow, misfit: Misfit | None) -> None:
        request = self._builder.build(row)
        if isinstance(request, Request):  # else nothing can have been sent for it
            if misfit is not None:
                request = asked_again(request, misfit.answer, misfit.problem)
            prompt, completion = worst_tokens(request)
            most = None if completion is None else attempts * completion
            _count(self.spent.lost, request.model, Tokens(attempts, attempts * prompt, most))


def _count(sums: dict[str, Tokens], model: str, tokens: Tokens) -> None:
    sums[model] = sums.get(model, _NONE) + tokens


def spent_before(session: Session, *, price: Price, builder: RequestBuilder) -> Spent:
    """What earlier sessions of the session's run spent; reads the journals of every shard that is not sealed.

    Raises:
        StorageError: a file of the run cannot be read.
        Interrupted: a signal came.
    """
    spent = of_seals(session.manifest.records)
    audit = Audit(price=price, builder=builder, terms=session.settle.terms)
    for shard in session.recovery.shards:
        session.check()
        _add_journals(audit, session, shard.number, builder)
    spent.add(audit.spent)
    return spent


def of_seals(records: Iterable[ManifestRecord]) -> Spent:
    """The sum over all shards that were ever sealed, each once unless it was bought again."""
    sealed: dict[int, Spent] = {}
    spent = Spent()
    for record in records:
        if isinstance(record, ShardSeal):
            sealed[record.shard] = Spent.of_seal(record)
        elif isinstance(record, ShardOpen) and record.shard in sealed:
            before = sealed.pop(record.shard)  # else its journals are there and tell it again
            if record.extra.get(BOUGHT_AGAIN):
                spent.add(before)
    for each in sealed.values():
        spent.add(each)
    return spent


def _add_journals(audit: Audit, session: Session, number: int, builder: RequestBuilder) -> None:
    directory, opened = session.round.site.directory, session.state.opened[number]
    paths = directory.journals(number)
    if not paths:
        return
    reader = ShardRows(directory.input(number), first_row=opened.first_row, rows=opened.rows)
    try:
        find = _finder(reader, builder)
        with ShardHistory.open(paths, first_row=opened.first_row, rows=opened.rows) as history:
            for row_index in history.rows_seen():
                audit.add(history.history(row_index), None, lambda at=row_index: find(at))  # type: ignore[misc]
    finally:
        reader.close()


def _finder(reader: ShardRows, builder: RequestBuilder) -> Callable[[int], InputRow]:
    """Stored input rows by their index, asked for in ascending order."""
    batch: list[InputRow] = []

    def find(row_index: int) -> InputRow:
        nonlocal batch
        while not batch or batch[-1].row_index < row_index:
            batch = reader.next_rows(builder.columns, builder.raw_columns) or []
            assert batch, f"row {row_index} is not in its shard's input"
        return batch[row_index - batch[0].row_index]

    return find
