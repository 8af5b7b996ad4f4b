"""An audit that is killed at any point leaves the lake as it was and a cache that does not lie."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.verdict import AuditReport
from lake_resources.storage.hashing import file_hash
from lake_tests.support.audit_worker import start_auditor
from lake_tests.support.killed_at_step import Step
from lake_tests.support.sound_hours import FIRST, HOUR, LAG, NOW, SYMBOL, commit_sound, open_files

HOURS = 48
KINDS = [
    Step("audit.sqlite: CREATE TABLE"),
    Step("audit.sqlite: SELECT"),
    Step("read"),
    Step("/part.parquet", 30),
    Step("audit.sqlite: INSERT"),
    Step("audit.sqlite: INSERT", 40),
    Step("audit.sqlite: COMMIT"),
    # Everything is in the cache now.
    Step("audit.sqlite: SELECT", 2),
]
EACH = [Step(number=number) for number in range(1, 101)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("steps", [KINDS, pytest.param(EACH, marks=pytest.mark.long)], ids=["kinds", "each"])
def test_killed_again_and_again(tmp_path: Path, steps: Sequence[Step]) -> None:
    store = open_files(tmp_path)
    commit_sound(store, FIRST, HOURS)
    wrong = store.catalog.partition_path(SYMBOL, FIRST + 7 * HOUR)
    wrong.write_bytes(b"torn")
    files = {path: file_hash(path) for path in tmp_path.rglob("*.parquet")}
    rows = store.ledger.partition_facts(SYMBOL, FIRST, FIRST + HOURS * HOUR)

    def audited(cache: AuditCache | None) -> AuditReport:
        end = FIRST + HOURS * HOUR
        return audit_partitions(store, SYMBOL, FIRST, end, now=NOW, lag_minutes=LAG, cache=cache)

    expected = audited(None).hours
    for step in steps:
        worker = start_auditor(tmp_path, HOURS, step)
        worker.join()
        assert worker.exitcode == -signal.SIGKILL, step
        assert audited(AuditCache(tmp_path / "audit.sqlite")).hours == expected
    assert {path: file_hash(path) for path in tmp_path.rglob("*.parquet")} == files
    assert store.ledger.partition_facts(SYMBOL, FIRST, FIRST + HOURS * HOUR) == rows
