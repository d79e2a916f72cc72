"""The seams between rooms, as Protocols: what the engine asks of a network, of a store and of a judge.

The engine meets `endpoint` and `store` only here, so tests put a scripted endpoint and an in-memory store in their
places (virtual time forbids threads), and a later worker process can put a leased shard there. Only `run.py` names
the concrete ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from batcher.records import (
        EndRecord,
        InputRow,
        IntentRecord,
        Outcome,
        Problem,
        Reply,
        ReplyRecord,
        Request,
        ReuseRecord,
        RowHistory,
        Unusable,
        VoidRecord,
    )


@dataclass(frozen=True, slots=True)
class BodyWatch:
    """Who wants to know of a body while it arrives.

    Attributes:
        on_piece: called in the event loop with each piece as it is on the wire: content-encoding not undone, the key
            not scrubbed. For what must be known early; what is kept comes out of the `Reply`. Must not block.
        idle_s: seconds between one piece and the next before the exchange is given up (READ_TIMEOUT, CUT); counted
            from the first piece.
    """

    on_piece: Callable[[bytes], None]
    idle_s: float


class Endpoint(Protocol):
    """One exchange with the model server: bytes in, bytes out, no retry, no interpretation."""

    async def exchange(self, request: Request, *, deadline: float, watch: BodyWatch | None = None) -> Reply:
        """POST the body and return everything that came back.

        Args:
            request: what to send; its body goes out byte for byte.
            deadline: on the clock of `anyio.current_time`; the whole exchange ends by then (Fault DEADLINE).
            watch: told of the body while it arrives, which is a stream of events then; None: nobody is.

        Raises:
            Only cancellation and bugs: every network failure is a `Reply` with a `Fault`.
        """
        ...

    async def aclose(self) -> None: ...


class RequestBuilder(Protocol):
    """Pure: an input row to its request."""

    columns: frozenset[str]
    """Input columns that `build` reads; the store decodes no others."""
    raw_columns: frozenset[str]
    """Those of them whose binary values are wanted as bytes (images) and not as text."""

    def build(self, row: InputRow) -> Request | Problem:
        """Raises nothing, whatever the row holds. Where a job has images it may read files: then not for the loop."""
        ...


class Prepare(Protocol):
    """`RequestBuilder.build` off the event loop, for rows whose request takes long to make."""

    async def __call__(self, row: InputRow) -> Request | Problem: ...


class ImageFiles(Protocol):
    """Image files that rows name; blocking, from any thread."""

    def read(self, path: str, *, most_bytes: int) -> bytes | Unusable:
        """The whole file, or why it is not given: not there, too large, outside the folder that may be read."""
        ...


class Slice(Protocol):
    """Consecutive input rows as Arrow, with the reasons of those that cannot be used.

    `problems` maps absolute row_index to the reason; such a row is null in every column that could not be read.
    """

    @property
    def first_row(self) -> int: ...
    @property
    def batch(self) -> pa.RecordBatch: ...
    @property
    def problems(self) -> Mapping[int, str]: ...


class RowSource(Protocol):
    """A scanned dataset, as the store reads it: blocking, from a thread, one slice at a time."""

    @property
    def schema(self) -> pa.Schema: ...
    @property
    def rows(self) -> int: ...
    def slices(self, *, first_row: int, rows_per_slice: int = 512) -> Iterator[Slice]:
        """Slices from `first_row` to the end, contiguous, in order, each at most `rows_per_slice` rows and 16 MiB.

        Raises:
            DatasetError: the source cannot be read any more.
            Conflict: the source is not the one that was scanned (shrunk, changed).
        """
        ...


class Settled(Protocol):
    """What a row's history amounts to."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def values(self) -> Mapping[str, object]:
        """Output columns by unprefixed name; absent means null. Input columns are not among them."""
        ...


class Settle(Protocol):
    """Pure: from a row's journalled history to its output values; None while the row is not done."""

    def __call__(self, history: RowHistory) -> Settled | None: ...


class Audit(Protocol):
    """Adds up what the rows of one shard cost while they are sealed, before the journals that tell it are deleted."""

    def add(self, history: RowHistory, settled: Settled | None, row: Callable[[], InputRow]) -> None:
        """Count one row; `row` gives its input, and is asked only where that is needed."""
        ...

    def to_json(self) -> Mapping[str, object]:
        """The sum, for the seal record."""
        ...


class Store(Protocol):
    """What the engine needs of the disk: rows to do, and a place where a paid answer is safe."""

    async def next_rows(self) -> Sequence[InputRow] | None:
        """The next rows without an end, in input order; waits while too many shards are open; None after the last."""
        ...

    def prior(self, row_index: int) -> tuple[int, int]:
        """(attempts, paid attempts) of the row in earlier sessions, as far as the journal knows."""
        ...

    def replies(self, row_index: int) -> Sequence[ReplyRecord]:
        """Whole answers of the row that earlier sessions journalled and that did not end it; asked for once."""
        ...

    def find_answer(self, request: Request) -> ReuseRecord | None:
        """An answer bought for exactly this request that no other row of this run has taken over."""
        ...

    def intend(self, record: IntentRecord) -> None:
        """Write the intent; returns when the bytes are with the operating system. Raises StorageError."""
        ...

    def void(self, record: VoidRecord) -> None: ...

    async def keep(self, record: ReplyRecord) -> None:
        """Write a reply at once; with ``strict`` durability returns when it is synced. Raises StorageError."""
        ...

    async def finish(self, row_index: int, outcome: Outcome, end: EndRecord | ReuseRecord | None) -> None:
        """The row is done: write its end record if it has one, and count it towards its shard's seal."""
        ...

    def reopen(self, row_index: int) -> None:
        """Make an ended row pending again: what ended it stopped the whole run."""
        ...
