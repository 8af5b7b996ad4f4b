"""Range runs of the minute asset on a Dagster instance of its own: what Dagster adds to the data work.

Belongs here: the runs, with the data work inside them metered apart. Does not belong here: making the archives,
judging the figures. The instance is that of `dagster_home/dagster.yaml`; `stock` takes Dagster's own event log instead.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.build.hours import build_partitions
from lake_assets.dagster_names import hour_key
from lake_assets.inputs.results import DayResult
from lake_assets.metadata import minute_key
from lake_assets.resources import build_resources
from lake_assets.validation.outcome import CHECKS
from lake_resources.settings import LakeSettings
from lake_tests.bench.lake_day import NOWHERE, SYMBOL
from lake_tests.bench.meter import cpu_s, metered

_PROJECT = Path(__file__).resolve().parents[2]
_RANGE = "dagster/asset_partition_range_"


class _DataWork:
    """Stands before `build_partitions` and meters what goes on inside it."""

    def __init__(self) -> None:
        self._build = build_partitions
        self.cpu_s = self.wall_s = 0.0

    def __call__(self, *given: Any, **named: Any) -> Iterator[DayResult]:
        days = self._build(*given, **named)
        while True:
            cpu, wall = cpu_s(), time.perf_counter()
            day = next(days, None)
            self.cpu_s += cpu_s() - cpu
            self.wall_s += time.perf_counter() - wall
            if day is None:
                return
            yield day


def instance_at(home: Path, *, stock: bool) -> dg.DagsterInstance:
    """A new SQLite instance with the project's configuration, or with Dagster's own event log."""
    home.mkdir(parents=True)
    configuration = yaml.safe_load((_PROJECT / "dagster_home" / "dagster.yaml").read_text())
    configuration.pop("event_log_storage", None)
    if not stock:
        pooled = {"module": "lake_resources.event_log", "class": "PooledSqliteEventLogStorage"}
        configuration["event_log_storage"] = pooled | {"config": {"home": str(home)}}
    (home / "dagster.yaml").write_text(yaml.safe_dump(configuration))
    return dg.DagsterInstance.from_config(str(home))


def main() -> None:
    """Warm up with one hour, then run the ranges, all in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("scratch", type=Path)
    parser.add_argument("first", help="YYYY-MM-DD")
    parser.add_argument("--hours", type=int, default=24, help="hours of one run")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--stock", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    start = datetime.fromisoformat(given.first).replace(tzinfo=UTC)
    with tempfile.TemporaryDirectory(dir=given.scratch, prefix="dagster-") as temp:
        settings = LakeSettings(
            root=Path(temp) / "lake", rest_url=NOWHERE, vision_url=given.url, symbols=(SYMBOL,), start=start.date()
        )
        data = _DataWork()
        asset = build_table_asset(replace(MINUTE_ASSET, build=data), SYMBOL, settings)
        resources = build_resources(settings)
        with instance_at(Path(temp) / "home", stock=given.stock) as instance:
            # The first run of an instance creates its tables and imports the rest of Dagster.
            _run(instance, asset, resources, start, 1)
            data.cpu_s = data.wall_s = 0.0
            with metered() as figures:
                for number in range(given.runs):
                    _run(instance, asset, resources, start + timedelta(days=1, hours=number * given.hours), given.hours)
                hours = given.hours * given.runs
                figures |= {"hours": hours, "data_cpu_s": data.cpu_s, "data_wall_s": data.wall_s}
            _require_rows(instance, hours + 1)
            size = sum(file.stat().st_size for file in (Path(temp) / "home").rglob("*") if file.is_file())
            sys.stderr.write(f"event log: {size / (hours + 1) / 1024:.1f} KiB per hour\n")
            shutil.rmtree(Path(temp) / "lake")


def _run(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, resources: Any, start: datetime, hours: int) -> None:
    last = start + timedelta(hours=hours - 1)
    tags = {f"{_RANGE}start": hour_key(start), f"{_RANGE}end": hour_key(last)}
    result = dg.materialize([asset], instance=instance, resources=resources, tags=tags)
    assert result.success


def _require_rows(instance: dg.DagsterInstance, hours: int) -> None:
    """Every hour has its materialization and its row of each check: otherwise the figures are of something else.

    What compares archives with answers of REST says nothing where REST was not asked.
    """
    key = minute_key(SYMBOL)
    assert len(instance.get_materialized_partitions(key)) == hours
    for name in set(CHECKS) - {"archive_parity"}:
        rows = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, name), limit=10**5)
        assert sum(row.status.value == "SUCCEEDED" for row in rows) == hours, name


if __name__ == "__main__":
    main()
