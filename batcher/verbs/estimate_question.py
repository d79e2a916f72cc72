"""The one question of `run`: more than $5, a person at the terminal, and no limit set. Asked once, when a run begins.

It stands on the same estimate as the verb, over at most `QUESTION_ROWS` rows spread over the input, so that a large job
begins within seconds. A scheduler has no terminal and is never asked; a resumed run was answered for already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.errors import LimitReached
from batcher.policy.constants import COMPLETION_GUESS
from batcher.verbs.estimate import weigh
from batcher.verbs.estimate_reckoning import Known, reckon
from batcher.verbs.estimate_words import count, dollars, interval_words
from batcher.verbs.wiring import price_book

if TYPE_CHECKING:
    from batcher.verbs.estimate import Ground
    from batcher.verbs.estimate_reckoning import Reckoned
    from batcher.verbs.estimate_rows import Weighed

ASK_OVER_USD: Final = 5.0
QUESTION_ROWS: Final = 20_000


def ask_if_dear(ground: Ground) -> None:
    """Ask whether to go on, where that is for a person to say.

    Raises:
        LimitReached: the answer was no; nothing is sent or written.
    """
    options, limits = ground.options, ground.job.limits
    if options.ask is None or options.yes or options.simulate or limits.max_cost_usd is not None:
        return
    weighed = weigh(ground, most_rows=QUESTION_ROWS)
    known = Known(weighed.sample, told=f"the usage of {weighed.answered:,} answered rows")
    guessed = 0 if known.is_enough else _bounded(weighed)
    reckoned = reckon(ground.job, weighed, known, price_book(ground.job))
    if reckoned.usd is None or (reckoned.usd.likely or reckoned.usd.low) <= ASK_OVER_USD:
        return
    if not options.ask(_question(weighed, reckoned, guessed=guessed > 0)):
        raise LimitReached(
            f"You said no to about {dollars(reckoned.usd.likely or reckoned.usd.low)}; nothing was sent.",
            hint="--max-cost USD sets a limit and asks nothing; --yes asks nothing; batcher try buys a few rows first",
        )


def _bounded(weighed: Weighed) -> int:
    """Requests without a token maximum are taken for as long as the flow control takes them at first; how many."""
    guessed = 0
    for load in weighed.loads.values():
        load.most_completion += load.unbounded * COMPLETION_GUESS
        guessed, load.unbounded = guessed + load.unbounded, 0
    return guessed


def _question(weighed: Weighed, reckoned: Reckoned, *, guessed: bool) -> str:
    assert reckoned.usd is not None
    requests = count(weighed.to_send.requests * weighed.scale)
    told = (
        f"{COMPLETION_GUESS} tokens an answer, for there is no maximum" if guessed else reckoned.tokens_from
    )
    return (
        f"  {requests} requests, {interval_words(reckoned.usd, dollars)}  (tokens from {told})\n"
        "  No --max-cost is set. Send them?"
    )
