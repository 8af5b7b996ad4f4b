"""An audit that is killed at any point leaves the lake as it was and a cache that does not lie."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.verdict import AuditReport
from lake_resources.storage.hashing import file_hash
from lake_tests.support.audit_worker import start_auditor
from lake_tests.support.sound_hours import FIRST, HOUR, LAG, NOW, SYMBOL, commit_sound, open_files

HOURS = 48


@pytest.mark.disk
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.long)])
def test_killed_again_and_again(tmp_path: Path, kills: int) -> None:
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
    moment = random.Random(7)
    for _ in range(kills):
        worker = start_auditor(tmp_path, HOURS)
        time.sleep(moment.uniform(0, 0.25))
        worker.kill()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
        assert audited(AuditCache(tmp_path / "audit.sqlite")).hours == expected
    assert {path: file_hash(path) for path in tmp_path.rglob("*.parquet")} == files
    assert store.ledger.partition_facts(SYMBOL, FIRST, FIRST + HOURS * HOUR) == rows
