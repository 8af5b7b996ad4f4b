"""Fixtures of the ingest tests: one simulated exchange per module, one lake per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import Bench, bench_on, exchange


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    """The exchange of a module."""
    with exchange() as found:
        yield found


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    """A new lake on it."""
    with bench_on(sim, tmp_path) as found:
        yield found
