"""Rows that ask exactly the same: one of them is sent, the others wait for its answer and take it over.

`[request] dedupe = true`. Rules:

1. A row whose twin was answered takes that answer over, as far back as memory allows (`MOST_ANSWERS`,
   `MOST_CHARS`, the latest ones); beyond that it is sent again, paid and counted like any row.
2. A row whose twin is in hand (waiting, in flight, failing) waits for it outside of every line, so that it
   holds no slot, no seat and no worker.
3. A twin that ends without an answer leaves its place to the next one that waits, which is sent. The first
   in line is never itself waiting for anybody, so nobody waits for ever.
4. A session that goes on with a run is given its answers again (`remember`) before the first row.

A copied answer is journalled with the row it is copied to: what became of a row never depends on another
row's journal.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.records import ANSWERED, ReuseRecord, RowHistory

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from batcher.ports import Settle
    from batcher.records import ReplyRecord, Request

MOST_ANSWERS: Final = 100_000
"""Chosen: answers remembered; labels take about 1.5 kB each with their usage."""
MOST_CHARS: Final = 64 << 20
"""Chosen: text of the answers remembered."""


class _Bought(NamedTuple):
    run_id: str
    values: Mapping[str, object]
    chars: int


class Twins:
    """What was answered and who waits, by request hash.

    Args:
        run_id: of this run.
        settle: what a journalled reply amounts to.
        columns: output columns that an answer brings along.
    """

    def __init__(
        self,
        *,
        run_id: str,
        settle: Settle,
        columns: Collection[str],
        most_answers: int = MOST_ANSWERS,
        most_chars: int = MOST_CHARS,
    ) -> None:
        self._run_id = run_id
        self._settle = settle
        self._columns = tuple(columns)
        self._most_answers = most_answers
        self._most_chars = most_chars
        self._answers: OrderedDict[str, _Bought] = OrderedDict()
        self._chars = 0
        self._in_hand: dict[str, deque[Request]] = {}

    # --- answers ---

    def remember(self, request_hash: str, run_id: str, values: Mapping[str, object]) -> None:
        """An answer that this run holds; `run_id` is of the run that bought it."""
        if request_hash in self._answers:
            return
        kept = {name: values[name] for name in self._columns if values.get(name) is not None}
        chars = sum(len(cell) for cell in kept.values() if isinstance(cell, str))
        self._answers[request_hash] = _Bought(run_id, kept, chars)
        self._chars += chars
        while self._answers and (len(self._answers) > self._most_answers or self._chars > self._most_chars):
            self._chars -= self._answers.popitem(last=False)[1].chars

    def answered(self, record: ReplyRecord) -> None:
        """A reply of this session that settles its row."""
        settled = self._settle(RowHistory(record.row_index, (record,)))
        if settled is not None and settled.outcome in ANSWERED:
            self.remember(record.request_hash, self._run_id, settled.values)

    def find(self, request: Request) -> ReuseRecord | None:
        """The answer of a twin; None when there is none, or none any more."""
        bought = self._answers.get(request.request_hash)
        if bought is None:
            return None
        self._answers.move_to_end(request.request_hash)
        return ReuseRecord(
            request.row_index, request.request_hash, bought.run_id, bought.values, custom_id=request.custom_id
        )

    # --- who waits ---

    def waits(self, request: Request) -> bool:
        """Whether a twin is in hand, for which the row now waits; otherwise the row itself is in hand now."""
        line = self._in_hand.get(request.request_hash)
        if line is None:
            self._in_hand[request.request_hash] = deque()
            return False
        line.append(request)
        return True

    def next_after(self, request: Request) -> Request | None:
        """The row in hand is done: the next of those that wait for it, which is in hand from now on."""
        line = self._in_hand[request.request_hash]
        if line:
            return line.popleft()
        del self._in_hand[request.request_hash]
        return None
