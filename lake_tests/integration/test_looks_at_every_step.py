"""A reader and an audit that look before each step of a writer: they see the state before or after, and no alarm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lake_tests.support.simulated_lake import PUBLISHED, exchange

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
