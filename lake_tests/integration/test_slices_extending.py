"""Endpoints beside klines: by id and by time, and a fourth one that the page adds, on the same loop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lake_assets.slices.data_root import Slices
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.integrity import check
from lake_assets.slices.server import open_slices, run_once
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.ledger.slice_rows import SliceSet
from lake_tests.support.sliced import FIRST, ms

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "slices.md"
TRADES = SliceSet("aggTrades", "BTCUSDT", "id")
NOW = FIRST + timedelta(days=2)


@pytest.fixture
def slices(sim: SimulatorServer, tmp_path: Path) -> Iterator[Slices]:
    sim.faults.clear()
    sim.clock.freeze(NOW)
    settings = LakeSettings(root=tmp_path / "lake", rest_url=sim.base_url, spot_rest_url=sim.base_url)
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as found:
        yield found


def newest(sim: SimulatorServer, path: str, name: str) -> int:
    rows = httpx.get(f"{sim.base_url}{path}", params={"symbol": "BTCUSDT", "limit": 1}, trust_env=False).json()
    return int(rows[-1][name])


def test_trades_are_kept_by_id_and_the_last_slice_grows_until_it_is_full(sim: SimulatorServer, slices: Slices) -> None:
    last = newest(sim, "/api/v3/aggTrades", "a")
    first = last - 2499
    done = run_once(slices, TRADES, first=first)
    assert (done.expected, done.asked, dict(done.standing)) == (3, 3, {"ok": 2, "partial": 1})
    assert done.complete
    rows = slices.rows.slice_rows(TRADES)
    assert [(row.start, row.n_items, row.first_ts, row.last_ts) for row in rows] == [
        (first, 1000, first, first + 999),
        (first + 1000, 1000, first + 1000, first + 1999),
        (first + 2000, 500, first + 2000, last),
    ]
    sim.clock.freeze(NOW + timedelta(hours=3))
    grown = run_once(slices, TRADES)
    assert grown.standing["ok"] == 3
    assert rows[2].sha256 != slices.rows.slice_rows(TRADES)[2].sha256
    assert list(check(slices, ENDPOINTS["aggTrades"], TRADES)) == []


def test_an_id_that_is_missing_is_asked_for_again_and_a_failure_is_no_end(sim: SimulatorServer, slices: Slices) -> None:
    first = newest(sim, "/api/v3/aggTrades", "a") - 2499
    sim.faults.add(Fault("5xx", "/api/v3/aggTrades", query=f"fromId={first}"))
    done = run_once(slices, TRADES, first=first)
    assert dict(done.standing) == {"ok": 1, "partial": 1, "failed": 1}
    sim.faults.clear()
    sim.clock.freeze(NOW + slices.pause)
    assert run_once(slices, TRADES).standing["ok"] >= 2
    assert slices.rows.slice_rows(TRADES)[0].status == "ok"


def test_a_lattice_that_has_begun_does_not_move(sim: SimulatorServer, slices: Slices) -> None:
    first = newest(sim, "/api/v3/aggTrades", "a") - 99
    run_once(slices, TRADES, first=first)
    run_once(slices, TRADES, first=first)
    with pytest.raises(SettingsError, match=f"start at {first}"):
        run_once(slices, TRADES, first=first + 1)


def test_settlements_are_kept_by_time(slices: Slices) -> None:
    hour = 3_600_000
    funding = SliceSet("fundingRate", "BTCUSDT", "1h")
    first = ms(datetime(2026, 6, 1, tzinfo=UTC))
    done = run_once(slices, funding, first=first)
    assert (done.expected, done.standing["ok"], done.standing["partial"]) == (5, 4, 1)
    (row,) = slices.rows.slice_rows(funding, (first, first + 1))
    assert row.n_items == 125
    assert row.last_ts is not None
    assert row.last_ts < first + 1000 * hour
    assert list(check(slices, ENDPOINTS["fundingRate"], funding)) == []


def test_an_endpoint_is_at_most_a_hundred_lines_of_declarations() -> None:
    found = sorted((PROJECT / "lake_assets" / "slices").glob("*_endpoint.py"))
    assert len(found) == len(ENDPOINTS)
    assert max(len(path.read_text().splitlines()) for path in found) <= 100


@pytest.mark.slow
def test_the_page_adds_a_fourth_endpoint(sim: SimulatorServer, tmp_path: Path) -> None:
    sim.faults.clear()
    sim.clock.freeze(NOW)
    section = PAGE.read_text("utf-8").partition("## Another endpoint")[2]
    (code,) = re.findall(r"```python\n# (\S+)\n(.*?)```", section, flags=re.DOTALL)
    (diff,) = re.findall(r"```diff\n(.*?)```", section, flags=re.DOTALL)
    for package in ("lake_assets", "lake_resources"):
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / code[0]).write_text(code[1])
    registry = tmp_path / "lake_assets" / "slices" / "endpoints.py"
    registry.write_text(applied(registry.read_text(), diff))
    first = newest(sim, "/api/v3/historicalTrades", "id") - 1499
    told = []
    for action in ("run --once --first " + str(first), "show", "verify"):
        command = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from lake_assets.cli.main import main; main()"
        arguments = ["slices", *action.split(), "BTCUSDT", "--endpoint", "historicalTrades", "--interval", "id"]
        done = subprocess.run(
            [sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False,
            env=os.environ | {"LAKE_SPOT_REST_URL": sim.base_url, "LAKE_REST_URL": sim.base_url,
                              "LAKE_ROOT": str(tmp_path / "lake")},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(done.stdout)
    assert "2 slices (1 ok, 1 partial), 2 asked for" in told[0]
    assert "1 ok, 1 partial" in told[1]
    assert "2 slices, 0 defects" in told[2]


def applied(text: str, diff: str) -> str:
    """The text after the diff's one change, which the text must have as it stands there."""
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if line[:1] in (" ", "-"))
    after = "\n".join(line[1:] for line in lines if line[:1] in (" ", "+"))
    assert before in text
    return text.replace(before, after)
