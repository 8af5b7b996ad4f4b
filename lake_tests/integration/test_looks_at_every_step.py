"""A reader and an audit that look before each step of a writer: they see the state before or after, and no alarm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lake_tests.support.simulated_lake import PUBLISHED, exchange

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]


def looks(*arguments: str) -> list[dict[str, Any]]:
    """What each look of the writer found, in order."""
    command = [sys.executable, "-m", "lake_tests.support.looking_writer", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_days_months_and_replaced_hours_are_read_whole_at_every_step(tmp_path: Path) -> None:
    found = looks("minutes", str(tmp_path / "lake"))
    assert len(found) > 20, "every name that is given or taken away is a step"
    assert [look["wrong"] for look in found] == [[]] * len(found)
    assert {tuple(look["rows"]) for look in found} == {(240, 240, 4)}
    seen = list(dict.fromkeys(tuple(look["versions"]) for look in found))
    assert seen == [("old", *middle, "old") for middle in (("old", "old"), ("new", "old"), ("new", "new"))]


def test_slices_that_a_round_works_on_are_no_defects_at_any_step(tmp_path: Path) -> None:
    with exchange() as sim:
        sim.clock.freeze(PUBLISHED)
        found = looks("slices", str(tmp_path / "lake"), sim.base_url)
    assert len(found) > 3
    assert [look["wrong"] for look in found] == [[]] * len(found)
    assert found[0]["manifest"]["pending_slices"] == found[-1]["manifest"]["pending_slices"] + 3


def test_every_table_export_feed_and_backup_is_whole_at_every_step(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lake_tests.support.looking_writer", "tables", str(tmp_path / "lake")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for table, rows, versions in (
        ("spot_bars_1s", 10_795, ["ooo", "noo"]), ("spot_klines_1m", 1440, ["o", "n"]), ("macro_minute", 10, ["o", "n"])
    ):  # fmt: skip
        looks = found.pop(table)
        assert len(looks) > 6, table
        assert list(dict.fromkeys(look["versions"] for look in looks)) == versions
        assert {tuple(look["rows"]) for look in looks} == {(rows, rows)}
        assert {tuple(look["wrong"]) for look in looks} == {tuple(looks[0]["wrong"])}, "nothing is wrong that was not"

    exports = found.pop("exports")
    assert len(exports) > 20
    assert {alone for alone, *_ in exports} == {0}, "no certificate without its file"
    assert not [look for look in exports if False in look[1:]], "no certificate of another file"
    assert exports[-1] == [0, True, True]

    feed = found.pop("feed")
    assert len(feed) > 8
    assert [look[:2] for look in feed] == sorted(look[:2] for look in feed)
    assert (feed[0][:2], feed[-1][:2]) == ([737, 737], [738, 738])
    assert all(whole for _, _, whole, _ in feed)

    dead, beside = found.pop("dead"), found.pop("while")
    assert found == {}
    assert [look["versions"] for look in dead] == ["nnn", "onn", "oon", "ooo"]
    for look in (*dead, beside):
        assert (look["damaged"], look["wrong"], look["rows"]) == ([], [], [10_795, 10_795])
    assert beside["versions"] == "nnn"
    assert beside["live"] == ["a.seg", "b.seg"], "records that got their final name meanwhile"
