"""Fixtures of the ingest tests: one simulated exchange per module, one lake per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import Bench, bench_on, exchange


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator that makes a day's archive on a busy machine takes longer than an exchange may."""
    for name in (
        "cli.doctor.PATIENCE_S",
        "cli.commands_doctor.PATIENCE_S",
        "sensors.archive_promotion._VISION_TIMEOUT_S",
    ):
        monkeypatch.setattr(f"lake_assets.{name}", 120.0)


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
