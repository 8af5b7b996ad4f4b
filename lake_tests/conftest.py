"""Fixtures shared by all tests: recorded exchange data, and nothing that knows a module under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Path]:
    """Path of a recorded real file; skips the test where the recordings are absent."""

    def path(relative: str) -> Path:
        found = RECORDED / relative
        if not found.exists():
            pytest.skip(f"no recorded data here: {relative}")
        return found

    return path
