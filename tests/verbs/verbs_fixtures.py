"""One simulator for each module of tests; every test finds it without faults and with an empty ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batcher.simulator import SimulatorConfig, launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator.launch import Simulator


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0", max_sentences=2)) as running:
        yield running


@pytest.fixture
def endpoint(provider: Simulator) -> Simulator:
    provider.control(fail_after={}, faults_by_substring={}, faults={}, latency="fixed:0")
    provider.reset()
    return provider
