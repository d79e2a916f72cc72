"""One simulator for all tests of the command line; every test finds it without faults and with an empty ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_runs import Place

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.simulator.launch import Simulator


@pytest.fixture(scope="session")
def cli_provider() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0", max_sentences=2)) as running:
        yield running


@pytest.fixture
def place(cli_provider: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    cli_provider.control(fail_after={}, faults_by_substring={}, faults={}, latency="fixed:0", api_key=None)
    cli_provider.reset()
    monkeypatch.chdir(tmp_path)
    for name in ("PIPELLM_API_KEY", "BATCHER_STATE"):
        monkeypatch.delenv(name, raising=False)
    return Place(tmp_path, cli_provider)
