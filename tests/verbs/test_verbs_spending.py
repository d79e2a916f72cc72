"""What a run has spent: the known, the unpriced, and the lost at its worst."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batcher.chat.contract import Fit
from batcher.cost.prices import Rates
from batcher.engine.judging import Terms
from batcher.errors import JobError
from batcher.records import (
    Answer,
    InputRow,
    Outcome,
    Progress,
    Reply,
    ReplyRecord,
    Request,
    ReuseRecord,
    RowHistory,
    Usage,
)
from batcher.store.manifest import ShardOpen, ShardSeal, decode, encode
from batcher.verbs.spending import BOUGHT_AGAIN, SEAL_KEY, Audit, Spent, Tokens, of_seals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BODY = orjson.dumps({"messages": [], "padding": "x" * 72})
PROBLEM = "no such word"
WORST = Tokens(1, 100, 50)
RATES = Rates(1.0, None, 2.0)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
COST = 20e-6  # 10 tokens in at $1 and 5 out at $2 per million


class Never:
    """A contract that no answer satisfies (implements `batcher.chat.contract.Contract`)."""

    schema: Mapping[str, Any] | None = None

    def fit(self, answer: Answer) -> Fit:
        del answer
        return Fit(problem=PROBLEM)


class Builder:
    """Every row becomes the same request (implements `batcher.ports.RequestBuilder`)."""

    columns: frozenset[str] = frozenset()
    raw_columns: frozenset[str] = frozenset()

    def build(self, row: InputRow) -> Request:
        return Request(row.row_index, BODY, "a" * 32, "m", max_tokens=50)


@dataclass(frozen=True)
class Settled:
    """What a row amounts to (implements `batcher.ports.Settled`)."""

    outcome: Outcome = Outcome.OK
    values: Mapping[str, object] = field(default_factory=dict)


def price(request_model: str | None, response_model: str | None, usage: Usage) -> float | None:
    del response_model
    if request_model != "m" or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return (usage.prompt_tokens * RATES.input + usage.completion_tokens * RATES.output) / 1e6


def reply(
    status: int | None = 200, *, usage: object = USAGE, model: str = "m", body: bytes | None = None
) -> ReplyRecord:
    message = {"role": "assistant", "content": "yes"}
    whole = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    progress = Progress.SENT if status is None else Progress.COMPLETE
    content = orjson.dumps(whole) if body is None else body
    sent = Reply(status, (), content, progress, None, sent_at=1.0, received_at=2.0, latency_ms=1.0)
    return ReplyRecord(0, "a" * 32, model, attempts=1, paid_attempts=1, queue_ms=0.0, reply=sent)


def history(*replies: ReplyRecord, open_intents: int = 0, reuse: bool = False) -> RowHistory:
    taken = ReuseRecord(0, "a" * 32, "other", {"outcome": "ok"}) if reuse else None
    return RowHistory(0, replies, reuse=taken, open_intents=open_intents)


def spent_on(row: RowHistory, settled: Settled | None = None) -> Spent:
    audit = Audit(price=price, builder=Builder())
    audit.add(row, settled, lambda: InputRow(0, {}))
    return audit.spent


KNOWN = Settled(values={"cost_usd": COST, "request_model": "m"})
FREE = Settled(values={"cost_usd": 0.0})


@pytest.mark.parametrize(
    ("row", "settled", "expected"),
    [
        (history(reply()), KNOWN, Spent(COST)),
        (history(reply()), None, Spent(COST)),
        (history(), FREE, Spent()),
        (history(reply(usage=None)), Settled(), Spent(lost={"m": WORST})),
        (history(reply(503, body=b"")), None, Spent()),  # not paid, so nothing is owed for it
        (history(reply(504, body=b"")), None, Spent(lost={"m": WORST})),
        (history(reply(504, body=b""), reply()), KNOWN, Spent(COST, lost={"m": WORST})),
        (history(reply(), open_intents=2), KNOWN, Spent(COST, lost={"m": Tokens(2, 200, 100)})),
        (history(open_intents=1), None, Spent(lost={"m": WORST})),
        (history(reuse=True), FREE, Spent()),
        (history(reply(), reuse=True), FREE, Spent(COST)),  # paid, and then an answer was found elsewhere
        (history(reply(model="other")), None, Spent(unpriced={"other": Tokens(1, 10, 5)})),
        (
            history(reply(model="other")),
            Settled(
                values={
                    "billed_prompt_tokens": 10,
                    "billed_completion_tokens": 5,
                    "request_model": "other",
                    "cost_usd": None,
                }
            ),
            Spent(unpriced={"other": Tokens(1, 10, 5)}),
        ),
    ],
)
def test_an_attempt_is_known_unpriced_or_lost(
    row: RowHistory, settled: Settled | None, expected: Spent
) -> None:
    assert spent_on(row, settled) == expected


def test_a_lost_attempt_of_a_row_that_was_asked_again_counts_with_the_answer_it_sent_along() -> None:
    terms = Terms(Never(), reask=1)
    audit = Audit(price=price, builder=Builder(), terms=terms)
    audit.add(history(reply(), open_intents=1), None, lambda: InputRow(0, {}))
    lost = audit.spent.lost["m"]
    assert audit.spent.known_usd == COST
    assert (lost.attempts, lost.completion) == (1, 50)
    assert lost.prompt > len(BODY) + len("yes") + len(PROBLEM)


def seal(shard: int, spent: Spent | None, *, cost_usd: float | None = None) -> ShardSeal:
    extra = {} if spent is None else {SEAL_KEY: spent.to_json()}
    return ShardSeal(shard, rows=1, size=1, checksum="", totals={"cost_usd": cost_usd}, extra=extra)


def opened(shard: int, **extra: object) -> ShardOpen:
    return ShardOpen(shard, first_row=0, rows=1, input_bytes=1, input_checksum="", extra=extra)


FULL = Spent(1.5, {"a": Tokens(2, 20, 10)}, {"m": WORST, "endless": Tokens(1, 100, None)})


@pytest.mark.parametrize("spent", [FULL, Spent()])
def test_a_sum_is_the_same_when_it_comes_back_from_its_seal_record(tmp_path: Path, spent: Spent) -> None:
    payload = encode(seal(3, spent), number=0, link="0" * 8)
    record = decode(payload, number=0, link="0" * 8, path=tmp_path)
    assert isinstance(record, ShardSeal)
    assert Spent.of_seal(record) == spent


@pytest.mark.parametrize(
    ("records", "known_usd"),
    [
        ([opened(0), seal(0, Spent(1.0)), opened(1), seal(1, Spent(2.0))], 3.0),
        ([opened(0), seal(0, Spent(1.0)), opened(0)], 0.0),  # its journals stand, and tell it
        ([opened(0), seal(0, Spent(1.0)), opened(0), seal(0, Spent(1.0))], 1.0),
        ([opened(0), seal(0, Spent(1.0)), opened(0, **{BOUGHT_AGAIN: True}), seal(0, Spent(1.5))], 2.5),
        ([seal(0, None, cost_usd=4.0), seal(1, None, cost_usd=None)], 4.0),
    ],
)
def test_every_shard_counts_once_and_what_was_bought_again_twice(
    records: list[ShardOpen | ShardSeal], known_usd: float
) -> None:
    assert of_seals(records) == Spent(known_usd)


def test_lost_and_unpriced_tokens_cost_what_the_prices_say_now() -> None:
    spent = Spent(1.0, {"a": Tokens(1, 1_000_000, 0)}, {"b": Tokens(1, 0, 1_000_000)})
    rates = {"a": Rates(3.0, None, 5.0), "b": Rates(7.0, None, 11.0)}
    assert spent.usd(rates.get) == 1.0 + 3.0 + 11.0
    assert spent.lost_usd(rates.get) == 11.0


@pytest.mark.parametrize(
    ("spent", "line"),
    [
        (Spent(unpriced={"a": WORST}), '[prices."a"]'),
        (Spent(lost={"a": WORST}), '[prices."a"]'),
        (Spent(lost={"m": Tokens(1, 100, None)}), "max_completion_tokens"),
    ],
)
def test_what_nothing_bounds_is_refused_and_not_guessed(spent: Spent, line: str) -> None:
    with pytest.raises(JobError) as caught:
        spent.usd({"m": RATES}.get)
    assert line in str(caught.value.hint)
