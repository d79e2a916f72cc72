"""The pure part: deterministic choice of faults, answers and latencies."""

from __future__ import annotations

from hashlib import blake2b

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_wire import chat

from batcher.simulator import MODES, SimulatorConfig
from batcher.simulator.dice import Draw, draw
from batcher.simulator.latency import parse_latency
from batcher.simulator.plan import Call
from batcher.simulator.script import compile_script, parse_fields


def _call(body: bytes, attempt: int = 1, generated: int = 0) -> Call:
    digest = blake2b(body, digest_size=16).digest()
    return Call(body, parse_fields(body), digest, attempt, generated=generated)


def _modes(config: SimulatorConfig, *, rows: int = 4000, attempt: int = 1) -> list[str]:
    script = compile_script(config)
    return [script.choose(_call(b"row %d" % row, attempt)).name for row in range(rows)]


MIX = {"rate_limit": 0.1, "server_error": 0.05, "length": 0.1, "reset": 0.02}


def test_faults_come_at_their_rates() -> None:
    modes = _modes(SimulatorConfig(faults=MIX))
    for name, rate in MIX.items():
        assert modes.count(name) / len(modes) == pytest.approx(rate, abs=0.02)


def test_faults_repeat_with_the_seed_and_differ_between_seeds() -> None:
    assert _modes(SimulatorConfig(faults=MIX)) == _modes(SimulatorConfig(faults=MIX))
    assert _modes(SimulatorConfig(faults=MIX)) != _modes(SimulatorConfig(faults=MIX, seed=1))


def test_transient_modes_leave_second_attempts_alone_and_persistent_ones_stay() -> None:
    first, second = (_modes(SimulatorConfig(faults=MIX), attempt=attempt) for attempt in (1, 2))
    assert {name for name in second if name != "ok"} == {"length"}
    assert [name == "length" for name in first] == [name == "length" for name in second]


def test_faulty_attempts_are_drawn_anew_at_the_same_rate() -> None:
    config = SimulatorConfig(faults={"length": 0.5, "reset": 0.25}, faulty_attempts=2)
    first, second = (_modes(config, attempt=attempt) for attempt in (1, 2))
    assert second.count("reset") / len(second) == pytest.approx(0.25, abs=0.02)
    assert [name == "reset" for name in first] != [name == "reset" for name in second]
    assert "reset" not in _modes(config, attempt=3)


def test_rates_that_add_up_to_one_leave_no_good_answer() -> None:
    faults = dict.fromkeys(("reset", "length", "bad_gateway", "json_null", "refusal"), 0.2)
    assert "ok" not in _modes(SimulatorConfig(faults=faults), rows=20_000)


def test_substring_forces_its_mode_on_every_attempt() -> None:
    script = compile_script(
        SimulatorConfig(faults={"reset": 1}, faults_by_substring={"MÄRK": "unauthorized"})
    )
    body = "a MÄRK in the body".encode()
    assert [script.choose(_call(body, attempt)).name for attempt in (1, 9)] == ["unauthorized"] * 2


def test_fail_after_applies_from_the_kth_answer_on() -> None:
    script = compile_script(SimulatorConfig(fail_after={"unauthorized": 2}))
    assert [script.plan(_call(chat(), generated=k)).mode for k in (0, 1, 2, 3)] == ["ok"] * 2 + [
        "unauthorized"
    ] * 2


def test_answers_and_usage_do_not_depend_on_the_attempt_but_on_content_and_seed() -> None:
    script = compile_script(SimulatorConfig())
    first, again = (script.plan(_call(chat("a"), attempt)) for attempt in (1, 5))
    body = [
        plan.delivery.steps[0].partition(b"\r\n\r\n")[2]
        for plan in (first, again)
        if isinstance(plan.delivery.steps[0], bytes)
    ]
    assert body[0] == body[1]
    assert first.completion_tokens == again.completion_tokens
    other = compile_script(SimulatorConfig(seed=1)).plan(_call(chat("a")))
    assert other.delivery.steps != first.delivery.steps


def test_paid_modes_plan_usage_and_unpaid_ones_do_not() -> None:
    script = compile_script(SimulatorConfig(faults_by_substring={f"<{name}>": name for name in MODES}))
    for name, mode in MODES.items():
        plan = script.plan(_call(chat(f"<{name}>"))._replace(reused=True))
        assert (plan.mode, plan.generated, plan.completion_tokens > 0) == (name, mode.paid, mode.paid)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"messages":[{"role":"user","content":"x"}]}', 400),
        (b'{"model":"gpt-4o"}', 400),
        (chat(stream_options={"include_usage": True}), 400),
    ],
)
def test_unusable_requests_are_rejected_unpaid(body: bytes, status: int) -> None:
    plan = compile_script(SimulatorConfig()).plan(_call(body))
    assert (plan.mode, plan.generated, plan.delivery.status) == ("rejected", False, status)


