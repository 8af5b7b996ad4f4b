"""Fixtures of the ingest tests: one simulated exchange per module, one lake per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import Bench, bench_on, exchange


@pytest.fixture(scope="module")
def exchange_here() -> Iterator[SimulatorServer]:
    """The exchange of a module."""
    with exchange() as sim:
        yield sim


@pytest.fixture
def bench(exchange_here: SimulatorServer, tmp_path: Path) -> Iterator[Bench]:
    """A new lake on it."""
    with bench_on(exchange_here, tmp_path) as found:
        yield found
