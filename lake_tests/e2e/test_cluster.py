"""The cluster of `make cluster-demo` in small: one symbol, one day, two workers, and every accident.

Each accident's consequences have ended before the next one, so none can meet another by chance; no wait is for seconds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lake_tests.bench.cluster_demo import demonstrate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]


def test_a_cluster_that_loses_workers_redis_and_postgres_builds_what_one_machine_builds(tmp_path: Path) -> None:
    found = demonstrate(tmp_path, ["BTCUSDT"], days=1, workers=2, say=print, feed=False)
    assert len(found.lines) >= 13, found.lines
    assert found.wrong == [], "\n".join(found.lines)
