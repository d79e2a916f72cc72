"""Pure: what a run's manifest says has happened so far.

A run has rounds: round 0 is the run itself, each `retry` opens another. Shards are numbered over all rounds; the open
and sealed shards named here are those of the latest round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.store.manifest import Publish, RetryOpen, SessionOpen, ShardOpen, ShardSeal, Stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.store.manifest import ManifestRecord


@dataclass(slots=True)
class RunState:
    """The state of a run, replayed from its manifest.

    Attributes:
        opened: shards of the latest round, sealed ones included, by number.
        sealed: those of them that are sealed.
        published: the latest round's publish record, or None while it is not published.
        first_publish: round 0's publish record, or None.
        next_row: row after the last one that a shard of the latest round covers.
        possibly_paid: (session, row_index) of intents that a crash left open, as found by later sessions.
    """

    sessions: dict[int, SessionOpen] = field(default_factory=dict)
    stops: dict[int, Stop] = field(default_factory=dict)
    retry: RetryOpen | None = None
    opened: dict[int, ShardOpen] = field(default_factory=dict)
    sealed: dict[int, ShardSeal] = field(default_factory=dict)
    published: Publish | None = None
    first_publish: Publish | None = None
    next_shard: int = 0
    next_row: int = 0
    possibly_paid: list[tuple[int, int]] = field(default_factory=list)

    @property
    def session(self) -> int:
        """The latest session's number, 0 before the first."""
        return max(self.sessions, default=0)

    @property
    def unfinished(self) -> list[ShardOpen]:
        """Open shards that are not sealed, in order."""
        return [shard for number, shard in sorted(self.opened.items()) if number not in self.sealed]

    @property
    def sealed_rows(self) -> int:
        return sum(seal.rows for seal in self.sealed.values())

    def apply(self, record: ManifestRecord) -> None:
        """Take one record, in the order of the manifest."""
        match record:
            case SessionOpen():
                self.sessions[record.session] = record
                found = record.extra.get("possibly_paid", [])
                assert isinstance(found, list)
                self.possibly_paid += [(int(session), int(row)) for session, row in found]
            case ShardOpen():
                self.opened[record.shard] = record
                self.sealed.pop(record.shard, None)  # its part was lost, so it is done again
                self.next_shard = max(self.next_shard, record.shard + 1)
                self.next_row = max(self.next_row, record.first_row + record.rows)
            case ShardSeal():
                self.sealed[record.shard] = record
                opened = self.opened[record.shard]
                if record.rows < opened.rows:
                    self._cut_short(opened.first_row + record.rows)
            case RetryOpen():
                self.retry = record
                self.opened, self.sealed, self.published, self.next_row = {}, {}, None, 0
            case Publish():
                self.published = record
                self.first_publish = self.first_publish or record
            case Stop():
                self.stops[record.session] = record

    def _cut_short(self, end_row: int) -> None:
        """A lowered limit sealed a shard before its end: untouched shards behind it count as never opened."""
        self.next_row = end_row
        self.opened = {number: shard for number, shard in self.opened.items() if shard.first_row < end_row}


def replay(records: Iterable[ManifestRecord]) -> RunState:
    """The state after these records."""
    state = RunState()
    for record in records:
        state.apply(record)
    return state
