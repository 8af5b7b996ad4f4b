"""One day through the lake: `build_partitions` on an empty root, archives downloaded, 24 hours gated and committed.

Belongs here: that run, measured. Does not belong here: making the archives, serving them, judging the figures.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lake_assets.build.hours import build_partitions
from lake_assets.lake import open_lake
from lake_resources.settings import LakeSettings
from lake_tests.bench.meter import metered

NOW = datetime(2026, 11, 20, 15, 30, 30, tzinfo=UTC)
SYMBOL = "BTCUSDT"
NOWHERE = "http://127.0.0.1:9"
"""REST must not be asked: every hour of the day has archives."""


def build_days(root: Path, vision_url: str, first: datetime, days: int) -> int:
    """Build whole days in an empty lake; returns how many hours were committed."""
    lake = open_lake(LakeSettings(root=root, rest_url=NOWHERE, vision_url=vision_url), clock=lambda: NOW)
    hours = [first + timedelta(hours=n) for n in range(24 * days)]
    committed = 0
    for day in build_partitions(lake, SYMBOL, hours, now=NOW, report=lambda _line: None):
        broken = [result for result in day.hours if result.status != "committed"]
        failed = [o.text() for result in day.hours for o in result.outcomes if not o.passed and o.severity == "error"]
        if broken or failed:
            raise SystemExit(f"{[(r.hour, r.status, r.reason) for r in broken][:2]} {failed[:2]}")
        committed += len(day.hours)
    return committed


def main() -> None:
    """`lake_day URL SCRATCH YYYY-MM-DD`: one day in a temporary root below a directory."""
    first = datetime.fromisoformat(sys.argv[3]).replace(tzinfo=UTC)
    with tempfile.TemporaryDirectory(dir=sys.argv[2], prefix="lake-") as root, metered():
        build_days(Path(root), sys.argv[1], first, 1)


if __name__ == "__main__":
    main()
