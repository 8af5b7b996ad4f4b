"""A short seeded part of the fuzz: mutated bytes end as rows or as an error of the tree, foreseen, in their time."""

from __future__ import annotations

import pytest

from lake_tests.bench.fuzz import KINDS, run
from lake_tests.bench.fuzz_samples import collect

CASES = 30
"""Of each kind."""


@pytest.mark.slow
def test_no_mutant_escapes_the_error_tree() -> None:
    results = run(CASES, samples=collect())
    assert sorted(results) == sorted(KINDS)
    for name, found in results.items():
        assert found.escaped == []
        assert found.slow == []
        assert sum(found.outcomes.values()) == CASES, name
        assert not [outcome for outcome in found.outcomes if "unforeseen" in outcome]
        assert len(found.outcomes) > 1, f"{name}: some are read and some are refused"
