"""Minutes that were made while a file was typed are those that reading the file gives, bit for bit."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from lake_assets.inputs.trade_tallies import TypedMinutes, keep_minutes, minutes_kept, tally, tally_metadata
from lake_assets.transforms.trades import trade_minutes
from lake_resources.binance.um_streams import AGG_TRADES

START_MS = int(datetime(2026, 11, 18, tzinfo=UTC).timestamp() * 1000)


def trades(count: int, *, seed: int, step_back_ms: int = 0) -> pl.DataFrame:
    """Wire rows over about ten minutes; each hundredth comes `step_back_ms` before the one before it."""
    draw = random.Random(seed)
    now, last, rows = START_MS, 1000, []
    for number in range(count):
        now += draw.randrange(0, 1_200_000 // count)
        at = now - step_back_ms if number % 100 == 99 else now
        fills = draw.randrange(1, 4)
        price, quantity = 60_000 + draw.randrange(-5000, 5000) / 10, draw.randrange(1, 9000) / 1000
        rows.append((7 + number, price, quantity, last + 1, last + fills, at * 1000, draw.random() < 0.5))
        last += fills
    return pl.DataFrame(rows, schema=dict(AGG_TRADES.columns), orient="row")


@pytest.mark.parametrize("chunk_rows", [7, 37, 500, 5000])
def test_minutes_and_tallies_do_not_depend_on_how_the_file_came(chunk_rows: int) -> None:
    rows = trades(800, seed=chunk_rows, step_back_ms=300)
    seen = TypedMinutes()
    for frame in rows.iter_slices(chunk_rows):
        seen.see(frame)
    minutes, metadata = seen.finished()
    assert minutes is not None
    assert minutes.height > 5
    assert minutes.equals(trade_minutes(rows))
    assert metadata == tally_metadata([tally(rows)])


def test_of_a_file_whose_times_are_out_of_order_only_the_tallies_are_made() -> None:
    rows = trades(2000, seed=5)
    late = pl.concat([rows[600:], rows[:600]]).with_columns(agg_trade_id=pl.int_range(7, 2007, dtype=pl.Int64))
    seen = TypedMinutes()
    for frame in late.iter_slices(100):
        seen.see(frame)
    minutes, metadata = seen.finished()
    assert minutes is None
    assert metadata == tally_metadata(tally(frame) for frame in late.iter_slices(250))


def test_quantities_below_a_unit_count_as_none() -> None:
    rows = trades(60, seed=2).with_columns(quantity=pl.when(pl.int_range(60) % 2 == 0).then(9.3e-10).otherwise(0.5))
    assert tally(rows)["void"].sum() == 30


def test_an_empty_file_has_no_minutes() -> None:
    minutes, _ = TypedMinutes().finished()
    assert minutes is not None
    assert minutes.is_empty()
    assert minutes.schema == trade_minutes(trades(1, seed=1)).schema


def test_minutes_of_a_file_that_changed_or_went_are_not_known(tmp_path: Path) -> None:
    path, minutes = tmp_path / "a.parquet", trade_minutes(trades(50, seed=3))
    assert minutes_kept(path) is None
    path.write_bytes(b"one")
    keep_minutes(path, minutes)
    assert minutes_kept(path) is minutes
    path.write_bytes(b"another")
    assert minutes_kept(path) is None
    path.unlink()
    assert minutes_kept(path) is None


def test_minutes_of_the_last_files_are_kept(tmp_path: Path) -> None:
    minutes = trade_minutes(trades(50, seed=3))
    paths = [tmp_path / f"{number}.parquet" for number in range(12)]
    for path in paths:
        path.write_bytes(b"some")
        keep_minutes(path, minutes)
    assert [minutes_kept(path) is not None for path in paths] == [False] * 4 + [True] * 8
