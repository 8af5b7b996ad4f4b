"""The resident builder as a process: stopped, hung, killed, and two at once, with the hot tables of both markets."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake_assets.at_rest import store_of
from lake_assets.local_stack.places import PROJECT, child_environment
from lake_assets.local_stack.systemd import unit_files
from lake_assets.resident.builder_beat import last_beat
from lake_assets.resident.hot_tables import RESIDENT_TABLES
from lake_assets.resident.keep_hot import keep_hot_once
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.hashing import file_hash
from lake_tests.support.simulated_lake import DAY, SYMBOL, bench_on, exchange
from lake_tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

Builder = subprocess.Popen[str]
Rows = dict[tuple[str, datetime], int]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[LakeSettings]:
    """A lake on an exchange whose clock is the machine's, as that of the processes is."""
    with SimulatorServer(seed=7, symbols=(SYMBOL,), port=0, rate_per_min=4.0) as sim:
        yield LakeSettings(
            _env_file=None,
            root=tmp_path / "lake",
            symbols=(SYMBOL,),
            spot_symbols=(SYMBOL,),
            start=(datetime.now(UTC) - 24 * HOUR).date(),
            hot_hours=1,
            rest_url=sim.base_url,
            spot_rest_url=sim.base_url,
            vision_url=sim.base_url,
        )


def start(settings: LakeSettings, ended: ExitStack) -> Builder:
    process = subprocess.Popen(
        [sys.executable, "-m", "lake_assets.resident.keep_hot"],
        cwd=PROJECT, env=child_environment(settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    ended.enter_context(process)
    ended.callback(process.kill)
    return process


def turned(settings: LakeSettings, process: Builder) -> bool:
    beat = last_beat(settings)
    return beat is not None and beat.pid == process.pid and beat.turns > 0


def committed(settings: LakeSettings) -> Rows:
    """Rows by table and hour; every file has the bytes that the ledger promises."""
    found: Rows = {}
    store = store_of(settings)
    now = datetime.now(UTC)
    for table in RESIDENT_TABLES:
        own = store.of(table.layout)
        for row in own.ledger.partitions(SYMBOL, now - 24 * HOUR, now + HOUR):
            assert file_hash(own.catalog.absolute(row.path)) == row.content_hash, (table.name, row.start)
            found[table.name, row.start] = row.row_count
    store.close()
    return found


@pytest.mark.timeout(900)
def test_a_builder_may_stop_hang_or_die_and_the_next_one_goes_on_with_the_tables_of_both_markets(
    settings: LakeSettings,
) -> None:
    with ExitStack() as ended:
        stopped = start(settings, ended)
        wait_until(lambda: turned(settings, stopped), "the first turn", seconds=300)
        before = committed(settings)
        assert {name for name, _ in before} == {table.name for table in RESIDENT_TABLES}
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait(120) == 0
        assert "stopped" in stopped.communicate()[0].splitlines()[-1]

        hung = start(settings, ended)
        wait_until(lambda: turned(settings, hung), "a turn of the second builder", seconds=300)
        hung.send_signal(signal.SIGSTOP)
        refused = start(settings, ended)
        said = refused.communicate(timeout=120)[0]
        assert (refused.returncode, "has a resident builder already" in said) == (1, True), said
        hung.kill()
        hung.wait(120)

        last = start(settings, ended)
        wait_until(lambda: turned(settings, last), "a turn of the builder after the one that was killed", seconds=300)
        last.send_signal(signal.SIGTERM)
        assert last.wait(120) == 0
    after = committed(settings)
    assert all(after[key] >= rows for key, rows in before.items()), "nothing is lost"
    assert not store_of(settings).ledger.intents(), "and nothing is left half-way"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_each_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool) -> None:
    name = f"@lake-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        with exchange() as sim, bench_on(sim, tmp_path, hot_hours=1, spot_symbols=()) as bench:
            bench.at(DAY + 15 * HOUR)
            keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
        assert systemd.recv(64) == b"WATCHDOG=1", "when it begins"
        assert systemd.recv(64) == b"WATCHDOG=1", "and after its turn"


def test_a_systemd_that_is_gone_ends_no_turn_and_the_unit_waits_as_long_as_lake_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with exchange() as sim, bench_on(sim, tmp_path, hot_hours=1, spot_symbols=()) as bench:
        bench.at(DAY + 15 * HOUR)
        assert keep_hot_once(bench.lake, bench.settings, say=bench.reports.append).failed == {}
    unit = unit_files(LakeSettings(_env_file=None, root=tmp_path, hot_builder_silent_s=40), tmp_path)
    assert "WatchdogSec=80\nNotifyAccess=main\n" in unit
