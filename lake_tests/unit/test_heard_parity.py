"""What the collector said of trades against the archive of the same minutes."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from lake_assets.build.reconcile import heard_parity
from lake_assets.live.row_files import NOTHING, LiveHours
from lake_assets.transforms.live.live_rows import LIVE_INPUT
from lake_assets.transforms.trades import trade_features
from lake_resources.clock import MINUTE

HOUR = datetime(2026, 2, 15, 12, tzinfo=UTC)


def features(*quantities: float) -> pl.DataFrame:
    """A trade per minute from the start of the hour; no trade where the quantity is 0."""
    rows = [(number, HOUR + number * MINUTE, quantity) for number, quantity in enumerate(quantities) if quantity]
    return trade_features(
        pl.DataFrame(
            {
                "agg_trade_id": [number for number, _, _ in rows],
                "price": [100.0] * len(rows),
                "quantity": [float(quantity) for _, _, quantity in rows],
                "first_trade_id": [number for number, _, _ in rows],
                "last_trade_id": [number for number, _, _ in rows],
                "transact_time": [at for _, at, _ in rows],
                "is_buyer_maker": [True] * len(rows),
            }
        )
    )


def live(trades: pl.DataFrame, *proven: bool) -> LiveHours:
    held = pl.DataFrame(
        [{"timestamp": HOUR + number * MINUTE, "has_agg_trades": each} for number, each in enumerate(proven)],
        schema=LIVE_INPUT,
    )
    covered = held.filter("has_agg_trades").select("timestamp")
    return LiveHours(held, trades.join(covered, on="timestamp", how="semi"), {}, {})


def test_equal_trades_differ_in_nothing() -> None:
    found = heard_parity(live(features(1, 2, 3), True, True, True), features(1, 2, 3), [HOUR])
    assert (found[HOUR].compared, found[HOUR].differing, found[HOUR].only_archive) == (3, 0, 0)


def test_a_changed_quantity_is_named_by_minute_and_column() -> None:
    found = heard_parity(live(features(1, 2, 3), True, True, True), features(1, 2.5, 3), [HOUR])[HOUR]
    assert found.differing == 1
    assert {"max_trade_size_btc", "agg_quantity"} <= set(found.columns)
    cell = found.differences.filter(pl.col("column") == "agg_quantity").row(0, named=True)
    assert (cell["timestamp"], cell["old"], cell["new"]) == (HOUR + MINUTE, 2.0, 2.5)


def test_a_minute_that_only_one_side_has_trades_in() -> None:
    only_archive = heard_parity(live(features(1, 0, 3), True, True, True), features(1, 2, 3), [HOUR])[HOUR]
    only_heard = heard_parity(live(features(1, 2, 3), True, True, True), features(1, 0, 3), [HOUR])[HOUR]
    assert (only_archive.only_archive, only_archive.only_captured) == (1, 0)
    assert (only_heard.only_archive, only_heard.only_captured) == (0, 1)


def test_minutes_that_are_not_proven_are_not_compared() -> None:
    found = heard_parity(live(features(1, 9, 3), True, False, True), features(1, 2, 3), [HOUR])
    assert (found[HOUR].compared, found[HOUR].differing, found[HOUR].only_archive) == (2, 0, 0)
    assert heard_parity(live(features(1), False), features(1), [HOUR]) == {}
    assert heard_parity(NOTHING, features(1), [HOUR]) == {}
