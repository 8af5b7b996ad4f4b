"""After `make up` nobody clicks: the open hour is kept current, live columns included, and the watchdog says so."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.dagster_names import hour_key
from lake_assets.local_stack.stack import WATCHDOG
from lake_assets.metadata import minute_key
from lake_assets.tables.um_minute import UM_MINUTE as TABLE
from lake_assets.watchdog.heartbeat import heartbeat_path
from lake_resources.clock import MINUTE
from lake_resources.storage.reader import scan
from lake_tests.e2e.conftest import SECRET, Journey

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

_HEARD = (
    "latency_network", "update_id_end", "price_impact_100k", "liq_long_count", "predicted_funding",
    "next_funding_time", "micro_price_close",
)  # fmt: skip


def _newest(journey: Journey) -> datetime | None:
    now = journey.lake.clock()
    rows = journey.lake.ledger.partitions("BTCUSDT", now - timedelta(hours=2), now)
    found = [row.max_ts for row in rows if row.max_ts is not None]
    return max(found) if found else None


def _wait_until(journey: Journey, minute: datetime) -> datetime:
    def reached() -> bool:
        newest = _newest(journey)
        return newest is not None and newest >= minute

    journey.wait(f"minute {minute}", reached)
    newest = _newest(journey)
    assert newest is not None
    return newest


def test_the_open_hour_is_kept_current_by_itself(journey: Journey) -> None:
    first = _wait_until(journey, journey.lake.clock() - 3 * MINUTE)
    second = _wait_until(journey, max(first + MINUTE, journey.lake.clock() - 2 * MINUTE))
    row = journey.lake.ledger.partition("BTCUSDT", second.replace(minute=0))
    assert row is not None
    if not row.complete:
        assert journey.lake.ledger.provisional_from(row) is not None, "minutes inside the safety lag are marked"

    key = hour_key(second.replace(minute=0))

    def shown() -> bool:
        """The row is there before Dagster is told of it, and a run that is at work hides what its forerunner showed."""
        found = journey.api.statuses(minute_key("BTCUSDT").path)
        return any(
            each.status == "MATERIALIZED" and each.start <= key <= each.end for each in found.partitions
        ) and any(each.status == "SUCCEEDED" and each.start <= key <= each.end for each in found.checks["continuity"])

    journey.wait("the open hour in Dagster", shown)


def _beat(journey: Journey) -> dict[str, Any]:
    """The newest heartbeat; empty before the first."""
    path = heartbeat_path(journey.settings)
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def _written(journey: Journey) -> datetime:
    beat = _beat(journey)
    return datetime.fromisoformat(beat["ts_utc"]) if beat else datetime.min.replace(tzinfo=UTC)


def _live_minutes(journey: Journey) -> pl.DataFrame:
    """Minutes of the last hour in which the collector listened from the first second to the last."""
    now = journey.lake.clock()
    schema = TABLE.polars_schema
    rows = scan(journey.lake.store, "BTCUSDT", now - timedelta(hours=1), now, schema=schema)
    return rows.filter(pl.col("has_depth") & pl.col("has_liq")).collect()


def test_minutes_get_what_only_the_collector_hears(journey: Journey) -> None:
    seen: list[pl.DataFrame] = []

    def told() -> bool:
        """A minute over whose end the best prices rested is closed without them, and made anew with the next ones."""
        seen.append(_live_minutes(journey))
        return not seen[-1].is_empty() and not any(seen[-1][name].null_count() for name in _HEARD)

    journey.wait("minutes with all live columns", told)
    minutes = seen[-1]
    assert minutes["has_ws_latency"].all()
    assert (minutes["update_id_start"] < minutes["update_id_end"]).all()
    row = journey.lake.ledger.partition("BTCUSDT", minutes["timestamp"][-1].replace(minute=0))
    assert row is not None
    assert row.sources["live"].kind == "ws"


def test_a_watchdog_that_is_killed_ends_nothing_and_comes_back(journey: Journey) -> None:
    before = journey.stack.processes[WATCHDOG]
    before.kill()
    before.wait(120)
    killed = datetime.now(UTC)
    journey.wait("a heartbeat", lambda: _written(journey) > killed)
    beat = _beat(journey)
    assert beat["daemon"]["last_seen_ts"]
    journey.wait("a daemon that is well", journey.api.daemons_healthy)
    assert not journey.api.daemons_healthy(datetime.now(UTC) + timedelta(minutes=1))


def test_the_watchdog_sees_daemon_sensors_and_minutes(journey: Journey) -> None:
    _wait_until(journey, journey.lake.clock() - 3 * MINUTE)

    asked, beats = datetime.now(UTC), []

    def well() -> bool:
        """A new heartbeat saw minutes and sensors; what other journeys left out is named, and nothing else."""
        beat = _beat(journey)
        beats.append(beat)
        if not beat:
            return False
        named = [text for text in beat["problems"] if "missing hours" not in text]
        seen = bool(beat["files"]["minute_rows_today"]) and "hot_band" in beat["sensors"]
        seen = seen and bool(beat["transformer"]["last_run_end"])
        return _written(journey) > asked and beat["status"] != "STARTING" and seen and not named

    journey.wait("a heartbeat that saw all well", well)
    beat = beats[-1]
    assert {found["status"] for found in beat["schedules"].values()} == {"running"}
    assert beat["sensors"]["hot_band"]["status"] == "running"


def test_a_watchdog_that_ends_takes_nothing_down_and_is_started_again(journey: Journey) -> None:
    watchdog = journey.stack.processes[WATCHDOG]
    os.killpg(watchdog.pid, signal.SIGKILL)
    watchdog.wait(120)
    killed = datetime.now(UTC)
    journey.stack.check()
    journey.wait("a heartbeat after the kill", lambda: _written(journey) > killed)
    assert journey.stack.processes[WATCHDOG].pid != watchdog.pid


def test_no_secret_is_in_arguments_logs_runs_or_files(journey: Journey) -> None:
    """`ps` shows arguments to every user of the machine, and backups, logs and Dagster's history go elsewhere."""
    own = [Path("/proc") / str(process.pid) for process in journey.stack.processes.values()]
    assert any(SECRET.encode() in (each / "environ").read_bytes() for each in own), "the processes do have it"
    shown = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # ended meanwhile
            if SECRET.encode() in path.read_bytes():
                shown.append(path)
    looked: Counter[str] = Counter()
    for place, _, names in os.walk(journey.settings.lake_root):  # which minds no folder that goes meanwhile
        for path in (Path(place, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():
                    looked[path.relative_to(journey.settings.lake_root).parts[0]] += 1
                    if SECRET.encode() in path.read_bytes():
                        shown.append(path)
    assert shown == []
    assert looked["logs"] > 3
    assert looked["dagster_home"] > 3, "runs with their tags and configuration"
