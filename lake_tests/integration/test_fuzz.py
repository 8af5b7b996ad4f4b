"""A short seeded part of the fuzz: mutated bytes end as rows or as an error of the tree, foreseen, in their time."""

from __future__ import annotations

from lake_tests.bench.fuzz import run

CASES = 390


def test_no_mutant_escapes_the_error_tree() -> None:
    results = run(CASES)
    assert sorted(results) == [
        "answer", "beat", "checksum", "config", "csv", "frame", "lines", "manifest", "segment", "slice", "tree",
        "yahoo", "zip",
    ]  # fmt: skip
    for name, found in results.items():
        assert found.escaped == []
        assert found.slow == []
        assert sum(found.outcomes.values()) == CASES // len(results), name
        assert not [outcome for outcome in found.outcomes if "unforeseen" in outcome]
        assert len(found.outcomes) > 1, f"{name}: some are read and some are refused"
