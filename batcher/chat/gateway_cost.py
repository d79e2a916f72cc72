"""What a gateway says a reply cost, in USD: OpenRouter's ``usage.cost``, then LiteLLM's response header.

A cost is believed when it is a finite number from 0 to `MOST_USD`; anything else is flagged as ``cost_unreadable``
and not used, because it would stand in a bill. Absent is None and not odd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = "x-litellm-response-cost"
MOST_USD = 10_000.0
"""The dearest reply believed: 10 M tokens, the largest context on offer, at $600 per million cost $6,000."""
ODD = "cost_unreadable"


def cost_in_usage(usage: object, odd: list[str]) -> float | None:
    """The cost in a usage object.

    With a key of one's own (``is_byok``) OpenRouter's ``cost`` is its fee only; what the provider charges stands
    beside it, and without that the cost is unknown. Perplexity sends an object with a ``total_cost``.
    """
    if not isinstance(usage, dict):
        return None
    said = usage.get("cost")
    if isinstance(said, dict):
        said = said.get("total_cost")
    if said is None:
        return None
    cost = _believed(said, odd)
    if cost is None or usage.get("is_byok") is not True:
        return cost
    details = usage.get("cost_details")
    upstream = details.get("upstream_inference_cost") if isinstance(details, dict) else None
    charged = None if upstream is None else _believed(upstream, odd)
    return None if charged is None else cost + charged


def cost_in_headers(headers: Iterable[tuple[str, str]], odd: list[str]) -> float | None:
    """The cost in a reply's headers (names in lower case); LiteLLM writes None where it knows no price."""
    for name, said in headers:
        if name == HEADER:
            return None if said.strip() in ("", "None") else _believed(_number(said), odd)
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _believed(said: object, odd: list[str]) -> float | None:
    # bool is an int and no number of dollars; NaN fails both comparisons.
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= MOST_USD:
        return float(said)
    if ODD not in odd:
        odd.append(ODD)
    return None
