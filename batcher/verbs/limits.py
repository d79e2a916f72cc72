"""What the user and the machine allow a session: the job's limits as the flow control takes them, file descriptors.

A connection is a file descriptor, so the number in flight is bounded by the limit of open files. The soft limit is
raised first, as far as it is needed and the hard limit allows; only then the window is capped, and that is said.
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

from batcher.errors import LimitReached
from batcher.policy import FlowSettings, most_in_flight, refusal_at_start
from batcher.policy.constants import DESCRIPTORS_KEPT, WINDOW_MOST
from batcher.report.wording import duration
from batcher.verbs.closing import token_limit
from batcher.verbs.wiring import price_book

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.job import Job
    from batcher.policy import FlowState, ModelRates

LEAST_USD = 0.000001
"""What dollars are told to; less is the noise of adding floats."""
SHORTEST_DEADLINE_S = 0.001
"""A deadline that passed while the input was read still is a deadline; the flow control wants more than 0."""


def flow_settings(job: Job, *, most_concurrency: int, input_format: str, started: float) -> FlowSettings:
    """The job's limits, for a session that begins to send now.

    Args:
        job: whose limits.
        most_concurrency: the machine's (`open_files_for`).
        input_format: OpenAI Batch lines may ask for several completions each, on their own.
        started: when the session began, on the clock of `time.monotonic`: its deadline runs from there.
    """
    limits = job.limits
    deadline_s = None
    if limits.deadline is not None:
        deadline_s = max(SHORTEST_DEADLINE_S, limits.deadline - (time.monotonic() - started))
    return FlowSettings(
        concurrency=limits.concurrency,
        most_concurrency=most_concurrency,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        max_cost_usd=limits.max_cost_usd,
        deadline_s=deadline_s,
        completions=None if input_format == "openai-batch" else job.request.n or 1,
        rates_of=rates_of(job),
    )


def open_files_for(wished: int | None) -> tuple[int, str | None]:
    """Make room for so many connections; None wishes for as many as the window may ever have.

    Returns:
        (how many requests may be in flight, one line for a person where that is fewer than wished or None).
    """
    wanted = wished or WINDOW_MOST
    limit = _raised(wanted + DESCRIPTORS_KEPT)
    most = most_in_flight(limit, most=max(wanted, WINDOW_MOST))
    if limit is None or most >= wanted:
        return most, None
    return most, (
        f"at most {most:,} requests in flight, not {wanted:,}: the process may open {limit:,} files"
        " (see ulimit -Hn)"
    )


def rates_of(job: Job) -> Callable[[str], ModelRates | None]:
    """A request's model -> rates that bound what its replies can cost; None where no price is known."""
    book = price_book(job)

    def rates(model: str) -> ModelRates | None:
        found, dearest = book.rates_for(model), book.worst_rates_for(model)
        if found is None or dearest is None:
            return None
        # Flat rates bound a reply themselves, and know what cached tokens cost.
        is_flat = not found.tiers and (found.input, found.output) == (dearest.input, dearest.output)
        return found if is_flat else dearest

    return rates


def refuse_without_bound(job: Job, input_format: str) -> None:
    """A budget needs a price and a token maximum. Rows that are requests of their own are asked one by one, later.

    Raises:
        JobError: naming the line to add.
    """
    if job.limits.max_cost_usd is None or input_format == "openai-batch":
        return
    model = job.request.model
    refusal = refusal_at_start(model=model, rates=rates_of(job)(model), max_tokens=token_limit(job))
    if refusal is not None:
        raise refusal


def limit_told(
    reached: LimitReached, job: Job, flow: FlowState, *, certain_usd: float, now: float
) -> LimitReached:
    """The limit as a person wants it told: what it was, what is spent and left, what goes on.

    Args:
        reached: what stopped the session.
        job: whose limit.
        flow: knows which limit it was, and what is spent.
        certain_usd: what is known to be spent, in all sessions; the rest was counted at its worst.
        now: on the clock of `flow`.
    """
    if flow.overdue(now) is not None and job.limits.deadline is not None:
        told = LimitReached(
            f"The deadline of {duration(job.limits.deadline)} has passed; nothing new was sent.",
            hint="the same command goes on, with a deadline of its own",
        )
        told.next_step = "rerun"
        return told
    if flow.spend is None or job.limits.max_cost_usd is None:
        return reached
    cap, spent = job.limits.max_cost_usd, flow.spend.spent_usd
    doubt = spent - certain_usd
    perhaps = f" ({dollars(doubt)} of it at most, for attempts of unknown cost)" if doubt > LEAST_USD else ""
    return LimitReached(
        f"The budget of {dollars(cap)} is used up: {dollars(spent)} spent{perhaps}, {dollars(max(0.0, cap - spent))}"
        " left,\nwhich is less than the next request may cost.",
        hint="the same command goes on with a larger --max-cost (or [limits] max_cost_usd)",
    )


def dollars(usd: float) -> str:
    """With as many digits as tell a sum from its cap: at least two, at most six behind the point."""
    text = f"{usd:,.6f}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"${whole}.{rest:0<2}"


def _raised(descriptors: int) -> int | None:
    """The soft limit of open files, raised to so many if the hard limit allows; None: there is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft >= descriptors:
        return soft
    wanted = descriptors if hard == resource.RLIM_INFINITY else min(descriptors, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a limit of its own below the hard one
        return soft
    return wanted
