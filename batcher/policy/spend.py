"""The user's money: hard, because every request reserves the worst it can cost before it is sent.

spent + ambiguous at full price + the worst case of all in flight <= max_cost_usd, at every moment. Money is
summed in integer picodollars (1e-12), so that a million additions do not drift over the cap.

- Reserved: every byte of the body a prompt token, and max tokens x completions asked for.
- A reply that was not paid gives all back; one with usage costs what usage (or the gateway) says; one that is
  paid without usage, ambiguous or cancelled after sending costs all that was reserved.
- A gateway that bills above the list shows it by its first dear answer: from then on everything is reserved that
  many times dearer, what is in flight too. The first request of a session goes alone, so one answer tells.
- Lost attempts of earlier sessions (intents left by a crash) count in full: `add_lost`.
- When it cannot send and nothing is in flight, no event will ever make room: the run stops, exit 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from batcher.errors import BatcherError, JobError, LimitReached
from batcher.policy.constants import TOKENS_PER_PRICE
from batcher.policy.estimate import Weigher, worst_tokens
from batcher.policy.part import Part, Wait
from batcher.policy.verdict import Paid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.policy.part import Observation
    from batcher.records import Request

_PICO: Final = 1_000_000_000_000
_REASON: Final = "budget"
_ROUNDING: Final = 1e-6
"""Chosen: by so small a share a bill may exceed the list without being dearer; floats were added."""
_HINT: Final = "raise it with --max-cost (or limits.max_cost_usd) and run the same command again"


class ModelRates(Protocol):
    """A model's prices in USD per million tokens, as `batcher.cost.prices.Rates` has them."""

    @property
    def input(self) -> float: ...
    @property
    def cached_input(self) -> float | None: ...
    @property
    def output(self) -> float: ...


if TYPE_CHECKING:
    RatesOf = Callable[[str], ModelRates | None]


def refusal_at_start(*, model: str, rates: ModelRates | None, max_tokens: int | None) -> JobError | None:
    """Why a run with a budget cannot begin, with the line to add; None: it can."""
    if rates is None:
        return JobError(
            f"max_cost_usd needs a price, and none is known for {model!r}.",
            hint=f'add [prices."{model}"] with input = and output = (USD per million tokens) to the job',
        )
    if max_tokens is None:
        return JobError(
            "max_cost_usd needs a token maximum: without one a single answer can cost any amount.",
            hint="add max_completion_tokens = (say, 1000) below [request]",
        )
    return None


def worst_cost_usd(request: Request, rates: ModelRates) -> float | None:
    """The most that one attempt can cost; None: no bound, the request has no token maximum."""
    prompt, completion = worst_tokens(request)
    if completion is None:
        return None
    return (prompt * rates.input + completion * rates.output) / TOKENS_PER_PRICE


