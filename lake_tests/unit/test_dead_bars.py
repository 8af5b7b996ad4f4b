"""A whole hour without a trade and with one price, next to hours that trade, is named (K15); known outages excuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.audit.rulepack_bars import check_file
from lake_assets.feed_1h.outcomes import dead_hours, recent_rules
from lake_assets.validation.dead_bars import dead_bars
from lake_assets.validation.rule_report import render
from lake_resources.clock import HOUR, MINUTE
from lake_resources.known_hole import KnownHole

START = datetime(2024, 10, 28, 18, tzinfo=UTC)
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")


def bars(volumes: list[float], step: timedelta = HOUR) -> pl.DataFrame:
    """Bars that move where they have volume, and stand at the last close where they have none."""
    rows = []
    close = 100.0
    for index, volume in enumerate(volumes):
        opened = close
        close = opened + (1.0 if volume else 0.0)
        rows.append((START + index * step, opened, close, opened, close, volume))
    return pl.DataFrame(
        rows, schema=dict.fromkeys(COLUMNS, pl.Float64()) | {"timestamp": pl.Datetime("us", "UTC")}, orient="row"
    )


@pytest.mark.parametrize(
    ("volumes", "step", "found"),
    [
        ([5.0, 5.0, 0.0, 5.0], HOUR, [2]),
        ([5.0, 5.0, 0.0], HOUR, [2]),
        ([0.0, 5.0], HOUR, [0]),
        ([0.0, 0.0], HOUR, []),
        ([5.0, 5.0], HOUR, []),
        ([5.0, 0.0, 0.0, 5.0, 0.0, 5.0], HOUR, [1, 4]),
        ([5.0, *[0.0] * 60, 5.0], MINUTE, [1]),
        ([5.0, *[0.0] * 59, 5.0], MINUTE, []),
    ],
)
def test_an_hour_or_more_of_silence_next_to_trade_is_dead(
    volumes: list[float], step: timedelta, found: list[int]
) -> None:
    runs = dead_bars(bars(volumes, step), COLUMNS, step)
    assert [run.start for run in runs] == [START + index * step for index in found]


def test_one_bar_without_volume_that_moved_is_another_matter() -> None:
    moved = bars([5.0, 0.0, 5.0]).with_columns(high=pl.col("high") + 1.0)
    assert dead_bars(moved, COLUMNS, HOUR) == []
    unknown = bars([5.0, 0.0, 5.0]).with_columns(volume=pl.when(pl.col("volume") > 0).then("volume"))
    assert dead_bars(unknown, COLUMNS, HOUR) == []


def outage(first: datetime, last: datetime) -> KnownHole:
    return KnownHole("klines_1m", "BTCUSDT", first, last, "maintenance", "announcement")


def test_a_known_outage_of_the_whole_run_excuses_it() -> None:
    frame, dead = bars([5.0, 5.0, 0.0, 0.0, 5.0]), START + 2 * HOUR
    (part,) = dead_bars(frame, COLUMNS, HOUR, [outage(dead, dead + HOUR)])
    assert not part.excused
    (whole,) = dead_bars(frame, COLUMNS, HOUR, [outage(dead, dead + 2 * HOUR)])
    assert whole.excused
    assert "in a known outage" in whole.text


def test_the_rulepack_of_a_file_names_it_and_does_not_pass(tmp_path: Path) -> None:
    path = tmp_path / "btcusdt_1h.csv"
    bars([5.0, 5.0, 0.0, 5.0]).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    found = check_file(path, None, None, HOUR)
    assert found.verdict == "INVESTIGATE"
    assert all(not rule.violations for rule in found.rules)
    page = render([found], timeframe="1h", source=str(path), generated=START)
    assert "suspicious: a dead bar 2024-10-28 20:00 to 2024-10-28 21:00: volume 0 and one price 102.0" in page
    bars([5.0, 5.0, 1.0, 5.0]).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    assert check_file(path, None, None, HOUR).verdict == "PASS"
    bars([5.0, 5.0, 0.0, 5.0]).drop("volume").write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    assert check_file(path, None, None, HOUR).verdict == "PASS", "without volumes nothing is known"


def test_the_feed_names_it_in_its_rulepack_and_in_the_run_that_took_it() -> None:
    table = bars([5.0, 5.0, 0.0, 5.0]).with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    dead = datetime(2024, 10, 28, 20)  # noqa: DTZ001 - as the table: UTC without a zone
    assert recent_rules(table).verdict == "INVESTIGATE"
    assert [each.text for each in dead_hours(table, [dead], ())] == [recent_rules(table).dead[0].text]
    assert dead_hours(table, [dead - HOUR], ()) == []
    declared = [outage(dead.replace(tzinfo=UTC), dead.replace(tzinfo=UTC) + HOUR)]
    assert dead_hours(table, [dead], declared) == []
    assert recent_rules(table, declared).verdict == "PASS"
