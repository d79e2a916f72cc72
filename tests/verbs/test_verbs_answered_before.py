"""What a session is told of those before it: an endpoint that has answered this run is down, and not wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from verb_runs import carry_out, write_rows

from batcher.errors import AccountError
from batcher.policy import FlowSettings, FlowState, Watch
from batcher.verbs import at_work
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """What each session's watch and flow control are told."""
    told: list[tuple[bool, bool]] = []
    flows: list[bool] = []
    make_flow = FlowState.from_settings

    class Told(Watch):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            told.append((given["answered_before"], flows[-1]))

    def flow(settings: FlowSettings, **given: Any) -> FlowState:
        flows.append(settings.answered_before)
        return make_flow(settings, **given)

    monkeypatch.setattr(at_work, "Watch", Told)
    monkeypatch.setattr(FlowState, "from_settings", flow)
    return told


def test_a_resume_and_a_retry_know_that_the_endpoint_has_answered_and_a_first_session_does_not(
    endpoint: Simulator, tmp_path: Path, told: list[tuple[bool, bool]]
) -> None:
    rows, output = write_rows(tmp_path / "in.jsonl", ["one", "two", "three"]), tmp_path / "out.parquet"
    endpoint.control(faults_by_substring={"one": "unauthorized"})
    with pytest.raises(AccountError):
        carry_out(endpoint, rows, output)
    endpoint.control(faults_by_substring={}, fail_after={"unauthorized": 1})
    with pytest.raises(AccountError):
        carry_out(endpoint, rows, output)
    assert told == [(False, False)] * 2, "nothing was answered yet"
    endpoint.control(faults_by_substring={"three": "bad_request"}, fail_after={})
    carry_out(endpoint, rows, output)
    assert told[2:] == [(True, True)]
    retry(output, RetryWish(("failed",), ()), RunOptions(environ={}))
    assert told[3:] == [(True, True)]
