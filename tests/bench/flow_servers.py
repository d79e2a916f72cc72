"""The servers that the flow control is measured against, as data: what each allows, what changes in mid-run, how the
client is called, and which figures it must reach.

Times are seconds since the first request. Rates are modest, so that neither client nor server is held by the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from batcher.simulator import SimulatorConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTLE_S = 15.0
SETTLE_DOUBLED_S = 25.0
CHANGE_AT_S = 30.0
RATE = 100.0
TOKENS_EACH = 100
ABOUT_300_MS = "lognormal:0.28,0.3"
MEAN_300_MS_S = 0.293  # 0.28 x exp(0.3^2 / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to the server in mid-run.

    Attributes:
        settings: of the simulator, from then on.
        outage: it refuses connections from then on, for the simulator's `outage_s`.
    """

    at_s: float
    settings: Mapping[str, object] = field(default_factory=dict)
    outage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server and what is asked of a client that meets it.

    Attributes:
        show: number of the requirement that it belongs to.
        allowed_per_s: units a second that the server (or the user) allows at the end; what it can do, if it only
            queues.
        unit: what `allowed_per_s` counts, a key of `flow_figures.WEIGHTS`.
        measured_from_s: throughput and refusals are measured from here on.
        measured_s: for so long; None: as long as the user says, less `SETTLE_S`.
        options: of the client, beside its concurrency.
        clients: that meet it when the user names none.
        prompt_bytes, max_tokens: of each request.
        user_limits: (requests, tokens) a minute that `options` set.
        away: span in which it does not serve.
        max_cost_usd: at `PRICES`, set by the user: the run stops there by itself.
        in_contest: it also stands in the side-by-side table.
    """

    name: str
    show: int
    config: SimulatorConfig
    allowed_per_s: float
    unit: Literal["requests", "reserved", "used"] = "requests"
    measured_from_s: float = SETTLE_S
    measured_s: float | None = None
    changes: tuple[Change, ...] = ()
    options: tuple[str, ...] = ()
    clients: tuple[str, ...] = ("auto",)
    prompt_bytes: int = 200
    max_tokens: int = 100
    user_limits: tuple[float | None, float | None] = (None, None)
    away: tuple[float, float] | None = None
    max_cost_usd: float | None = None
    in_contest: bool = False

    def span(self, seconds: float) -> tuple[float, float]:
        """The measured span of a run of `seconds` (the user's word)."""
        measured = self.measured_s if self.measured_s is not None else max(1.0, seconds - SETTLE_S)
        return self.measured_from_s, self.measured_from_s + measured

    def rows(self, seconds: float) -> int:
        """More rows than can be answered until the end."""
        lightest = 1.0 if self.unit == "requests" else self.prompt_bytes / 4
        most = self.allowed_per_s / lightest * self.span(seconds)[1] * (2.0 if self.changes else 1.2)
        return int(most) + 1_000


def _limited(name: str, *, depth_s: float = 1.0, hints: tuple[str, ...], contest: bool = False) -> Server:
    config = SimulatorConfig(
        rps=RATE, burst_s=depth_s, limit_hints=hints, latency=ABOUT_300_MS, max_sentences=2
    )
    return Server(name=name, show=1, config=config, allowed_per_s=RATE, in_contest=contest)


def _tokens(
    name: str, *, hints: tuple[str, ...], credited: bool, depth_s: float = 1.0, contest: bool = False
) -> Server:
    """A limit on tokens only, of about 100 requests a second."""
    per_s = RATE * TOKENS_EACH
    config = SimulatorConfig(
        tpm=per_s * 60,
        burst_s=depth_s,
        limit_hints=hints,
        credit_unused=credited,
        latency=ABOUT_300_MS,
        max_sentences=2,
    )
    unit: Literal["used", "reserved"] = "used" if credited else "reserved"
    return Server(name=name, show=1, config=config, allowed_per_s=per_s, unit=unit, in_contest=contest)


def _changed(
    name: str, *, factor: float, hints: tuple[str, ...], depth_s: float = 1.0, contest: bool = False
) -> Server:
    config = SimulatorConfig(
        rps=RATE, burst_s=depth_s, limit_hints=hints, latency=ABOUT_300_MS, max_sentences=2
    )
    return Server(
        name=name,
        show=1,
        config=config,
        allowed_per_s=RATE * factor,
        measured_from_s=CHANGE_AT_S + (SETTLE_S if factor < 1 else SETTLE_DOUBLED_S),
        changes=(Change(at_s=CHANGE_AT_S, settings={"rps": RATE * factor}),),
        in_contest=contest,
    )


_MS = ("retry-after", "retry-after-ms", "message")
_SECONDS = ("retry-after",)
_TOLD = ("x-ratelimit", "retry-after", "retry-after-ms", "message")

_RATES = (
    _limited("rate-0.1s", depth_s=0.1, hints=_MS, contest=True),
    _limited("rate-1s", hints=_MS, contest=True),
    _limited("rate-0.1s-whole-seconds", depth_s=0.1, hints=_SECONDS),
    _limited("rate-1s-whole-seconds", hints=_SECONDS),
    _limited("rate-0.1s-told", depth_s=0.1, hints=_TOLD),
    _limited("rate-1s-told", hints=_TOLD),
    _limited("rate-0.1s-silent", depth_s=0.1, hints=()),
    _limited("rate-1s-silent", hints=(), contest=True),
    _tokens("tokens-reserved", hints=_MS, credited=False, contest=True),
    _tokens("tokens-reserved-0.1s", depth_s=0.1, hints=_MS, credited=False),
    _tokens("tokens-reserved-told", hints=_TOLD, credited=False),
    _tokens("tokens-reserved-silent", hints=(), credited=False),
    _tokens("tokens-used", hints=_MS, credited=True),
    _tokens("tokens-used-told", hints=_TOLD, credited=True),
    _changed("halved", factor=0.5, hints=_MS, contest=True),
    _changed("halved-told", factor=0.5, hints=_TOLD),
    _changed("halved-silent", factor=0.5, hints=()),
    _changed("halved-0.1s-silent", factor=0.5, depth_s=0.1, hints=()),
    _changed("doubled", factor=2.0, hints=_MS, contest=True),
    _changed("doubled-told", factor=2.0, hints=_TOLD),
    _changed("doubled-silent", factor=2.0, hints=()),
    _changed("doubled-0.1s-silent", factor=2.0, depth_s=0.1, hints=()),
)

_QUEUE = Server(
    name="queue",
    show=2,
    config=SimulatorConfig(capacity=32, latency=ABOUT_300_MS, max_sentences=2),
    allowed_per_s=32 / MEAN_300_MS_S,
    clients=("auto", "24", "32", "40", "64"),
    in_contest=True,
)


def _wide(name: str, latency_s: float, *, capacity: int = 2_000, contest: bool = False) -> Server:
    """Wide and slow: 90 % of its throughput must be reached within 20 latencies."""
    return Server(
        name=name,
        show=3,
        config=SimulatorConfig(capacity=capacity, latency=f"fixed:{latency_s}", max_sentences=1),
        allowed_per_s=capacity / latency_s,
        measured_from_s=20 * latency_s,
        measured_s=5 * latency_s,
        clients=("auto", str(capacity)),
        in_contest=contest,
    )


_WIDE = (_wide("wide", 1.0, contest=True), _wide("wide-4s", 4.0), _wide("wide-200", 1.0, capacity=200))

_OPEN = SimulatorConfig(latency=ABOUT_300_MS, max_sentences=2)


def _limited_by_user(
    name: str,
    *,
    rpm: float | None = None,
    tpm: float | None = None,
    prompt_bytes: int = 200,
    max_tokens: int = 100,
) -> Server:
    limits = (("--rpm", rpm), ("--tpm", tpm))
    options = [word for name, limit in limits if limit is not None for word in (name, f"{limit:g}")]
    return Server(
        name=name,
        show=4,
        config=_OPEN,
        allowed_per_s=(rpm or tpm or 0.0) / 60,
        unit="requests" if rpm is not None else "used",
        measured_s=150.0,
        options=tuple(options),
        prompt_bytes=prompt_bytes,
        max_tokens=max_tokens,
        user_limits=(rpm, tpm),
    )


_BY_USER = (
    _limited_by_user("rpm-90", rpm=90),
    _limited_by_user("rpm-6000", rpm=6_000),
    _limited_by_user("tpm-600000", tpm=600_000),
    _limited_by_user("tpm-60000-by-4000", tpm=60_000, prompt_bytes=15_600),
    _limited_by_user("rpm-600-tpm-60000", rpm=600, tpm=60_000),
)

AWAY_S = 60.0
_AWAY = (CHANGE_AT_S, CHANGE_AT_S + AWAY_S)


def _away(name: str, *changes: Change) -> Server:
    return Server(
        name=name,
        show=5,
        config=SimulatorConfig(
            capacity=32, latency=ABOUT_300_MS, max_sentences=2, outage_s=AWAY_S, faulty_attempts=1_000_000
        ),
        allowed_per_s=32 / MEAN_300_MS_S,
        measured_from_s=_AWAY[1] + 60.0,
        measured_s=15.0,
        changes=changes,
        away=_AWAY,
        clients=("auto", "32"),
    )


_OUTAGES = (
    _away(
        "away-500",
        Change(at_s=_AWAY[0], settings={"faults": {"server_error": 1.0}}),
        Change(at_s=_AWAY[1], settings={"faults": {}}),
    ),
    _away("away-refusing", Change(at_s=_AWAY[0], outage=True)),
    Server(
        name="cursed-row",
        show=5,
        config=SimulatorConfig(
            rps=RATE,
            limit_hints=_MS,
            latency=ABOUT_300_MS,
            max_sentences=2,
            faulty_attempts=1_000_000,
            faults_by_substring={"row 0000077 ": "server_error"},
        ),
        allowed_per_s=RATE,
    ),
)

PRICES = (1.0, 10.0)
"""USD per million prompt and completion tokens."""
_PRICES = ("--set", f"prices.m={{input = {PRICES[0]}, output = {PRICES[1]}}}")


def _capped(name: str, usd: float, clients: tuple[str, ...]) -> Server:
    return Server(
        name=name,
        show=6,
        config=SimulatorConfig(rps=RATE, limit_hints=_MS, latency=ABOUT_300_MS, max_sentences=2),
        allowed_per_s=RATE,
        measured_from_s=0.0,
        measured_s=60.0,
        options=("--max-cost", f"{usd:g}", *_PRICES),
        clients=clients,
        max_cost_usd=usd,
    )


_BUDGETS = (_capped("max-cost", 0.5, ("auto", "32", "256")),)

SERVERS = (*_RATES, _QUEUE, *_WIDE, *_BY_USER, *_OUTAGES, *_BUDGETS)
CONTEST = 8
CONTESTANTS = ("auto", "64", "256", "1024")
BY_NAME: Mapping[str, Server] = {server.name: server for server in SERVERS}


def of_show(show: int) -> tuple[tuple[Server, tuple[str, ...]], ...]:
    """The servers of a requirement, each with the clients that meet it."""
    if show == CONTEST:
        return tuple((server, CONTESTANTS) for server in SERVERS if server.in_contest)
    return tuple((server, server.clients) for server in SERVERS if server.show == show)
