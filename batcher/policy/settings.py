"""What the user (and the machine) allows the flow control, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.policy.constants import MOST_BYTES_IN_FLIGHT, WINDOW_MOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.policy.spend import ModelRates


def no_rates(model: str) -> ModelRates | None:
    """No model has a price."""
    del model
    return None


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """The limits of one session.

    Attributes:
        concurrency: requests in flight, >= 1; None: found ("auto").
        most_concurrency: the cap in any case, >= 1 (`most_in_flight` knows the file descriptors).
        requests_per_minute: > 0; None: none set, the server's are followed.
        tokens_per_minute: > 0; None as above.
        max_cost_usd: for the whole run, >= 0; None: no budget.
        deadline_s: from the session's start, > 0; None: none.
        most_bytes_in_flight: of requests and replies held at once, >= 1; a larger row goes alone.
        answered_before: whether earlier sessions of the run were answered.
        completions: ``n`` of every request, >= 1; None: it differs, each body says so (costs a search).
        rates_of: a model's prices, or None when there are none; only asked with a budget.
    """

    concurrency: int | None = None
    most_concurrency: int = WINDOW_MOST
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost_usd: float | None = None
    deadline_s: float | None = None
    most_bytes_in_flight: int = MOST_BYTES_IN_FLIGHT
    answered_before: bool = False
    completions: int | None = None
    rates_of: Callable[[str], ModelRates | None] = no_rates