def test_unknown_models_and_keys_are_rejected_when_known_ones_are_named() -> None:
    script = compile_script(SimulatorConfig(models=("other",), api_key="right"))
    assert script.plan(_call(chat())).delivery.status == 401
    assert script.plan(_call(chat())._replace(authorization="Bearer right")).delivery.status == 404


@pytest.mark.parametrize(
    ("text", "median"),
    [("fixed:0.5", 0.5), ("uniform:0.1-0.3", 0.2), ("lognormal:2,0.5", 2.0), ("exponential:1", 0.693)],
)
def test_latencies_have_the_median_they_should(text: str, median: float) -> None:
    latency = parse_latency(text)
    samples = sorted(latency.sample(draw(b"%d" % row, 1, 0)) for row in range(4001))
    assert samples[2000] == pytest.approx(median, rel=0.06)
    assert samples[0] >= 0


@given(first=st.floats(0, 1, exclude_max=True), second=st.floats(0, 1, exclude_max=True))
@settings(max_examples=50)
def test_latencies_are_finite_at_every_draw(first: float, second: float) -> None:
    for text in ("lognormal:1,1", "exponential:1", "uniform:0-1"):
        assert 0 <= parse_latency(text).sample(Draw(0.0, first, second)) < 1e6


@pytest.mark.parametrize("text", ["", "fixed", "fixed:-1", "uniform:3-1", "normal:1,2", "fixed:nan"])
def test_bad_latency_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is none of"):
        SimulatorConfig(latency=text)


@pytest.mark.parametrize(
    "changes",
    [
        {"faults": {"rate_limitt": 0.1}},
        {"faults": {"rate_limit": 1.1}},
        {"faults": {"rate_limit": 0.6, "reset": 0.6}},
        {"faults": {"rate_limit": "0.6"}},
        {"faults": 3},
        {"fail_after": {"unauthorized": -1}},
        {"fail_after": {"unauthorized": 1.5}},
        {"faults_by_substring": {"": "reset"}},
        {"rpm": 0},
        {"rps": -1},
        {"capacity": 0},
        {"capacity": True},
        {"seed": None},
        {"burst_s": 0},
        {"faulty_attempts": -1},
        {"drip_s": -1},
        {"cached_share": 1.1},
        {"gateway_price": -1},
        {"limit_hints": ["soon"]},
        {"port": 70_000},
        {"redirect_to": "a\r\nb"},
        {"ledger_key": "no group"},
        {"latencyy": "fixed:1"},
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        SimulatorConfig().changed(changes)


def test_configuration_survives_its_json_form() -> None:
    config = SimulatorConfig(faults=MIX, models=("a",), rpm=5, ledger_key="(x)")
    assert SimulatorConfig().changed_by_json(config.to_json()) == config


def test_misspelt_mode_is_told_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'rate_limit'"):
        SimulatorConfig(faults={"rate_limitt": 0.1})


PNG = "data:image/png;base64,iVBORw0KGgo="


def _pictured(url: object, detail: str | None = None) -> Call:
    image = {"url": url} | ({} if detail is None else {"detail": detail})
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": image}]
    return _call(orjson.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}))


@pytest.mark.parametrize(
    ("url", "detail", "code"),
    [
        (PNG, "max", b"invalid_value"),
        (PNG.replace("png", "jpeg"), None, b"invalid_image_format"),
        (PNG.replace("png", "bmp"), None, b"invalid_image_format"),
        ("data:image/png;base64,iVBO*", None, b"invalid_base64"),
        ("data:image/png,x", None, b"invalid_image_url"),
        ("/etc/passwd", None, b"invalid_image_url"),
        (None, None, b"missing_required_parameter"),
    ],
)
def test_an_image_that_is_none_is_rejected(url: object, detail: str | None, code: bytes) -> None:
    plan = compile_script(SimulatorConfig()).plan(_pictured(url, detail))
    assert (plan.mode, plan.delivery.status, plan.generated) == ("rejected", 400, False)
    assert code in b"".join(step for step in plan.delivery.steps if isinstance(step, bytes))


def test_an_image_counts_as_an_image_and_not_as_text() -> None:
    script = compile_script(SimulatorConfig())
    link = "https://x.example/a.png"
    small, large, by_link = (
        script.plan(_pictured(url)).prompt_tokens for url in (PNG, PNG[:-1] + "A" * 9_000 + "=", link)
    )
    assert small == large
    assert by_link - small == pytest.approx(len(link) / 4, abs=1)
    low = script.plan(_pictured(PNG, "low")).prompt_tokens
    assert small - low == pytest.approx(765 - 85 - len(',"detail":"low"') / 4, abs=1)
    assert script.need(_pictured(PNG)) == small + 16
