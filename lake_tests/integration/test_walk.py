"""One hour's way through the code stays short: from the zips of its archives to the rows of its checks."""

from __future__ import annotations

from lake_tests.bench.walk import follow
from lake_tests.support.simulated_lake import PUBLISHED, Bench


def test_an_hour_crosses_at_most_25_files_from_zip_to_check_row_and_never_turns_back(bench: Bench) -> None:
    walk = follow(bench.at(PUBLISHED), ask_rest=False)
    assert walk.zigzags == []
    assert len(walk.files) <= 25, walk.files
    for file in ("inputs/archives", "build/hours", "transforms/assemble", "validation/gate", "validation/outcome"):
        assert f"lake_assets/{file}.py" in walk.files
    assert "lake_resources/storage/commit.py" in walk.files
    assert "lake_resources/storage/ledger/partition_rows.py" in walk.asked
