"""Pure: from rows that were weighed to tokens, dollars and time, each as an interval with what it stands on.

Rules of what it stands on, in order: usage that the user names (`--from`), usage of this job's own answers (a try, a
run in the making), else bytes by script for the prompt and the token maximum for the completion. A completion without
a maximum and without usage has no upper end, and neither have its dollars: that is said, never guessed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.cost.estimate import Interval, Sampled, projected
from batcher.cost.estimate_tokens import PER_IMAGE, PER_IMAGE_LOW, UNSURE_SHARE
from batcher.policy.constants import IMAGE_WORST_TOKENS
from batcher.records import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.cost.book import PriceBook
    from batcher.job import Job
    from batcher.verbs.estimate_rows import Answered, Load, Weighed

LEAST_SAMPLE: Final = 5
"""Answered rows that tell more than the bytes do."""
_SEED: Final = 20_260_102
_MINUTE_S: Final = 60.0
_MILLION: Final = 1e6
NOTHING: Final = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Known:
    """Usage that is known of some rows.

    Attributes:
        sample: drawn at random.
        is_part: they are rows of those that are reckoned with.
        told: where they are from, for a person.
        rows_per_s: how fast the run went that they are from, or None.
        at_once: requests in flight that it came to, or None; what the job says goes before.
    """

    sample: Sequence[Answered] = ()
    is_part: bool = False
    told: str = ""
    rows_per_s: float | None = None
    at_once: int | None = None

    @property
    def is_enough(self) -> bool:
        return len(self.sample) >= LEAST_SAMPLE


class Reckoned(NamedTuple):
    """What so many requests come to.

    Attributes:
        usd: None where a model has no price.
        seconds: None where nothing tells.
        tokens_from: what the tokens stand on.
        seconds_from: what the time stands on, or why it is unknown.
        unpriced: the models without a price.
    """

    prompt: Interval
    completion: Interval
    total: Interval
    usd: Interval | None
    seconds: Interval | None
    tokens_from: str
    seconds_from: str
    unpriced: tuple[str, ...] = ()


class _Prices(NamedTuple):
    """Dollars per token, averaged over what is sent."""

    input: float
    output: float


def reckon(job: Job, weighed: Weighed, known: Known, book: PriceBook, *, whole: bool = False) -> Reckoned:
    """Tokens, dollars and time of what is left to send.

    Args:
        job: its limits bound the time.
        weighed: the rows.
        known: what usage tells.
        book: prices.
        whole: of all usable rows, as if none were answered yet; `weighed` was made without an index then.
    """
    load, scale = weighed.to_send, weighed.scale
    requests, weight = round(load.requests * scale), load.weight * scale
    if not requests:
        told = "nothing is left to send"
        return Reckoned(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, told, told)
    prices, unpriced = _prices(weighed.loads, book)
    if known.is_enough:
        prompt, completion, total, usd = _by_usage(known, book, prices, requests, weight, whole=whole)
        told = known.told
    else:
        prompt = _by_script(weight, weighed.pictures * scale)
        completion = _by_maximum(load, requests, scale)
        total = prompt.plus(completion)
        usd = _dollars(prompt, completion, prices) if prices is not None else None
        told = "bytes by script; completions up to their maximum"
    seconds, seconds_from = _time(job, requests, total, known)
    return Reckoned(prompt, completion, total, usd, seconds, told, seconds_from, unpriced)


def _prices(loads: dict[str, Load], book: PriceBook) -> tuple[_Prices | None, tuple[str, ...]]:
    weight = sum(load.weight for load in loads.values()) or 1.0
    requests = sum(load.requests for load in loads.values())
    spent = given = 0.0
    unpriced = []
    for model, load in loads.items():
        rates = book.rates_for(model)
        if rates is None:
            unpriced.append(model)
            continue
        rates = rates.at(round(load.weight / load.requests)) if load.requests else rates
        spent += load.weight * rates.input
        given += load.requests * rates.output
    return (None if unpriced else _Prices(spent / weight / _MILLION, given / requests / _MILLION)), tuple(
        unpriced
    )


def _dollars(prompt: Interval, completion: Interval, prices: _Prices) -> Interval:
    return prompt.times(prices.input).plus(completion.times(prices.output))


def _by_script(weight: float, pictures: float) -> Interval:
    """Texts are off by a share; a picture weighs 85 tokens or tens of thousands, by its size and the model."""
    text = max(0.0, weight - pictures * PER_IMAGE)
    return Interval(
        text * (1 - UNSURE_SHARE) + pictures * PER_IMAGE_LOW,
        weight,
        text * (1 + UNSURE_SHARE) + pictures * IMAGE_WORST_TOKENS,
    )


def _by_maximum(load: Load, requests: int, scale: float) -> Interval:
    """One token at least; the maxima at most, where every request has one."""
    most = None if load.unbounded else load.most_completion * scale
    return Interval(float(requests), most, most)


def _by_usage(
    known: Known, book: PriceBook, prices: _Prices | None, requests: int, weight: float, *, whole: bool
) -> tuple[Interval, Interval, Interval, Interval | None]:
    """(prompt, completion, total, dollars) as the sample was."""
    is_part = known.is_part and whole

    def all_of(sample: Sequence[Sampled]) -> Interval:
        rng = random.Random(_SEED)  # noqa: S311 - a bootstrap, not a secret
        return projected(sample, rows=requests, weight=weight, is_part=is_part, rng=rng)

    counts = [
        (each, float(each.usage.prompt_tokens or 0), float(each.usage.completion_tokens or 0))
        for each in known.sample
    ]
    prompt = all_of([Sampled(each.weight, told, 0.0) for each, told, _ in counts])
    completion = all_of([Sampled(each.weight, 0.0, told) for each, _, told in counts])
    total = all_of([Sampled(each.weight, told, given) for each, told, given in counts])
    if prices is None:
        return prompt, completion, total, None
    return prompt, completion, total, all_of([_priced(each, book, prices) for each in known.sample])


def _priced(row: Answered, book: PriceBook, prices: _Prices) -> Sampled:
    """The row's dollars at the prices of the model that is asked now, its cached share kept."""
    usage = row.usage
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    prompt_usd, rest_usd = prompt * prices.input, completion * prices.output
    whole = book(row.request_model, row.response_model, usage)
    rates = book.rates_for(row.response_model, row.request_model)
    if whole is None or rates is None:
        return Sampled(row.weight, prompt_usd, rest_usd)
    uncached = book(row.request_model, row.response_model, Usage(prompt, completion, usage.total_tokens))
    share = whole.usd / uncached.usd if uncached is not None and uncached.usd else 1.0
    return Sampled(row.weight, prompt_usd * share, rest_usd * share)


