"""What one session is to carry out, and the parts it has opened to do it; values, no logic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.verbs.flow_account import FlowAccount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from batcher.engine import Tally
    from batcher.engine.settle import Settler
    from batcher.job import Job
    from batcher.ports import RowSource
    from batcher.store.ballast import Ballast
    from batcher.store.columns import OutputSchema
    from batcher.store.footer import FileFacts
    from batcher.store.lock import RunLock
    from batcher.store.manifest import Manifest, RetryOpen
    from batcher.store.publish import ReplacePlan
    from batcher.store.recovery import Recovery
    from batcher.store.reuse import AnswerSource, ReuseIndex
    from batcher.store.run_facts import RunFacts
    from batcher.store.run_state import RunState
    from batcher.verbs.opening import Site
    from batcher.verbs.options import RunOptions
    from batcher.verbs.target import Target
    from batcher.verbs.wiring import InputShape


@dataclass(frozen=True, slots=True)
class Round:
    """What is to be carried out, and where.

    Attributes:
        source: the rows; `shape` is what the wiring needs to know of them, `rows` how many are wanted.
        plan: what stands at the output's name and may be replaced, or None for a free name.
        generation: of the output: 0 for the run's own, n for its n-th retry.
        selected, base, row_indices: as in `StorePlan`, for `retry` and `try`.
        opening: a record that begins the round, appended unless the manifest is in that round already.
        sources: answers that may be taken over, beside what the facts and `--reuse` name.
    """

    job: Job
    site: Site
    facts: RunFacts
    source: RowSource
    shape: InputShape
    rows: int
    target: Target
    options: RunOptions
    lock: RunLock
    verb: str
    plan: ReplacePlan | None = None
    generation: int = 0
    selected: Callable[[int, int], bytes] | None = None
    base: Callable[[int, int], pa.Table] | None = None
    row_indices: Sequence[int] | None = None
    opening: RetryOpen | None = None
    sources: Sequence[AnswerSource] = ()


@dataclass(slots=True)
class Session:
    """The opened parts of one session."""

    round: Round
    manifest: Manifest
    state: RunState
    settle: Settler
    schema: OutputSchema
    facts: FileFacts
    recovery: Recovery
    number: int
    end_row: int
    started: float
    started_at: float
    tally: Tally
    reuse: ReuseIndex | None
    ballast: Ballast
    check: Callable[[], None]
    account: FlowAccount = field(default_factory=FlowAccount)
