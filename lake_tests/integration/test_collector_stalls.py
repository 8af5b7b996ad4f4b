"""Sockets and streams that fall silent without a close, in real time and with the deadlines that a lake runs with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lake_assets.live.recorder import run_collector
from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HEALTHY = timedelta(seconds=4)


@pytest.mark.slow
def test_a_silent_socket_and_a_silent_stream_are_noticed_within_15_s(tmp_path: Path) -> None:
    given: dict[str, Any] = {"_env_file": None}
    stall = {"after_s": HEALTHY.total_seconds(), "times": 1}
    with SimulatorServer(seed=7, symbols=SYMBOLS, rate_per_min=600, limits=False) as sim:
        whole = sim.faults.add(Fault("ws_stall", path="/market", **stall))  # type: ignore[arg-type]
        alone = sim.faults.add(Fault("ws_stall", path="/public", stream="ethusdt@depth", **stall))  # type: ignore[arg-type]
        settings = LakeSettings(root=tmp_path, rest_url=sim.base_url, ws_url=sim.ws_url, symbols=SYMBOLS, **given)
        parts = run_collector(settings, say=lambda _: None, for_s=19.0, limits=SessionLimits(overlap_s=1.0))
        assert (sim.faults.hits(whole), sim.faults.hits(alone)) == (1, 1)

    rows = parts.journal.connections()
    for route, reason in (("market", "stalled: nothing heard"), ("public", "rolled over: ethusdt@depth@100ms silent")):
        silent, successor = [row for row in rows if row.route == route]
        assert str(silent.reason).startswith(reason)
        assert timedelta(seconds=9) < successor.opened_at - silent.opened_at - HEALTHY < timedelta(seconds=15)
        assert successor.frames > 0
        assert successor.reason == "the collector stops"
