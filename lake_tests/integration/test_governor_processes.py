"""Several real processes against one governor file, and against an exchange that counts for itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from lake_resources.binance.rest.rest_client import BinanceRest
from lake_resources.errors import Banned
from lake_resources.governor import WeightGovernor
from lake_resources.governor_counts import FileCounts
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer

PROCESSES = 4
REPOSITORY = Path(__file__).resolve().parents[2]
WORKER = REPOSITORY / "lake_tests" / "support" / "governor_worker.py"


def together(*arguments: object) -> list[Any]:
    """Run the same worker in several processes at once; what each printed."""
    command = [sys.executable, str(WORKER), str(REPOSITORY), *map(str, arguments)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    said = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    return [json.loads(text) for text in said]


def test_together_they_take_the_share_of_each_minute_and_never_more(tmp_path: Path) -> None:
    share = 0.1
    granted: Counter[str] = Counter()
    for counts in together("hammer", tmp_path / "governor.sqlite", share, PROCESSES, 4):
        granted.update(counts)
    limit = int(2400 * share)
    assert {minute: granted[minute] for minute in "0123"} == dict.fromkeys("0123", limit)
    assert granted["4"] <= 5 * PROCESSES, "each of them ends with its first grant of that minute"


def test_first_users_of_a_new_file_wait_for_each_other(tmp_path: Path) -> None:
    rounds, users = 300, 4

    def use(path: Path, at_once: Barrier) -> None:
        counts = FileCounts(path)
        at_once.wait()
        with counts.transaction() as counting:
            counting.add("exchange", "weight_1m", 1, 5)
        counts.close()

    with ThreadPoolExecutor(users) as pool:
        for number in range(rounds):
            path, at_once = tmp_path / f"{number}.sqlite", Barrier(users)
            for done in [pool.submit(use, path, at_once) for _ in range(users)]:
                done.result()
            counts = FileCounts(path)
            with counts.transaction() as counting:
                assert counting.spent("exchange", "weight_1m", 1, 1) == 5 * users
            counts.close()


@pytest.mark.slow
def test_a_ban_seen_by_one_process_stops_the_others(tmp_path: Path) -> None:
    with SimulatorServer() as exchange:
        exchange.faults.add(Fault("418", path="time", skip=200, retry_after_s=600))
        said = together("call", tmp_path / "governor.sqlite", exchange.base_url, 100_000)
        asked = len(exchange.requests)
        host = exchange.base_url.removeprefix("http://")
    assert [outcome for outcome, _ in said] == ["banned"] * PROCESSES
    served = sum(done for _, done in said)
    assert 200 - PROCESSES < served <= 200
    # The call that brought the ban, and those already on their way at that moment.
    assert 1 <= asked - served <= PROCESSES
    governor = WeightGovernor(tmp_path / "governor.sqlite")
    with pytest.raises(Banned):
        governor.acquire(host, "weight_1m", 1)
    governor.close()


def test_the_exchange_never_counts_more_than_the_share(tmp_path: Path) -> None:
    noon = datetime(2026, 2, 15, 12, tzinfo=UTC)

    def refuse_to_wait(seconds: float) -> None:
        assert 0 < seconds <= 60
        raise InterruptedError

    with SimulatorServer(limit_clock=lambda: noon) as exchange:
        rests = [
            BinanceRest(
                exchange.base_url,
                governor=WeightGovernor(tmp_path / "governor.sqlite", lambda: noon, 0.05, sleep=refuse_to_wait),
            )
            for _ in range(2)
        ]
        calls = 0

        def call_until_held_back() -> None:
            nonlocal calls
            for rest in cycle(rests):
                rest.server_time()
                calls += 1

        with pytest.raises(InterruptedError):
            call_until_held_back()
        used = exchange.exchange.limits.used("weight_1m")
    assert calls >= 60
    assert 0 < used <= 120
