"""A manifest that somebody edited by hand: each rule has a code and is mended from the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lake_assets.slices import keeping
from lake_assets.slices.data_root import Slices
from lake_assets.slices.defects import CODES
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.integrity import check
from lake_assets.slices.keys import SliceKey
from lake_assets.slices.manifest import NAME, directory
from lake_assets.slices.server import open_slices, run_once
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import exchange
from lake_tests.support.sliced import FIRST, OF, SPAN, ms

KEYS = [SliceKey("BTCUSDT", "1m", ms(FIRST + index * SPAN)).composite for index in range(4)]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange() as server:
        server.clock.freeze(FIRST + 3 * SPAN + timedelta(minutes=30, seconds=5))
        yield server


@pytest.fixture(scope="module")
def slices(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slices]:
    root = tmp_path_factory.mktemp("slices") / "lake"
    settings = LakeSettings(root=root, rest_url=sim.base_url, spot_rest_url=sim.base_url)
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as found:
        assert run_once(found, OF, first=ms(FIRST)).complete
        yield found


def moved(document: dict[str, Any], to: str) -> None:
    document["slices"][to] = document["slices"].pop(KEYS[1])


def url(document: dict[str, Any], old: str, new: str) -> None:
    entry = document["slices"][KEYS[1]]
    entry["requested_url"] = entry["requested_url"].replace(old, new)


EDITS: dict[str, Edit] = {
    "empty_manifest": lambda document: document["slices"].clear(),
    "count_mismatch": lambda document: document["summary"].update(ok_slices=4),
    "composite_key_format_error": lambda document: moved(document, "BTCUSDT-1m"),
    "different_structure": lambda document: document["slices"][KEYS[1]].pop("error"),
    "slice_id_missing": lambda document: document["slices"][KEYS[1]].update(slice_id=None),
    "slice_id_hash_mismatch": lambda document: document["slices"][KEYS[1]].update(slice_id="3af2b1e7c442b7be"),
    "invalid_slice_status": lambda document: document["slices"][KEYS[1]].update(status="complete"),
    "missing_requested_url": lambda document: document["slices"][KEYS[1]].update(requested_url=None),
    "url_parse_failed": lambda document: url(document, "http://", "nowhere:"),
    "missing_startTime": lambda document: url(document, "startTime", "begin"),
    "invalid_startTime": lambda document: url(document, "startTime=1", "startTime=x"),
    "slice_key_url_mismatch": lambda document: url(document, "symbol=BTCUSDT", "symbol=ETHUSDT"),
    "interval_misalignment": lambda document: moved(document, f"BTCUSDT:1m:{ms(FIRST + SPAN) + 1}:1000"),
    "open_time_spacing": lambda document: document["slices"].pop(KEYS[2]),
    "manifest_differs": lambda document: document["slices"][KEYS[1]].update(relative_path=None),
    "manifest_unreadable": lambda document: document.pop("slices"),
}


@pytest.mark.parametrize("code", EDITS)
def test_each_fault_is_named_and_mended_from_the_ledger(slices: Slices, code: str) -> None:
    path = slices.root / directory(OF) / NAME
    document = json.loads(path.read_text())
    EDITS[code](document)
    path.write_text(json.dumps(document))
    found = list(check(slices, ENDPOINTS["klines"], OF))
    assert code in {each.code for each in found}
    assert {each.code for each in found} <= set(CODES)
    before = slices.rows.slice_rows(OF)
    told = keeping.do(slices, OF, "verify", mend=True)
    assert (told.wrong, told.counts["sent back"]) == (True, 0)
    assert slices.rows.slice_rows(OF) == before, "a fault of the manifest is none of an answer"
    assert list(check(slices, ENDPOINTS["klines"], OF)) == []


def test_a_lost_answer_and_a_pending_slice_are_no_error_of_the_check(slices: Slices, tmp_path: Path) -> None:
    row = slices.rows.slice_rows(OF)[0]
    slices.store.remove([row.path or ""])
    slices.rows.forget_slices(OF, [slices.rows.slice_rows(OF)[1].start])
    told = keeping.do(slices, OF, "verify", mend=True)
    codes = [each.code for each in told.defects]
    assert codes.count("missing_response_file") == 1
    assert codes.count("orphan_response_file") == 1
    assert run_once(slices, OF).complete
    assert list(check(slices, ENDPOINTS["klines"], OF)) == []
