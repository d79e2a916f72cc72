"""The engine: one row from request to outcome, all rows at once, and how they stop.

    life        one row on its way: attempts, budgets, what the journal already knows of it
    attempt     one attempt: admitted, intended, exchanged, journalled, judged
    first_words when a streamed answer first said something
    turnstile   the one line in which everybody waits for a slot; retries stand in front
    dispatch    long-lived workers for first attempts, a bounded number of retry tasks, stopping
    supply      the store's rows, one at a time
    patience    what the clock alone stops a run for
    seats       how many failed rows may wait
    circumstances   what the run knows around a row's failure, and what that is charged to
    twins       rows that ask the same: one is sent, the others take its answer over
    fatal       rows that failed of what stopped the run, to be pending again
    judging     pure: a reply's verdict as the verdict on its row, by what the job asked answers to be
    settle      pure: from a row's journalled history to its output values
    tally       what the run has done so far, for progress and summary

It meets the network and the disk only as Protocols (`batcher.ports`) and runs on any anyio back-end.
"""

from batcher.engine.dispatch import Engine
from batcher.engine.settle import Settler
from batcher.engine.tally import Tally

__all__ = ["Engine", "Settler", "Tally"]
