"""The pages that list promises name for each a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGES = {
    "spot.md": [*(f"C-{number:02}" for number in (*range(2, 14), 26, 27)), "A-16", "A-17", "A-19", "A-20", "A-22"],
    "slices.md": [f"Q-{number:02}" for number in range(1, 23)],
    "research.md": ["C-21", "C-22", "C-23", "C-24", "C-28"],
    "operations.md": [f"C-{number}" for number in range(14, 21)],
}


@pytest.mark.parametrize("page", PAGES)
def test_every_promise_has_tests_that_are_there(page: str) -> None:
    lines = [
        line
        for line in (TESTS.parent / "docs" / page).read_text("utf-8").splitlines()
        if re.match(r"\| [CAQ]-\d\d \|", line)
    ]
    named = {line[2:6]: re.findall(r"`(test_\w+\.py)::(test_\w+)`", line) for line in lines}
    assert list(named) == PAGES[page]
    assert [promise for promise, tests in named.items() if not tests] == []
    absent = [
        f"{file}::{test}"
        for tests in named.values()
        for file, test in tests
        if not any(f"def {test}(" in path.read_text("utf-8") for path in TESTS.rglob(file))
    ]
    assert absent == []
