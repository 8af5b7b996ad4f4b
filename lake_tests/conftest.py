"""What all tests share: recorded exchange data, and which worker runs what. Nothing that knows a module under test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

# A test has the spot market where it asks for it: three more symbols would be three more of everything elsewhere.
os.environ.setdefault("LAKE_SPOT_SYMBOLS", "")
os.environ.setdefault("LAKE_MACRO_TICKERS", "")

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data"

# The same examples each time and on any machine: no run may fail for its luck or for its speed.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Path]:
    """Path of a recorded real file; skips the test where the recordings are absent."""

    def path(relative: str) -> Path:
        found = RECORDED / relative
        if not found.exists():
            pytest.skip(f"no recorded data here: {relative}")
        return found

    return path


_JOURNEYS = "lake_tests/e2e/"
_OUTAGE = "lake_tests/e2e/test_outage.py"


class _Together(LoadFileScheduling):
    """A worker takes a file at a time; the journeys, which share one running stack, are like one file.

    (The marker `xdist_group` says so too, but xdist 3.8 does not see it under pytest 9.2, and both workers started the
    stack.)
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _JOURNEYS if path.startswith(_JOURNEYS) and path != _OUTAGE else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Files in the order of `pytest_collection_modifyitems`, not those with the most tests first."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return _Together(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker is left alone with it at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def turn(item: pytest.Item) -> int:
        if item.nodeid.startswith(_OUTAGE):
            return 0
        return 1 if item.nodeid.startswith(_JOURNEYS) else 2 if item.path in slow else 3

    items.sort(key=turn)
