"""The page on spot names for each promise a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "spot.md"
PROMISES = [*(f"C-{number:02}" for number in (*range(2, 14), 26, 27)), "A-16", "A-17", "A-19", "A-20", "A-22"]


def test_every_promise_has_tests_that_are_there() -> None:
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if re.match(r"\| [CA]-\d\d \|", line)]
    named = {line[2:6]: re.findall(r"`(test_\w+\.py)::(test_\w+)`", line) for line in lines}
    assert list(named) == PROMISES
    assert [promise for promise, tests in named.items() if not tests] == []
    absent = [
        f"{file}::{test}"
        for tests in named.values()
        for file, test in tests
        if not any(f"def {test}(" in path.read_text("utf-8") for path in TESTS.rglob(file))
    ]
    assert absent == []
