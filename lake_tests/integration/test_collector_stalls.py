"""Sockets and streams that fall silent without a close, with the deadlines that a lake runs with.

That these mean 15 s at most is proved without a clock (`lake_tests/unit/test_stream_session.py`).
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lake_resources.binance.ws.stream_session import SessionLimits
from lake_resources.collector.journal import ConnectionRow, Journal
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.collecting import collect_until, records_of
from lake_tests.support.waiting import wait_until

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HEALTHY = timedelta(seconds=4)


@pytest.mark.slow
def test_a_silent_socket_and_a_silent_stream_are_replaced(tmp_path: Path) -> None:
    given: dict[str, Any] = {"_env_file": None}
    stall = {"after_s": HEALTHY.total_seconds(), "times": 1}
    with SimulatorServer(seed=7, symbols=SYMBOLS, rate_per_min=600, limits=False) as sim:
        whole = sim.faults.add(Fault("ws_stall", path="/market", **stall))  # type: ignore[arg-type]
        alone = sim.faults.add(Fault("ws_stall", path="/public", stream="ethusdt@depth", **stall))  # type: ignore[arg-type]
        settings = LakeSettings(root=tmp_path, rest_url=sim.base_url, ws_url=sim.ws_url, symbols=SYMBOLS, **given)
        journal = Journal(f"sqlite:///{tmp_path / 'ledger.sqlite'}", "um")
        parts = collect_until(settings, lambda: replaced(journal, tmp_path), limits=SessionLimits(overlap_s=1.0))
        assert (sim.faults.hits(whole), sim.faults.hits(alone)) == (1, 1)

    rows = parts.journal.connections()
    for route, reason in (("market", "stalled: nothing heard"), ("public", "rolled over: ethusdt@depth@100ms silent")):
        silent, successor, *_ = [row for row in rows if row.route == route]
        assert str(silent.reason).startswith(reason)
        assert timedelta(seconds=9) < successor.opened_at - silent.opened_at - HEALTHY
        assert successor.frames > 0


def replaced(journal: Journal, root: Path) -> None:
    """Wait for the end of the first socket of each route, and for frames of its successor."""
    for route in ("market", "public"):
        sockets = partial(sockets_of, journal, route)
        wait_until(lambda sockets=sockets: sockets()[:1] and sockets()[0].closed_at, f"the end of {route}", every_s=0.2)
        wait_until(lambda sockets=sockets: heard_from(sockets()[1:2], root), f"the successor of {route}", every_s=0.2)


def sockets_of(journal: Journal, route: str) -> list[ConnectionRow]:
    return [row for row in journal.connections() if row.route == route]


def heard_from(sockets: list[ConnectionRow], root: Path) -> bool:
    heard = {frame.conn for symbol in SYMBOLS for frame in records_of(root, symbol)}
    return bool(sockets) and {row.conn for row in sockets} <= heard