def _time(job: Job, requests: int, total: Interval, known: Known) -> tuple[Interval | None, str]:
    """The longest of what each known limit needs; the limit is named."""
    limits = job.limits
    needed: list[tuple[Interval, str]] = []
    if limits.requests_per_minute is not None:
        seconds = requests / limits.requests_per_minute * _MINUTE_S
        needed.append(
            (Interval(seconds, seconds, seconds), f"{limits.requests_per_minute:,.0f} requests/min")
        )
    if limits.tokens_per_minute is not None:
        needed.append(
            (total.times(_MINUTE_S / limits.tokens_per_minute), f"{limits.tokens_per_minute:,.0f} tokens/min")
        )
    latencies = [each.latency_ms / 1000 for each in known.sample if each.latency_ms is not None]
    at_once = limits.concurrency or known.at_once
    if at_once is not None and len(latencies) >= LEAST_SAMPLE:
        rng = random.Random(_SEED)  # noqa: S311 - a bootstrap, not a secret
        lasted = [Sampled(0.0, 0.0, each) for each in latencies]
        whole = projected(lasted, rows=requests, weight=0.0, is_part=False, rng=rng)
        told = f"{at_once:,} at once, {fmean(latencies):.2g} s each"
        needed.append((whole.times(1 / at_once), told))
    elif known.rows_per_s:
        seconds = requests / known.rows_per_s
        needed.append(
            (
                Interval(seconds / 2, seconds, seconds * 2),
                f"{known.rows_per_s:,.1f} rows/s, as {known.told} went",
            )
        )
    if not needed:
        return None, "how many go at once is found on the way; --rpm, --tpm, --concurrency or --from tell"
    found, told = max(needed, key=lambda each: each[0].likely or each[0].low)
    return found, told
