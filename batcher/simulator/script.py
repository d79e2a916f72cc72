"""Pure: what the simulator replies to a request, decided from (body, attempt, configuration).

Rules, in this order, the first that applies:
1. what no server would serve is rejected: a wrong key, a body that is not a chat-completions request,
   an image that is none, options of a stream without a stream;
2. `fail_after`: enough answers have been generated;
3. the rate limits (asked by the server, answered with `limited`);
4. `faults_by_substring`;
5. `faults`: one number per (content, attempt, seed). Persistent modes take the lower end of the scale of a
   content's first attempt, so a content stays persistent; transient ones the part above, and only on the
   first `faulty_attempts` attempts;
6. the good answer.
Answers and usage depend on (content, seed) only. There is no clock here and no counter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from batcher.simulator.answers import count_prompt, token_limit
from batcher.simulator.dice import draw
from batcher.simulator.images import refusal
from batcher.simulator.latency import parse_latency
from batcher.simulator.modes import MODES
from batcher.simulator.plan import Occasion, Plan
from batcher.simulator.replies import error_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.simulator.config import SimulatorConfig
    from batcher.simulator.limits import Verdict
    from batcher.simulator.plan import Call, Mode

EARLY_BYTES = 65_536
"""So much of a body is looked at to choose a mode that acts before the body is read."""

Ladder = tuple[tuple[float, "Mode"], ...]  # upper ends of intervals, ascending

_INVALID = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class Script:
    """A configuration made ready to be asked once per request.

    Attributes:
        persistent: ladder of persistent modes, from 0 up.
        transient: ladder of transient modes, from the end of `persistent` up.
        marks: texts that force a mode.
        fail_after: (k, mode), lowest k first.
        has_early: whether any mode that acts before the body can come up.
    """

    config: SimulatorConfig
    persistent: Ladder
    transient: Ladder
    marks: tuple[tuple[bytes, Mode], ...]
    fail_after: tuple[tuple[int, Mode], ...]
    has_early: bool

    def choose(self, call: Call) -> Mode:
        """Rules 4 to 6."""
        for mark, mode in self.marks:
            if mark in call.body:
                return self._fitting(mode, call)
        if self.persistent or self.transient:
            drawn = self._drawn(call)
            if drawn is not None:
                return self._fitting(drawn, call)
        return MODES["ok"]

    def _fitting(self, mode: Mode, call: Call) -> Mode:
        """A mode that cannot act here (any more) gives way to the good answer."""
        too_late = mode.early and len(call.body) > EARLY_BYTES
        return MODES["ok"] if too_late or (mode.reused_only and not call.reused) else mode

    def _drawn(self, call: Call) -> Mode | None:
        seed = self.config.seed
        first = draw(call.digest, 1, seed).fault
        found = _step(self.persistent, first)
        if found is not None or call.attempt > self.config.faulty_attempts:
            return found
        if call.attempt > 1:
            floor = self.persistent[-1][0] if self.persistent else 0.0
            first = floor + (1 - floor) * draw(call.digest, call.attempt, seed).fault
        return _step(self.transient, first)

    def early(self, call: Call) -> Plan | None:
        """The plan of a mode that acts before the body is read; `call.body` is its first EARLY_BYTES."""
        mode = self._failing(call) or self.choose(call)
        return self._plan(mode, call) if mode.early else None

    def turn_away(self, call: Call) -> Plan | None:
        """Rules 1 and 2."""
        rejected = self._rejection(call)
        if rejected is not None:
            status, body = rejected
            return Plan("rejected", False, 0.0, Occasion(call, self.config).reply(status, body))
        failing = self._failing(call)
        return self._plan(failing, call) if failing is not None else None

    def plan(self, call: Call) -> Plan:
        """All rules but the rate limits."""
        turned = self.turn_away(call)
        return turned if turned is not None else self._plan(self.choose(call), call)

    def limited(self, call: Call, verdict: Verdict) -> Plan:
        """Rule 3: the 429 of a real rate limit, with OpenAI's texts and the chosen hints."""
        unit = "tokens per min (TPM)" if verdict.limited_by == "tokens" else "requests per min (RPM)"
        if verdict.too_large:
            sizes = f"Limit {self.config.tpm:.0f}, Requested {self.need(call)}"
            text = f"Request too large for {call.model} on {unit}: {sizes}."
            hints: dict[str, str] = {}
            told_wait_s = None
        else:
            text = f"Rate limit reached for {call.model} on {unit}."
            if "message" in self.config.limit_hints:
                text += f" Please try again in {verdict.wait_s:.3f}s."
            hints, told_wait_s = self._hints(verdict.wait_s)
        occasion = Occasion(call, self.config)
        body = error_body(text, verdict.limited_by, "rate_limit_exceeded")
        reply = occasion.reply(
            429, body, headers="".join(f"{name}: {text}\r\n" for name, text in hints.items())
        )
        return Plan("limited", False, self._refusal_s(call), reply, told_wait_s=told_wait_s)

    def _hints(self, wait_s: float) -> tuple[dict[str, str], float | None]:
        """The headers of a 429, and the wait that a client reads from all its hints: the finest one counts."""
        hints, told_wait_s = {}, wait_s if "message" in self.config.limit_hints else None
        if "retry-after" in self.config.limit_hints:
            seconds = max(1, math.ceil(wait_s))
            hints["retry-after"], told_wait_s = str(seconds), float(seconds)
        if "retry-after-ms" in self.config.limit_hints:
            milliseconds = math.ceil(wait_s * 1000)
            hints["retry-after-ms"], told_wait_s = str(milliseconds), milliseconds / 1000
        return hints, told_wait_s

    def need(self, call: Call) -> int:
        """Tokens that a request takes from the limit: its prompt and the most that it may generate."""
        fields = call.fields or {}
        return count_prompt(fields, call.body) + (token_limit(fields) or 16)

    def _failing(self, call: Call) -> Mode | None:
        return next((mode for count, mode in self.fail_after if call.generated >= count), None)

    def _plan(self, mode: Mode, call: Call) -> Plan:
        occasion = Occasion(call, self.config)
        delivery = mode.build(occasion)
        if not mode.paid:
            return Plan(mode.name, False, self._refusal_s(call), delivery)
        latency_s = parse_latency(self.config.latency).sample(
            draw(call.digest, call.attempt, self.config.seed)
        )
        answer = occasion.completion()
        return Plan(mode.name, True, latency_s, delivery, answer.prompt_tokens, answer.completion_tokens)

    def _refusal_s(self, call: Call) -> float:
        return parse_latency(self.config.refusal_latency).sample(
            draw(call.digest, call.attempt, self.config.seed)
        )

    def _rejection(self, call: Call) -> tuple[int, bytes] | None:  # noqa: PLR0911  # one per rule
        config, found = self.config, call.fields
        if config.api_key is not None and call.authorization != f"Bearer {config.api_key}":
            return 401, error_body("Incorrect API key provided.", _INVALID, "invalid_api_key")
        if found is None:
            return 400, error_body("We could not parse the JSON body of your request.", _INVALID)
        if not isinstance(found.get("model"), str) or not found["model"]:
            return 400, error_body("you must provide a model parameter", _INVALID)
        if not isinstance(found.get("messages"), list) or not found["messages"]:
            return 400, error_body(
                "Missing required parameter: 'messages'.", _INVALID, "missing_required_parameter"
            )
        if found.get("stream_options") is not None and not found.get("stream"):
            text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            return 400, error_body(text, _INVALID)
        if (image := refusal(found, call.body)) is not None:
            return 400, error_body(image.message, _INVALID, image.code)
        if config.models and found["model"] not in config.models:
            return 404, error_body(
                f"The model `{found['model']}` does not exist.", _INVALID, "model_not_found"
            )
        return None


def compile_script(config: SimulatorConfig) -> Script:
    persistent = _ladder(config.faults, 0.0, persistent=True)
    transient = _ladder(config.faults, persistent[-1][0] if persistent else 0.0, persistent=False)
    marks = tuple((text.encode(), MODES[name]) for text, name in config.faults_by_substring.items())
    fail_after = tuple(
        sorted(((k, MODES[name]) for name, k in config.fail_after.items()), key=lambda pair: pair[0])
    )
    possible = [mode for _, mode in (*persistent, *transient, *marks, *fail_after)]
    return Script(config, persistent, transient, marks, fail_after, any(mode.early for mode in possible))


def parse_fields(body: bytes) -> Mapping[str, object] | None:
    """The body as a JSON object, None when it is not one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _ladder(faults: Mapping[str, float], floor: float, *, persistent: bool) -> Ladder:
    rungs = []
    for name, rate in faults.items():
        if MODES[name].persistent is persistent and rate > 0:
            floor += rate
            # rounding must not leave a gap below 1
            rungs.append((1.0 if floor > 1 - 1e-9 else floor, MODES[name]))
    return tuple(rungs)


def _step(ladder: Ladder, number: float) -> Mode | None:
    return next((mode for top, mode in ladder if number < top), None)
