"""Real recorded Vision files parse into the figures that an independent script found (inventory A-15 to A-17)."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_resources.binance.archives.archive_csv import read_frames
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import ArchiveCorrupt
from lake_tests.support.archive_rows import archive_rows

Recorded = Callable[[str], Path]
KLINES = UM_STREAMS["klines_1m"]


def zipped(csv: Path, directory: Path) -> Path:
    path = directory / f"{csv.stem}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(csv, csv.name)
    return path


def day_figures(frame: pl.DataFrame) -> tuple[float, float, float, float, float, int]:
    row = frame.select(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
        pl.col("volume").sum().round(6), pl.col("count").sum(),
    )  # fmt: skip
    return row.row(0)


def minutes_without_gap(frame: pl.DataFrame, step: timedelta) -> bool:
    return bool((frame["open_time"].diff().drop_nulls() == step).all())


def published_hash(zip_path: Path) -> str:
    return zip_path.with_name(zip_path.name + ".CHECKSUM").read_text().split()[0]


def test_headerless_um_klines(recorded: Recorded, tmp_path: Path) -> None:
    csv = recorded("vision/um/klines_1m_daily_headerless/BTCUSDT-1m-2022-05-06.csv")
    frame = archive_rows(zipped(csv, tmp_path), KLINES)
    assert frame.height == 1440
    assert day_figures(frame) == (36533.70, 36679.3, 35200.0, 35995.30, 431_979.240, 3_998_315)
    assert frame["open_time"][0] == datetime(2022, 5, 6, tzinfo=UTC)
    assert minutes_without_gap(frame, timedelta(minutes=1))


@pytest.mark.parametrize(
    ("day", "figures"),
    [
        ("2020-01-01", (7195.24, 7255.0, 7175.15, 7200.85, 16_792.388165, 194_010)),
        ("2020-01-02", (7200.77, 7212.5, 6924.74, 6965.71, 31_951.483932, 302_667)),
    ],
)
def test_spot_zip_and_checksum(recorded: Recorded, tmp_path: Path, day: str, figures: tuple[float, ...]) -> None:
    path = recorded(f"vision/spot/klines_1m_zip/BTCUSDT-1m-{day}.zip")
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == published_hash(path)
    frame = archive_rows(path, KLINES)
    assert frame.height == 1440
    assert minutes_without_gap(frame, timedelta(minutes=1))
    assert day_figures(frame) == figures
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(flipped)
    assert hashlib.sha256(flipped).hexdigest() != published_hash(path)
    with pytest.raises(ArchiveCorrupt):
        archive_rows(damaged, KLINES)


def test_microseconds_are_recognised(recorded: Recorded) -> None:
    days = [archive_rows(recorded(f"vision/spot/klines_1h_us/BTCUSDT-1h-2026-05-0{day}.zip"), KLINES) for day in (8, 9)]
    frame = pl.concat(days)
    assert [day.height for day in days] == [24, 24]
    assert frame["open_time"][0] == datetime(2026, 5, 8, tzinfo=UTC)
    assert frame["open_time"][-1] == datetime(2026, 5, 9, 23, tzinfo=UTC)
    assert frame["close_time"][0] == datetime(2026, 5, 8, 0, 59, 59, 999_999, UTC)
    assert minutes_without_gap(frame, timedelta(hours=1))
    assert frame.select("open", "high", "low", "close", "volume", "count").row(0) == (
        80006.00, 80142.84, 79729.72, 79831.99, 958.06006, 67_626,
    )  # fmt: skip
    assert frame["close"][-1] == 80678.40


def test_spot_csv_days_around_the_change_of_unit(recorded: Recorded, tmp_path: Path) -> None:
    for day in ("2024-12-31", "2025-01-01"):
        frame = archive_rows(zipped(recorded(f"vision/spot/klines_1m/BTCUSDT-1m-{day}.csv"), tmp_path), KLINES)
        assert frame.height == 1440
        assert frame["open_time"][0] == datetime.fromisoformat(f"{day}T00:00:00+00:00")
        assert minutes_without_gap(frame, timedelta(minutes=1))


@pytest.mark.parametrize("name", ["LINKUSDT-1m-2026-02", "FILUSDT-1m-2024-09", "AVAXUSDT-1m-2026-06"])
def test_monthly_um_klines(recorded: Recorded, tmp_path: Path, name: str) -> None:
    csv = recorded(f"vision/um/klines_1m_monthly/{name}.csv")
    frame = archive_rows(zipped(csv, tmp_path), KLINES)
    lines = csv.read_text().splitlines()[1:]
    assert frame.height == len(lines)
    assert minutes_without_gap(frame, timedelta(minutes=1))
    fields = [line.split(",") for line in lines]
    for position, column in (
        (1, "open"),
        (4, "close"),
        (5, "volume"),
        (7, "quote_volume"),
        (10, "taker_buy_quote_volume"),
    ):
        assert frame[column].to_list() == [float(row[position]) for row in fields]


def test_monthly_funding(recorded: Recorded) -> None:
    path = recorded("vision/um/funding_rate/BTCUSDT-fundingRate-2026-04.zip")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == published_hash(path)
    frame = archive_rows(path, UM_STREAMS["funding_rate"])
    assert frame.height == 90
    assert frame["last_funding_rate"][-1] == -0.00002904
    assert frame["funding_interval_hours"].unique().to_list() == [8]
    jitter_ms = frame["calc_time"].dt.epoch("ms") % 3_600_000
    assert (jitter_ms.min(), jitter_ms.max()) == (0, 13)


def test_book_depth_day(recorded: Recorded) -> None:
    frame = archive_rows(recorded("vision/um/book_depth/BTCUSDT-bookDepth-2023-10-16.zip"), UM_STREAMS["book_depth"])
    assert frame.height == 28_800
    assert sorted(frame["percentage"].unique()) == [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5]
    spacing = frame["timestamp"].unique().sort().diff().drop_nulls().dt.total_seconds()
    assert (spacing.min(), spacing.max()) == (19, 42)


def test_a_whole_day_of_aggtrades(recorded: Recorded) -> None:
    path = recorded("vision/cm/agg_trades/BTCUSD_PERP-aggTrades-2026-05-08.zip")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == published_hash(path)
    frame = pl.concat(read_frames(path, UM_STREAMS["agg_trades"], 1 << 20))
    assert frame.height == 105_280
    assert frame["agg_trade_id"].diff().drop_nulls().unique().to_list() == [1]
    assert frame["transact_time"].is_sorted()
    assert frame.equals(archive_rows(path, UM_STREAMS["agg_trades"]))


def test_heads_of_other_um_streams(recorded: Recorded, tmp_path: Path) -> None:
    files = {
        "agg_trades": ("vision/um/agg_trades/ETHUSDT_260925-aggTrades-2026-03.csv", 200),
        "mark_price_klines_1m": ("vision/um/mark_price_klines/ETHUSDT_260925-markPriceKlines-1m-2026-03.csv", 150),
        "book_ticker": ("vision/um/book_ticker/BTCUSDT-bookTicker-2023-10-02-short.csv", 9_999),
    }
    for name, (relative, rows) in files.items():
        frame = archive_rows(zipped(recorded(relative), tmp_path), UM_STREAMS[name])
        assert frame.height == rows
        assert frame.null_count().sum_horizontal().item() == 0


def test_a_stream_is_told_from_another_by_its_header(recorded: Recorded) -> None:
    path = recorded("vision/um/funding_rate/BTCUSDT-fundingRate-2026-04.zip")
    other = replace(UM_STREAMS["book_depth"], name="funding_rate")
    with pytest.raises(ArchiveCorrupt, match="columns calc_time, funding_interval_hours, last_funding_rate instead of"):
        archive_rows(path, other)
