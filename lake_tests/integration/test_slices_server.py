"""The quickstart of raw slices: rounds that no failure ends, the data root of the environment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lake_assets.slices.expected import compute_expected_slices, compute_missing_slices, generate_kline_slices
from lake_assets.slices.manifest import NAME, directory, load_from_manifest
from lake_assets.slices.server import open_slices, start_data_server
from lake_resources.errors import SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import exchange
from lake_tests.support.sliced import FIRST, OF, SPAN, ms


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange() as server:
        server.clock.freeze(FIRST + 2 * SPAN + timedelta(minutes=30, seconds=5))
        yield server


@pytest.fixture
def root(sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root in the environment, on whose lattice the tests begin."""
    sim.faults.clear()
    found = tmp_path / "qlir_data"
    for name, value in {
        "QLIR_DATA_ROOT": found, "LAKE_ROOT": tmp_path / "lake", "LAKE_SYMBOLS": "BTCUSDT",
        "LAKE_REST_URL": sim.base_url, "LAKE_REST_ATTEMPTS": 1,
        "LAKE_SPOT_REST_URL": sim.base_url, "LAKE_SLICES_POLL_S": "0.01", "LAKE_SLICES_PAUSE_S": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    with open_slices(LakeSettings()) as slices:
        slices.rows.keep_origin(OF, ms(FIRST), FIRST)
    return found


def test_the_quickstart_keeps_the_data_root_of_the_environment_complete(root: Path) -> None:
    (done,) = start_data_server(rounds=1)
    assert (dict(done.standing), done.complete) == ({"ok": 2, "partial": 1}, True)
    assert (root / directory(OF) / NAME).is_file()
    assert len(list((root / directory(OF) / "responses").glob("*.json"))) == 3


def test_the_documents_completeness_lines_work_as_written(sim: SimulatorServer, root: Path) -> None:
    symbol, interval, min_start_ms, max_end_ms = "BTCUSDT", "1m", ms(FIRST), ms(sim.clock.now())
    start_data_server(rounds=1)
    expected_slices = compute_expected_slices(
        symbol, interval, min_start_ms, max_end_ms, limit=1000, slice_iter=generate_kline_slices
    )
    known_statuses = load_from_manifest(root / directory(OF) / NAME)
    missing_slices = compute_missing_slices(expected_slices, known_statuses)
    assert [key.composite for key in missing_slices] == [f"BTCUSDT:1m:{ms(FIRST + 2 * SPAN)}:1000"]
    assert sorted(known_statuses.values()) == ["ok", "ok", "partial"]
    with pytest.raises(StorageError, match=r"other\.json"):
        load_from_manifest(root / directory(OF) / "other.json")


def test_an_exchange_that_fails_at_every_call_ends_no_loop(sim: SimulatorServer, root: Path) -> None:
    sim.faults.add(Fault("5xx", "/api/v3/time", times=2))
    said: list[str] = []
    (done,) = start_data_server(rounds=4, say=said.append)
    assert done.complete
    assert len(said) == 4
    assert "stopped: " in said[0]


def test_who_ends_the_loop_by_ctrl_c_sees_a_sentence_and_what_the_last_round_did(root: Path) -> None:
    said: list[str] = []

    def interrupting(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            signal.raise_signal(signal.SIGINT)

    (done,) = start_data_server(say=interrupting)
    assert done.complete
    assert said[2:] == ["interrupted: the next start goes on from here"]


def test_what_does_not_exist_is_refused_before_anything_is_asked(root: Path) -> None:
    for given in ({"endpoint": "depth"}, {"intervals": ["1M"]}, {"intervals": ["7s"]}, {"intervals": ["90m"]}):
        with pytest.raises(SettingsError, match="no slices"):
            start_data_server(rounds=1, **given)  # type: ignore[arg-type]
