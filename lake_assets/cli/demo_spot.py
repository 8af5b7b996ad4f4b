"""The demo's part of the spot market: a published day of seconds, today from REST and the socket, klines, parity.

Belongs here: the ranges of its backfills, its tables and verdict. Does not belong here: launching and waiting (`demo`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl
from rich.console import Console

from lake_assets.at_rest import LakeAtRest
from lake_assets.cli.lake_tables import archives_table, check_totals, hours_table
from lake_assets.dagster_names import AUTOMATION_TAG, partition_key, table_names, vision_names
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.reading import load, scan
from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.validation.outcome import FOLD_PARITY, outcomes_from_json
from lake_resources.binance.market import SPOT
from lake_resources.binance.spot_streams import KLINES_1M, KLINES_1S, TRADES
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Partition

Range = tuple[Sequence[str], str, str]
_SAME = {
    ours.name: theirs.name
    for ours in SPOT_BARS_1S.columns
    for theirs in SPOT_KLINES["1m"].columns
    if ours.wire and ours.wire == theirs.wire and ours.name != SPOT_BARS_1S.layout.time_column
}
"""Columns of seconds, and those of klines that say the same."""


def spot_archives(settings: LakeSettings, day: datetime) -> list[Range]:
    """Archives of the first spot symbol of a day; the fold of its trades is what its seconds are held against."""
    key = f"{day:%Y-%m-%d}"
    return [
        (vision_names(symbol, stream.name, SPOT.name), key, key)
        for symbol in settings.spot_symbols[:1]
        for stream in (KLINES_1S, KLINES_1M, TRADES)
    ]


def launch_spot(
    settings: LakeSettings, api: DagsterApi, day: datetime, today: datetime, now: datetime
) -> dict[str, str]:
    """Launch seconds and klines of the first spot symbol: of two days, and the open hour as the hot band does.

    Args:
        settings: the first spot symbol is taken; without one nothing is launched.
        api: of the running Dagster.
        day: start of the published day, whose archives are in the lake.
        today: start of today so far.
        now: of whose hour the collector hears the seconds.

    Returns:
        The backfills by what they are.
    """
    if not settings.spot_symbols:
        return {}
    symbol, hour = settings.spot_symbols[0], now.replace(minute=0, second=0, microsecond=0)
    closed = [_hours(symbol, day, day + 23 * HOUR)]
    if today < hour:
        closed.append(_hours(symbol, today, hour - HOUR))
    days = [_days(symbol, day, day), _days(symbol, today, today)]
    return {
        "spot": api.launch_backfill([*closed, *days], title=f"demo: seconds and klines of spot {symbol}"),
        "spot, open hour": api.launch_backfill(
            [_hours(symbol, hour, hour)], title=f"demo: the open hour of spot {symbol}", tags={AUTOMATION_TAG: "hot"}
        ),
    }


def print_spot(settings: LakeSettings, lake: LakeAtRest, day: datetime, today: datetime, console: Console) -> None:
    """Print what was written of the first spot symbol, how it compares, and where it is.

    Raises:
        LakeError: an hour or a day is missing, a check failed, or one second differs from what the exchange publishes.
    """
    if not settings.spot_symbols:
        return
    symbol, now = settings.spot_symbols[0], lake.clock()
    seconds, klines = lake.of(SPOT_BARS_1S), lake.of(SPOT_KLINES["1m"])
    console.print(archives_table(seconds.store, symbol, day, day + DAY))
    console.print(hours_table(seconds.store, symbol, day, day + DAY))
    console.print(hours_table(seconds.store, symbol, today, now + HOUR))
    console.print(hours_table(klines.store, symbol, day, now + HOUR))
    rows = [row for part in ((day, day + DAY), (today, now)) for row in seconds.ledger.partitions(symbol, *part)]
    failed = [
        f"{table.layout.directory} {name}"
        for table, held in ((SPOT_BARS_1S, rows), (SPOT_KLINES["1m"], klines.ledger.partitions(symbol, day, now)))
        for name, count in check_totals(table, held).items()
        if count["failed"]
    ]
    compared, differing = _folded(rows)
    minutes, other = _minutes(settings, symbol, day)
    seen = scan(SPOT_BARS_1S, symbol, today, now, settings=settings)
    heard = seen.select("has_quotes", "has_trades").collect()
    console.print(
        f"the fold of single trades against the exchange's seconds: {compared:,} compared, {differing} differ"
    )
    console.print(f"minutes made of seconds against the exchange's klines: {minutes:,} compared, {other} differ")
    console.print(
        f"today so far: {heard.height:,} seconds, {heard['has_trades'].sum():,} with trades, "
        f"{heard['has_quotes'].sum():,} with the best bid and ask that the collector heard"
    )
    console.print(f"files: {seconds.catalog.partition_path(symbol, day)}", soft_wrap=True)
    missing = seconds.ledger.missing_partitions(symbol, day, day + DAY)
    if missing or failed or not compared or not minutes or differing or other:
        raise LakeError(
            f"spot {symbol}: missing hours {missing}, failed checks {failed}, of {compared} seconds {differing} and of "
            f"{minutes} minutes {other} differ",
            remedy="Open the runs in the UI",
        )


def _hours(symbol: str, first: datetime, last: datetime) -> Range:
    return _range(SPOT_BARS_1S, symbol, first, last)


def _days(symbol: str, first: datetime, last: datetime) -> Range:
    return _range(SPOT_KLINES["1m"], symbol, first, last)


def _range(table: Table, symbol: str, first: datetime, last: datetime) -> Range:
    layout = table.layout
    return table_names(layout, symbol), partition_key(layout, first), partition_key(layout, last)


def _folded(rows: Sequence[Partition]) -> tuple[int, int]:
    """Seconds of hours that were also made of single trades, and how many of them are other than the exchange's."""
    found = [
        outcome.metadata
        for row in rows
        for outcome in outcomes_from_json(row.checks, SPOT_BARS_1S.checks)
        if outcome.name == FOLD_PARITY.name
    ]
    compared, differing = (sum(int(each[name] or 0) for each in found) for name in ("compared", "differing"))
    return compared, differing


def _minutes(settings: LakeSettings, symbol: str, day: datetime) -> tuple[int, int]:
    """Minutes of a day rolled up from seconds, and how many of them are other than the exchange's."""
    bars = load(symbol, day, day + DAY, table=SPOT_BARS_1S, timeframe="1m", settings=settings).frame
    official = load(symbol, day, day + DAY, table=SPOT_KLINES["1m"], settings=settings).frame
    told = official.select("open_time", **{f"official_{ours}": theirs for ours, theirs in _SAME.items()})
    both = bars.join(told, left_on="window_start", right_on="open_time").collect()
    differs = pl.any_horizontal(pl.col(ours) != pl.col(f"official_{ours}") for ours in _SAME)
    return both.height, both.filter(differs).height
