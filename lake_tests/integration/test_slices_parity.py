"""Slices against the kline table of the same days: the same candles, each value exactly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.build.hours import build_partitions
from lake_assets.slices.days import SliceDay, run_day
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.loop import lattice_of
from lake_assets.slices.server import open_slices, run_once
from lake_assets.slices.table_parity import compare, rows_from_slices, table_rows
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.clock import DAY, HOUR
from lake_resources.settings import LakeSettings
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import Bench, bench_on
from lake_tests.support.sliced import FIRST, OF, ms

NOW = FIRST + 2 * DAY + timedelta(hours=12)


@pytest.fixture
def settings(sim: SimulatorServer, tmp_path: Path) -> Iterator[LakeSettings]:
    """A lake whose kline table has the first day."""
    with bench_on(sim, tmp_path, spot_rest_url=sim.base_url, start=FIRST.date()) as bench:
        bench.at(NOW)
        lake = bench.lake.of(SPOT_KLINES["1m"])
        days = build_partitions(lake, "BTCUSDT", [FIRST], now=NOW, report=bench.reports.append)
        assert [result.status for day in days for result in day.hours] == ["committed"]
        yield bench.settings


def days(sim: SimulatorServer, settings: LakeSettings) -> list[SliceDay]:
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as slices:
        slices.rows.keep_origin(OF, ms(FIRST), FIRST)
        lattice = lattice_of(slices, ENDPOINTS["klines"], OF)
        table = table_rows(settings, "BTCUSDT", "1m")
        assert table is not None
        wanted = [(FIRST + number * DAY).date() for number in range(3)]
        return [run_day(slices, ENDPOINTS["klines"], OF, day, lattice, table=table) for day in wanted]


def parity_rows(found: list[SliceDay]) -> list[dict[str, object]]:
    return [
        dict(each.metadata) | {"passed": each.passed}
        for day in found
        for each in day.outcomes()
        if each.name == "parity_with_table"
    ]


def test_a_day_is_compared_as_far_as_the_table_reaches_and_others_have_no_row(
    sim: SimulatorServer, settings: LakeSettings
) -> None:
    assert parity_rows(days(sim, settings)) == [{"compared": 1440, "different": 0, "first": None, "passed": True}]


def test_one_value_that_differs_fails_the_day(sim: SimulatorServer, settings: LakeSettings) -> None:
    days(sim, settings)
    with open_slices(settings, clock=sim.clock.now, sleep=lambda _: None) as slices:
        found = rows_from_slices(slices, "BTCUSDT", "1m", FIRST)
        assert rows_from_slices(slices, "BTCUSDT", "1m", FIRST + 2 * DAY) is None, "the day is not over"
    assert found is not None
    candles, coverage = found
    assert (candles.height, coverage.clean, candles.schema) == (1440, True, SPOT_STREAMS["klines_1m"].columns)
    at = FIRST + timedelta(minutes=77)
    here = pl.col("open_time") == at
    wrong = candles.with_columns(close=pl.when(here).then(pl.col("close") + 0.01).otherwise("close"))
    first = f"{at:%Y-%m-%d %H:%M:%S}"
    for other in (wrong, candles.filter(~here)):
        for pair in ((candles, other), (other, candles)):
            told = compare(*pair)
            assert (told.different, told.first) == (1, first)
    assert compare(candles, candles).different == 0
    assert compare(candles, candles.head(0)).compared == 0
    assert compare(candles, candles.head(100)) == compare(candles.head(100), candles), "a shorter table is no fault"


LATE = FIRST + 7 * timedelta(hours=1)
"""The archive of the first day is not there yet."""


def _whole_slices(bench: Bench) -> None:
    with open_slices(bench.settings, clock=bench.sim.clock.now, sleep=lambda _: None) as slices:
        slices.rows.keep_origin(OF, ms(FIRST - DAY), FIRST)
        run_once(slices, OF)


def _built(bench: Bench) -> tuple[dict[datetime, str], list[str]]:
    """Hashes of the table's partitions, and the paths of klines that were asked for."""
    bench.sim.clear_requests()
    lake = bench.lake.of(SPOT_KLINES["1m"])
    list(build_partitions(lake, "BTCUSDT", [FIRST], now=bench.now, report=bench.reports.append))
    rows = lake.ledger.partitions("BTCUSDT", FIRST, FIRST + DAY)
    return {row.start: row.content_hash for row in rows}, [p for p in bench.paths_asked() if p.endswith("/klines")]


def test_the_kline_table_takes_hours_that_slices_have_and_asks_for_no_other_than_the_rest(
    sim: SimulatorServer, tmp_path: Path
) -> None:
    with bench_on(sim, tmp_path / "alone", spot_rest_url=sim.base_url, start=FIRST.date()) as bench:
        truth, asked = _built(bench.at(LATE))
    assert asked
    assert truth
    with bench_on(sim, tmp_path / "with", spot_rest_url=sim.base_url, start=FIRST.date()) as bench:
        _whole_slices(bench.at(LATE))
        assert _built(bench) == (truth, [])
        bench.at(LATE + timedelta(hours=1))
        assert len(_built(bench)[1]) == 1, "the hour that came since"


def test_seconds_are_built_from_slices_of_a_second_without_a_request(sim: SimulatorServer, tmp_path: Path) -> None:
    """Two hours of `bars_1s`: 7,200 candles of one second lie in eight slices, the hour after them is asked of REST."""
    of, first = OF._replace(interval="1s"), FIRST + 3 * HOUR
    hours, built = [first, first + HOUR, first + 2 * HOUR], {}
    for name in ("alone", "with"):
        with bench_on(sim, tmp_path / name, spot_rest_url=sim.base_url, start=FIRST.date()) as bench:
            bench.at(first + 3 * HOUR + timedelta(minutes=10))
            if name == "with":
                with open_slices(bench.settings, clock=sim.clock.now, sleep=lambda _: None) as slices:
                    slices.rows.keep_origin(of, ms(first), FIRST)
                    run_once(slices, of, until=ms(first + 2 * HOUR) - 1)
            bench.sim.clear_requests()
            lake = bench.lake.of(SPOT_BARS_1S)
            list(build_partitions(lake, "BTCUSDT", hours, now=bench.now, report=bench.reports.append))
            rows = lake.ledger.partitions("BTCUSDT", hours[0], hours[-1] + HOUR)
            asked = [query for _, path, query in bench.sim.requests if path.endswith("/klines")]
            built[name] = {row.start: row.content_hash for row in rows}, {int(_start(query)) for query in asked}
            assert [row.row_count for row in rows] == [3600] * 3
    assert built["alone"][0] == built["with"][0]
    assert min(built["alone"][1]) == ms(first)
    assert min(built["with"][1]) == ms(hours[2]), "the hours that slices have whole are not asked for"


def _start(query: str) -> str:
    return dict(part.split("=") for part in query.split("&"))["startTime"]


def test_slices_that_are_damaged_are_told_and_rest_is_asked(sim: SimulatorServer, tmp_path: Path) -> None:
    with bench_on(sim, tmp_path, spot_rest_url=sim.base_url, start=FIRST.date()) as bench:
        _whole_slices(bench.at(LATE))
        for file in bench.settings.resolved_slices_root.rglob("responses/*.json"):
            meta, data = file.read_bytes().split(b'"data":')
            file.write_bytes(meta + b'"data":' + data.replace(b"1", b"2"))
        committed, asked = _built(bench)
        assert committed
        assert asked
        assert any("raw slices gave nothing" in text for text in bench.reports), bench.reports
