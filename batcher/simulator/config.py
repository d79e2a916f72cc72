"""How a simulator behaves, as one frozen value that checks itself; also its JSON form for argv and `POST
/control`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches

import orjson

from batcher.simulator.latency import parse_latency
from batcher.simulator.modes import MODES

HINTS = ("x-ratelimit", "retry-after", "retry-after-ms", "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Everything about a simulator that can be chosen; all of it but `port` also while it runs.

    Attributes:
        seed: with the content decides every answer, fault and latency.
        port: 0 for any free one.
        latency: of generated answers, see `latency`; from the moment service begins.
        refusal_latency: of replies that generate nothing.
        chunk_latency: between two chunks of a stream; drawn once for a stream.
        faults: mode -> share of contents, 0 to 1, at most 1 together.
        faulty_attempts: transient modes of `faults` hit the first so many attempts of a content.
        faults_by_substring: text -> mode; every request whose body contains the text (as UTF-8) gets the
            mode, always.
        fail_after: mode -> k; once k answers have been generated every request gets the mode.
        rpm: requests per minute; rps: per second; tpm: prompt and most completion tokens per minute; None
            is no limit.
        burst_s: seconds of the rate that may come at once (at least one request).
        credit_unused: what an answer did not use of the tokens taken for it is given back when it is over.
        limit_hints: which of `HINTS` a 429 of these limits carries ("message": "try again in ..."), and
            x-ratelimit-* every reply.
        capacity: requests served at once, the others queue; None is no bound.
        retry_after_s: the wait that throttling modes hint at.
        daily_wait_s: the wait that `daily_limit` hints at.
        drip_s: seconds per byte of mode `drip`.
        hold_s: after it a hanging connection is closed.
        outage_s: how long the port refuses in mode `outage`.
        huge_body_bytes: least size of mode `body_over_64_mib`.
        redirect_to: the Location of redirect modes.
        models: known models, any other gets 404; empty: all are known.
        api_key: the one accepted key, others get 401; None: all are accepted.
        max_sentences: longest free-text answer.
        realistic_tokens: counted as a vocabulary of today would, not 4 bytes each (slower; rate limits stay by bytes).
        answer_words: words of a free-text answer, in the place of sentences; a distribution written as latencies are.
        cached_share: of the prompt tokens, said to come from a cache, 0 to 1; None: as OpenAI, from 1,024 on.
        gateway_price: USD per million tokens of both kinds, told as what each answer cost; None: not told.
        gateway_header: tell it as LiteLLM does, in a header, not as OpenRouter does, in `usage.cost`.
        ledger: keep an entry per request; totals are always kept.
        ledger_key: regular expression over the request body; its first group is stored with the entry.
    """

    seed: int = 0
    port: int = 0
    latency: str = "fixed:0.02"
    refusal_latency: str = "fixed:0"
    chunk_latency: str = "fixed:0"
    faults: Mapping[str, float] = field(default_factory=dict)
    faulty_attempts: int = 1
    faults_by_substring: Mapping[str, str] = field(default_factory=dict)
    fail_after: Mapping[str, int] = field(default_factory=dict)
    rpm: float | None = None
    rps: float | None = None
    tpm: float | None = None
    burst_s: float = 1.0
    credit_unused: bool = False
    limit_hints: tuple[str, ...] = HINTS
    capacity: int | None = None
    retry_after_s: float = 0.02
    daily_wait_s: float = 1200.0
    drip_s: float = 60.0
    hold_s: float = 3600.0
    outage_s: float = 0.5
    huge_body_bytes: int = 64 * 1024 * 1024 + 1
    redirect_to: str = "/v1/moved/chat/completions"
    models: tuple[str, ...] = ()
    api_key: str | None = None
    max_sentences: int = 6
    realistic_tokens: bool = False
    answer_words: str | None = None
    cached_share: float | None = None
    gateway_price: float | None = None
    gateway_header: bool = False
    ledger: bool = True
    ledger_key: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting and what it may be."""
        _check_types(self)
        parse_latency(self.latency)
        parse_latency(self.refusal_latency)
        if self.answer_words is not None:
            parse_latency(self.answer_words)
        parse_latency(self.chunk_latency)
        _check_faults(self)
        _check_bounds(self)
        if unknown := set(self.limit_hints) - set(HINTS):
            raise ValueError(f"limit_hints: {sorted(unknown)} not among {HINTS}")
        if not 0 <= self.port < 65_536 or "\n" in self.redirect_to or "\r" in self.redirect_to:
            raise ValueError("port must be from 0 to 65535, redirect_to one line")
        if self.ledger_key is not None and re.compile(self.ledger_key).groups < 1:
            raise ValueError("ledger_key needs a group: what it matches is stored")

    def changed(self, changes: Mapping[str, object]) -> SimulatorConfig:
        """A copy with some settings replaced, each as a whole. Raises ValueError for an unknown or bad
        setting.
        """
        known = {setting.name for setting in fields(self)}
        for name in changes:
            if name not in known:
                raise ValueError(f"unknown setting {name!r}{_suggestion(name, known)}")
        frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
        return replace(self, **frozen)  # type: ignore[arg-type]  # checked by __post_init__

    def changed_by_json(self, text: str | bytes) -> SimulatorConfig:
        """As `changed`, from a JSON object. Raises ValueError."""
        changes = orjson.loads(text)
        if not isinstance(changes, dict):
            raise ValueError("settings must be a JSON object")  # noqa: TRY004  # one kind of error for bad settings
        return self.changed(changes)

    def to_json(self) -> bytes:
        return orjson.dumps(self)


def check_mode(name: str) -> None:
    if name not in MODES:
        raise ValueError(f"unknown mode {name!r}{_suggestion(name, MODES)}")


def _suggestion(name: str, known: Mapping[str, object] | set[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


_NUMBER = (int, float)
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "str": (str,),
    "bool": (bool,),
    "float": _NUMBER,
    "int | None": (int, type(None)),
    "float | None": (*_NUMBER, type(None)),
    "str | None": (str, type(None)),
    "tuple[str, ...]": (tuple,),
    "Mapping[str, float]": (Mapping,),
    "Mapping[str, int]": (Mapping,),
    "Mapping[str, str]": (Mapping,),
}
_ITEMS: dict[str, tuple[type, ...]] = {"float": _NUMBER, "int": (int,), "str": (str,)}


def _check_types(config: SimulatorConfig) -> None:
    """Settings come from JSON, so their types are checked; annotations are text here, which makes a table
    enough.
    """
    for setting in fields(config):
        value, wanted = getattr(config, setting.name), str(setting.type)
        fits = isinstance(value, _TYPES[wanted]) and not (isinstance(value, bool) and wanted != "bool")
        if fits and isinstance(value, Mapping):
            item = _ITEMS[wanted.removeprefix("Mapping[str, ").removesuffix("]")]
            fits = all(isinstance(k, str) and isinstance(v, item) for k, v in value.items())
        if fits and isinstance(value, tuple):
            fits = all(isinstance(v, str) for v in value)
        if not fits:
            raise ValueError(f"{setting.name} must be {wanted}, not {value!r}")


def _check_faults(config: SimulatorConfig) -> None:
    for name in (*config.faults, *config.faults_by_substring.values(), *config.fail_after):
        check_mode(name)
    if any(not 0 <= rate <= 1 for rate in config.faults.values()) or sum(config.faults.values()) > 1 + 1e-9:
        raise ValueError("faults: every rate must be from 0 to 1, and their sum at most 1")
    if any(k < 0 for k in config.fail_after.values()) or "" in config.faults_by_substring:
        raise ValueError("fail_after counts from 0; faults_by_substring takes texts that are not empty")


def _check_bounds(config: SimulatorConfig) -> None:
    for name in ("rpm", "rps", "tpm", "capacity", "burst_s", "max_sentences"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, not {value}")
    if not 0 <= (config.cached_share or 0) <= 1 or (config.gateway_price or 0) < 0:
        raise ValueError("cached_share must be from 0 to 1, gateway_price not negative")
    for name in ("faulty_attempts", "retry_after_s", "daily_wait_s", "drip_s", "hold_s", "outage_s"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name} must not be negative")