class Spend(Part):
    """`max_cost_usd` >= 0 for the whole run, `spent_usd` >= 0 of earlier sessions."""

    def __init__(
        self,
        *,
        max_cost_usd: float,
        rates_of: RatesOf,
        spent_usd: float = 0.0,
        weigher: Weigher | None = None,
    ) -> None:
        if not (max_cost_usd >= 0 and math.isfinite(max_cost_usd)):
            raise ValueError(f"max_cost_usd must be 0 or more, got {max_cost_usd}")
        self._most = int(max_cost_usd * _PICO)
        self._max_cost_usd = max_cost_usd
        self._rates_of = rates_of
        self._weigher = weigher or Weigher()
        self._spent = _up(spent_usd)
        self._reserved = 0
        self._held: dict[int, int] = {}  # row in flight -> reserved
        self._asked: tuple[Request, int] | None = None
        self._per_token: dict[str, tuple[int, int]] = {}  # model -> picodollars, rounded up
        self._dearer = 1.0  # the most that an answer was billed, as a multiple of its price by the list

    @property
    def spent_usd(self) -> float:
        """Paid, and ambiguous at full price."""
        return self._spent / _PICO

    @property
    def reserved_usd(self) -> float:
        """The worst case of what is in flight."""
        return self._reserved / _PICO

    def add_lost(self, cost_usd: float) -> None:
        """Count an attempt of an earlier session whose end nobody knows."""
        self._spent += _up(cost_usd)

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        worst = self._worst(request)
        if worst is None:
            return Wait(math.inf, _REASON, stop=self._unbounded(request))
        if self._spent + self._reserved + worst <= self._most:
            self._asked = (request, worst)
            return None
        if self._held:
            return Wait(math.inf, _REASON)
        return Wait(math.inf, _REASON, stop=self._exhausted(worst))

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        asked = self._asked
        worst = asked[1] if asked is not None and asked[0] is request else self._worst(request)
        assert worst is not None, "admitted without a bound"
        assert request.row_index not in self._held, "a row has one attempt in flight"
        self._held[request.row_index] = worst
        self._reserved += worst

    def on_reply(self, seen: Observation) -> None:
        worst = self._held.pop(seen.request.row_index, 0)
        self._reserved -= worst
        if seen.verdict.paid is Paid.NO:
            return
        self._learn(seen)
        self._spent += worst if seen.verdict.paid is Paid.AMBIGUOUS else self._cost(seen, worst)

    def on_unanswered(self, request: Request, now: float) -> None:  # noqa: ARG002
        worst = self._held.pop(request.row_index, 0)
        self._reserved -= worst
        self._spent += worst

    def on_withdrawn(self, request: Request, now: float) -> None:  # noqa: ARG002
        self._reserved -= self._held.pop(request.row_index, 0)

    def holding(self, now: float) -> str | None:  # noqa: ARG002
        cheapest = min(self._held.values(), default=1)
        return _REASON if self._spent + self._reserved + cheapest > self._most else None

    def state(self, now: float) -> Mapping[str, object]:  # noqa: ARG002
        return {
            "budget": {
                "max_cost_usd": self._max_cost_usd,
                "spent_usd": self.spent_usd,
                "reserved_usd": self.reserved_usd,
            }
        }

    def _worst(self, request: Request) -> int | None:
        prompt, completion = self._weigher.worst(request)
        per_token = self._per_token.get(request.model) or self._priced(request.model)
        if completion is None or per_token is None:
            return None
        worst = prompt * per_token[0] + completion * per_token[1]
        return worst if self._dearer == 1.0 else math.ceil(worst * self._dearer)

    def _learn(self, seen: Observation) -> None:
        """Reserve more from now on where an answer was billed above the list."""
        prompt, completion = seen.usage.prompt_tokens, seen.usage.completion_tokens
        per_token = self._per_token.get(seen.request.model)
        if not (seen.cost_usd and math.isfinite(seen.cost_usd) and prompt and completion and per_token):
            return
        listed = prompt * per_token[0] + completion * per_token[1]
        dearer = seen.cost_usd * _PICO / listed if listed else 1.0
        if dearer <= self._dearer * (1 + _ROUNDING):
            return
        by, self._dearer, self._asked = dearer / self._dearer, dearer, None
        self._held = {row: math.ceil(worst * by) for row, worst in self._held.items()}
        self._reserved = sum(self._held.values())

    def _priced(self, model: str) -> tuple[int, int] | None:
        rates = self._rates_of(model)
        if rates is None:
            return None
        per_token = (_up(rates.input / TOKENS_PER_PRICE), _up(rates.output / TOKENS_PER_PRICE))
        self._per_token[model] = per_token
        return per_token

    def _cost(self, seen: Observation, worst: int) -> int:
        if seen.cost_usd is not None and seen.cost_usd >= 0 and math.isfinite(seen.cost_usd):
            return _up(seen.cost_usd)
        prompt, completion = seen.usage.prompt_tokens, seen.usage.completion_tokens
        per_token = self._per_token.get(seen.request.model)
        if prompt is None or completion is None or per_token is None:
            return worst
        if not seen.usage.cached_tokens:
            return prompt * per_token[0] + completion * per_token[1]
        rates = self._rates_of(seen.request.model)
        return worst if rates is None else _up(_cost_usd(prompt, completion, seen.usage.cached_tokens, rates))

    def _unbounded(self, request: Request) -> BatcherError:
        why = refusal_at_start(
            model=request.model, rates=self._rates_of(request.model), max_tokens=request.max_tokens
        )
        assert why is not None
        return JobError(f"row {request.row_index}: {why}", hint=why.hint)

    def _exhausted(self, worst: int) -> LimitReached:
        return LimitReached(
            f"The budget of ${self._max_cost_usd:,.2f} has ${max(0, self._most - self._spent) / _PICO:,.4f} left;"
            f" the next request could cost ${worst / _PICO:,.4f}.",
            hint=_HINT,
        )


def _cost_usd(prompt: int, completion: int, cached: int, rates: ModelRates) -> float:
    cached = min(cached, prompt)
    cached_input = rates.input if rates.cached_input is None else rates.cached_input
    fresh = prompt - cached
    return (fresh * rates.input + cached * cached_input + completion * rates.output) / TOKENS_PER_PRICE


def _up(usd: float) -> int:
    """Picodollars, rounded up."""
    return math.ceil(usd * _PICO)
