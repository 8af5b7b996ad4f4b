"""Rounds killed at any point, and two at once: no torn answer, no slice that says `ok` without its bytes."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from lake_assets.slices.answers import key_in, read_file
from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.frames import read_slices
from lake_assets.slices.integrity import check
from lake_assets.slices.manifest import NAME, directory, read_manifest
from lake_assets.slices.server import open_slices, run_once
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.killed_at_step import Step
from lake_tests.support.simulated_lake import exchange
from lake_tests.support.slice_worker import start_slicer
from lake_tests.support.sliced import FIRST, OF, SPAN, ms

KLINES = ENDPOINTS["klines"]
COUNT = 12
NOW = FIRST + (COUNT - 1) * SPAN + timedelta(minutes=500, seconds=5)


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange(rate_per_min=1.0) as server:
        server.clock.freeze(NOW)
        yield server


def settings_of(sim: SimulatorServer, root: Path) -> LakeSettings:
    return LakeSettings(root=root, rest_url=sim.base_url, spot_rest_url=sim.base_url, symbols=("BTCUSDT",))


@contextmanager
def opened(found: LakeSettings) -> Iterator[Slices]:
    with open_slices(found, clock=lambda: NOW, sleep=lambda _: None) as slices:
        slices.rows.keep_origin(OF, ms(FIRST), FIRST)
        yield slices


def sound(slices: Slices) -> int:
    """Slices that are `ok`; every file that has an answer's name is whole, and every row's bytes are there."""
    responses = slices.root / directory(OF) / "responses"
    for path in responses.glob("[!.]*.json"):
        meta, _ = read_file(path.read_bytes())
        assert key_in(meta).slice_id == path.stem
    rows = [row for row in slices.rows.slice_rows(OF) if row.status == "ok"]
    for row in rows:
        assert hashlib.sha256(slices.store.get(row.path or "")).hexdigest() == row.sha256
    codes = {each.code for each in check(slices, KLINES, OF)}
    # An answer without a row yet, a row of before it, a manifest of before: the next round sees to each.
    assert codes <= {"orphan_response_file", "row_before_answer", "manifest_differs", "manifest_unreadable"}
    if (slices.root / directory(OF) / NAME).exists():
        read_manifest(slices.store.blobs, OF)
    read_slices(slices, "BTCUSDT", "1m", FIRST, NOW)
    return len(rows)


@pytest.fixture(scope="module")
def wanted(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str, int | None]]:
    """What an undisturbed round keeps."""
    with opened(settings_of(sim, tmp_path_factory.mktemp("calm"))) as calm:
        assert run_once(calm, OF).complete
        return kept(calm)


def kept(slices: Slices) -> list[tuple[int, str, int | None]]:
    return [(row.start, row.status, row.n_items) for row in slices.rows.slice_rows(OF)]


ROUNDS = (
    (Step("/responses"), 0, 0),
    (Step("os.rename", 3), 2, 0),
    (Step("os.remove", 4), 4, 0),
    (Step("INSERT INTO slices"), COUNT, 0),
    (Step("COMMIT"), COUNT, 0),
    (Step("manifest.json"), COUNT, COUNT - 1),
    (Step("os.rename"), COUNT, COUNT - 1),
)
"""Steps that rounds die before, one after the other; answers on disk then, and slices that are `ok`."""


def test_a_round_killed_anywhere_leaves_no_torn_answer_and_is_finished_by_the_next(
    sim: SimulatorServer, tmp_path: Path, wanted: list[tuple[int, str, int | None]]
) -> None:
    found = settings_of(sim, tmp_path)
    with opened(found) as slices:
        responses = slices.root / directory(OF) / "responses"
        for step, answers, ok in ROUNDS:
            process = start_slicer(found, OF, NOW, step)
            process.join()
            assert process.exitcode == -signal.SIGKILL
            assert (len(list(responses.glob("[!.]*.json"))), sound(slices)) == (answers, ok), step
        assert run_once(slices, OF).complete
        assert kept(slices) == wanted
        assert list(check(slices, KLINES, OF)) == []


@pytest.mark.long
def test_rounds_killed_at_each_step_are_finished_by_the_next(
    sim: SimulatorServer, tmp_path: Path, wanted: list[tuple[int, str, int | None]]
) -> None:
    kills = 0
    for number in count(1):
        found = settings_of(sim, tmp_path / f"lake-{number}")
        with opened(found) as slices:
            before, died = 0, list[bool]()
            for step in (Step(number=number), Step(number=number), Step(number=3)):
                process = start_slicer(found, OF, NOW, step)
                process.join()
                died.append(process.exitcode == -signal.SIGKILL)
                after = sound(slices)
                assert after >= before, "a slice that was ok is lost"
                before = after
            assert run_once(slices, OF).complete
            assert kept(slices) == wanted
            assert list(check(slices, KLINES, OF)) == []
        kills += sum(died)
        if not died[0]:
            break
    assert kills >= 100


def test_two_loops_at_once_ask_for_each_slice_once(sim: SimulatorServer, tmp_path: Path) -> None:
    found = settings_of(sim, tmp_path / "lake")
    with opened(found) as slices:
        sim.clear_requests()
        processes = [start_slicer(found, OF, NOW) for _ in range(2)]
        for process in processes:
            process.join()
        codes = sorted(process.exitcode or 0 for process in processes)
        assert codes in ([0, 0], [0, 1])
        assert sound(slices) == COUNT - 1
        asked = [query for _, path, query in sim.requests if path == "/api/v3/klines"]
        # One after the other: the second asks for the growing slice alone. Side by side: the second leaves at once.
        assert len(asked) == COUNT + codes.count(0) - 1
        assert list(check(slices, KLINES, OF)) == []
