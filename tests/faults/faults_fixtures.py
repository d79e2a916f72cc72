"""One warmed stage and one simulator for all attacks of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attack import KEY, Stage

from batcher.simulator import Simulator, SimulatorConfig, launch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    opened = Stage()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def attacked() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="uniform:0.002-0.01", ledger_key=KEY, max_sentences=2)) as simulator:
        yield simulator


@pytest.fixture
def simulator(attacked: Simulator) -> Simulator:
    attacked.reset()
    return attacked
