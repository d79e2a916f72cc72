"""Equal rows sent once: what a session knows of answers before its first row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.engine.twins import Twins
from batcher.store.reuse import REUSED_COLUMNS
from batcher.store.unfinished import DirectoryAnswers

if TYPE_CHECKING:
    from batcher.verbs.round import Session


def twins_of(session: Session) -> Twins | None:
    """The twins of a session, its run's earlier answers known; None where the job sends equal rows as they come.

    Raises:
        StorageError: what earlier sessions wrote cannot be read.
    """
    round_ = session.round
    if not round_.job.request.dedupe:
        return None
    run_id = round_.facts.run_id
    twins = Twins(run_id=run_id, settle=session.settle, columns=REUSED_COLUMNS)
    for answer in DirectoryAnswers(round_.site.directory, settle=session.settle, run_id=run_id):
        twins.remember(answer.request_hash, answer.run_id, answer.values)
    return twins
