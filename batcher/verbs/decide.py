"""Pure: what stands at a run's place, and what to do about it.

Rules, in order:

1. Nothing was begun: a free name begins a run; an output of ours of the same fingerprint and rows is finished; an
   output of ours of another one needs `--replace` or `--fresh`; a foreign file is never replaced.
2. A run of the same fingerprint goes on (with `--fresh` only one that was begun so), or is finished when its output
   holds the wanted rows. A raised limit begins a new run that takes all answers over. An output that was deleted or
   moved away begins a new run.
3. A run of another fingerprint needs `--replace` (its answers may be taken over) or `--fresh` (they are not), unless
   the output that it was to replace still stands there and is what is wished: that is finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.store.footer import FileFacts
    from batcher.store.run_facts import RunFacts


class Step(StrEnum):
    BEGIN = "begin"  # the name is free (what stood in the run directory is set aside)
    RESUME = "resume"
    FINISHED = "finished"  # nothing to send
    REPLACE = "replace"  # a new run, whose output takes the place of the one that stands there
    REFUSE_CHANGED = "refuse_changed"  # another fingerprint, and no word that it may be replaced
    REFUSE_FOREIGN = "refuse_foreign"  # something that is not of this run stands at the output's name


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at a run's place.

    Attributes:
        facts: of the run directory, or None.
        is_published: the run's first round is published, as its manifest says.
        output_exists: something stands at the output's name.
        output: its footer, None when it is not ours.
        output_rows: None when it is not ours.
    """

    facts: RunFacts | None
    is_published: bool
    output_exists: bool
    output: FileFacts | None
    output_rows: int | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for. `rows` is the wanted number of rows (the limit, or all)."""

    fingerprint: str
    rows: int
    replace: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do.

    Attributes:
        replaces: id of the run whose output is to be replaced when the new one is verified, or None.
        takes_over: answers of what stands there may be taken over.
        reason: one sentence for the person, or None.
    """

    step: Step
    replaces: str | None = None
    takes_over: bool = True
    reason: str | None = None


def decide(place: Place, wish: Wish) -> Decision:
    """Apply the rules."""
    if place.facts is None:
        return _nothing_begun(place, wish)
    if place.facts.fingerprint != wish.fingerprint:
        return _changed(place, wish)
    return _same(place, place.facts, wish)


def _nothing_begun(place: Place, wish: Wish) -> Decision:
    if not place.output_exists:
        return Decision(Step.BEGIN)
    if place.output is None:
        return Decision(Step.REFUSE_FOREIGN)
    return _changed(place, wish)


def _changed(place: Place, wish: Wish) -> Decision:
    if _is_finished(place, wish) and not wish.fresh:
        return Decision(Step.FINISHED)
    same_rows_missing = place.output is not None and place.output.fingerprint == wish.fingerprint
    if not (wish.replace or wish.fresh or same_rows_missing):
        return Decision(Step.REFUSE_CHANGED)
    return _begin_over(place, takes_over=not wish.fresh)


def _same(place: Place, facts: RunFacts, wish: Wish) -> Decision:
    if wish.fresh and (place.is_published or not facts.fresh):
        return _begin_over(place, takes_over=False)
    if not place.is_published:
        return Decision(Step.RESUME if _may_publish(place, facts) else Step.REFUSE_FOREIGN)
    if not place.output_exists:
        return Decision(Step.BEGIN, reason="the output of the earlier run is gone; this is a new run")
    if not _is_of(place.output, facts.run_id):
        return Decision(Step.REFUSE_FOREIGN)
    if _is_finished(place, wish):
        return Decision(Step.FINISHED)
    return _begin_over(place, takes_over=True)


def _begin_over(place: Place, *, takes_over: bool) -> Decision:
    if not place.output_exists:
        return Decision(Step.BEGIN, takes_over=takes_over)
    if place.output is None:
        return Decision(Step.REFUSE_FOREIGN)
    return Decision(Step.REPLACE, replaces=place.output.run_id, takes_over=takes_over)


def _may_publish(place: Place, facts: RunFacts) -> bool:
    """Whether the output's name is free for this run, or will be: nothing may be paid for what cannot be published."""
    if not place.output_exists or _is_of(place.output, facts.run_id):
        return True
    return facts.replaces is not None and _is_of(place.output, facts.replaces)


def _is_of(output: FileFacts | None, run_id: str) -> bool:
    """Whether that run published the file; what was exported from its middle is not that."""
    return output is not None and output.complete and output.run_id == run_id


def _is_finished(place: Place, wish: Wish) -> bool:
    return (
        place.output is not None
        and place.output.complete
        and place.output.fingerprint == wish.fingerprint
        and place.output_rows is not None
        and place.output_rows >= wish.rows
    )
