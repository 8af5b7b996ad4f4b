"""The sensors of spot's tables on a simulated exchange: what they ask for is executed, and the rows are there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.dagster_names import HEAL_SENSOR, HOT_SENSOR, PROMOTE_SENSOR, sensor_name
from lake_assets.metadata import table_key, vision_key
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.automated_lake import Automated, automated, ranges
from lake_tests.support.simulated_lake import DAY, SYMBOL, bench_on

pytestmark = pytest.mark.slow

OPEN = DAY + 2 * HOUR
NOW = OPEN + 10 * MINUTE + 5 * SECOND
PUBLISHED = DAY + timedelta(hours=24 + 8, minutes=45)
CANDLES = SPOT_KLINES["1m"]


@pytest.fixture
def lake(sim: SimulatorServer, tmp_path: Path) -> Iterator[Automated]:
    """A lake that begins on the day, with one symbol of spot."""
    given = {"spot_symbols": (SYMBOL,), "spot_rest_url": sim.base_url, "start": DAY.date(), "hot_hours": 1}
    with (
        bench_on(sim, tmp_path, **given) as bench,
        dg.DagsterInstance.ephemeral() as instance,
        automated(bench, instance) as found,
    ):
        yield found


def kinds(lake: Automated, table) -> dict[str, tuple[int, str]]:
    """Rows and source by partition."""
    held = lake.bench.lake.of(table).ledger.partitions(SYMBOL, DAY, DAY + timedelta(days=2))
    return {table.layout.text(row.start): (row.row_count, row.sources[table.row_stream].kind) for row in held}


def test_seconds_are_kept_hot_healed_and_built_from_their_archive(lake: Automated) -> None:
    hot, heal, promote = (sensor_name(kind, SPOT_BARS_1S.layout) for kind in (HOT_SENSOR, HEAL_SENSOR, PROMOTE_SENSOR))
    first = lake.tick(hot, NOW).run_requests or ()
    assert ranges(first) == [("2026-11-18-01:00", "2026-11-18-02:00")]
    assert [request.asset_selection for request in first] == [[table_key(SPOT_BARS_1S.layout, SYMBOL)]]
    lake.run(first[0], job="spot_bars_1s_hours")
    assert kinds(lake, SPOT_BARS_1S) == {"2026-11-18T01": (3600, "rest"), "2026-11-18T02": (605, "rest")}
    assert not lake.tick(hot, NOW + 30 * SECOND).run_requests, "no further minute is closed"
    lake.tick_and_run(hot, NOW + MINUTE)
    assert kinds(lake, SPOT_BARS_1S)["2026-11-18T02"] == (665, "rest")

    assert "no holes" in str(lake.tick(heal, NOW + 90 * MINUTE).skip_message)
    later = NOW + 3 * HOUR
    assert ranges(lake.tick(heal, later).run_requests) == [("2026-11-18-02:00", "2026-11-18-03:00")]
    lake.cursors.pop(heal)
    lake.tick_and_run(heal, later)
    assert {key: rows for key, (rows, _) in kinds(lake, SPOT_BARS_1S).items()} == {
        "2026-11-18T01": 3600, "2026-11-18T02": 3600, "2026-11-18T03": 3600,
    }  # fmt: skip

    (taken,) = lake.tick(promote, PUBLISHED).run_requests or ()
    assert (taken.asset_selection, taken.partition_key) == ([vision_key(SYMBOL, "klines_1s", "spot")], "2026-11-18")
    lake.run(taken)
    (rebuild,) = lake.tick(promote, PUBLISHED + 5 * MINUTE).run_requests or ()
    assert ranges([rebuild]) == [("2026-11-18-00:00", "2026-11-18-23:00")]
    lake.run(rebuild)
    held = kinds(lake, SPOT_BARS_1S)
    assert len(held) == 24
    assert set(held.values()) == {(3600, "archive")}
    assert not lake.tick(promote, PUBLISHED + 10 * MINUTE).run_requests


def test_days_of_candles_are_kept_hot_healed_and_built_from_their_archive(lake: Automated) -> None:
    hot, heal, promote = (sensor_name(kind, CANDLES.layout) for kind in (HOT_SENSOR, HEAL_SENSOR, PROMOTE_SENSOR))
    first = lake.tick(hot, NOW).run_requests or ()
    assert ranges(first) == [("2026-11-18", "2026-11-18")]
    lake.run(first[0], job="spot_klines_1m_days")
    assert kinds(lake, CANDLES) == {"2026-11-18": (130, "rest")}
    assert not lake.tick(hot, NOW + 2 * MINUTE).run_requests, "not every minute"
    lake.tick_and_run(hot, NOW + 5 * MINUTE)
    assert kinds(lake, CANDLES) == {"2026-11-18": (135, "rest")}

    later = DAY + 27 * HOUR
    requests = lake.tick(heal, later).run_requests or ()
    assert [(request.tags["lake/cause"], *ranges([request])) for request in requests] == [
        ("incomplete", ("2026-11-18", "2026-11-18"))
    ]
    lake.run(requests[0], job="spot_klines_1m_days")
    assert kinds(lake, CANDLES) == {"2026-11-18": (1440, "rest")}
    assert not lake.tick(heal, later + 5 * MINUTE).run_requests

    lake.tick_and_run(promote, PUBLISHED)
    (rebuild,) = lake.tick(promote, PUBLISHED + 5 * MINUTE).run_requests or ()
    assert ranges([rebuild]) == [("2026-11-18", "2026-11-18")]
    lake.run(rebuild)
    assert kinds(lake, CANDLES) == {"2026-11-18": (1440, "archive")}
    assert not lake.tick(promote, PUBLISHED + 10 * MINUTE).run_requests
