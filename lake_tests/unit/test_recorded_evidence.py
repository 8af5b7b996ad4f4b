"""Real recorded files against their witnesses: what is sound raises no alarm. Skipped where the files are absent."""

from __future__ import annotations

import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.inputs.row_evidence import lacking_hours
from lake_assets.inputs.trade_tallies import tally
from lake_assets.schema.stream_use import StreamUse
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.trade_evidence import judge_trades
from lake_assets.windows import hours_between
from lake_resources.clock import HOUR
from lake_resources.storage.catalog import floor_hour
from lake_tests.support.archive_rows import archive_rows

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data"
BARS = sorted((RECORDED / "vision" / "um").glob("klines*/*.csv"))
FUNDING = sorted((RECORDED / "vision" / "um" / "funding_rate").glob("*.zip"))
AGGREGATES = sorted((RECORDED / "vision").glob("*m/agg_trades/*.*[pv]"))

pytestmark = pytest.mark.skipif(not BARS, reason="no recorded files here: ../shared/data")


def rows_of(path: Path, use: StreamUse, folder: Path) -> pl.DataFrame:
    """Wire frame of a recorded file, which is packed first where it is a bare CSV."""
    packed = path
    if path.suffix == ".csv":
        packed = folder / f"{path.stem}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(path, path.name)
    return archive_rows(packed, use.stream)


def hours_of(rows: pl.DataFrame, column: str) -> list[datetime]:
    """All hours from the first row of a file to its last."""
    first, last = rows[column].min(), rows[column].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return hours_between(floor_hour(first), floor_hour(last) + HOUR)


@pytest.mark.parametrize("path", BARS, ids=lambda path: path.stem)
def test_recorded_bars_lack_no_minute(path: Path, tmp_path: Path) -> None:
    use = UM_MINUTE.uses["klines_1m"]
    rows = rows_of(path, use, tmp_path)
    hours = hours_of(rows, "open_time")
    assert len(hours) >= 24
    assert rows.height == 60 * len(hours)
    assert lacking_hours(use, rows, hours, hours[-1] + timedelta(days=30)) == {}
    assert len(lacking_hours(use, rows.slice(30), hours, hours[-1] + timedelta(days=30))) == 1


@pytest.mark.parametrize("path", FUNDING, ids=lambda path: path.stem)
def test_recorded_settlements_keep_their_schedule(path: Path, tmp_path: Path) -> None:
    use = UM_MINUTE.uses["funding_rate"]
    rows = rows_of(path, use, tmp_path)
    hours = hours_of(rows, "calc_time")
    assert rows.height > 80
    assert lacking_hours(use, rows, hours, hours[-1] + timedelta(days=30)) == {}
    without = pl.concat([rows[:40], rows[41:]])
    assert len(lacking_hours(use, without, hours, hours[-1] + timedelta(days=30))) == 8


@pytest.mark.parametrize("path", AGGREGATES, ids=lambda path: path.stem)
def test_recorded_trades_are_what_bars_of_them_say(path: Path, tmp_path: Path) -> None:
    rows = rows_of(path, UM_MINUTE.uses["agg_trades"], tmp_path)
    minute = pl.col("transact_time").dt.truncate("1m").alias("open_time")
    single = pl.col("last_trade_id") - pl.col("first_trade_id") + 1
    bars = rows.group_by(minute).agg(
        count=single.sum(),
        volume=pl.col("quantity").sum(),
        quote_volume=(pl.col("price") * pl.col("quantity")).sum(),
    )
    hours = hours_of(rows, "transact_time")
    judged = judge_trades(tally(rows), bars, (), hours)
    assert judged.height == bars.height > 10
    assert set(judged["standing"]) == {"whole"}
    halved = bars.with_columns(pl.col("volume") / 2)
    doubted = judge_trades(tally(rows), halved, (), hours).filter(pl.col("standing") != "whole")
    assert doubted.height > 0.95 * judged.height, "all but minutes whose few trades lie at their edges"
