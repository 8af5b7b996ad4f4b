"""Which streams of an hour had a source.

Belongs here: the check `source_coverage`.
Does not belong here: choosing a source, or what becomes NULL without one (`transforms.assemble`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from lake_assets.schema.known_damage import Damage
from lake_assets.schema.known_holes import Hole
from lake_assets.validation.outcome import CheckOutcome, outcome
from lake_resources.binance.um_streams import UM_STREAMS

MINUTE_STREAMS = (
    "klines_1m",
    "mark_price_klines_1m",
    "index_price_klines_1m",
    "premium_index_klines_1m",
    "agg_trades",
    "metrics",
    "book_ticker",
    "funding_rate",
)
"""The streams the minute table is made of."""

CARRIED = ("oi_contracts", "oi_value_usdt", "top_trader_ls_ratio_acct", "global_ls_ratio_acct", "funding_rate")
"""Slow columns: NULL in them means that the series stopped for longer than it may be carried."""


def can_have_source(stream: str, hour: datetime) -> bool:
    """Whether the exchange keeps a history of that stream for that hour."""
    files = UM_STREAMS[stream].files
    return files.covers(hour.date())


def source_coverage(
    hour: datetime,
    kinds: Mapping[str, str],
    rows: pl.DataFrame | None = None,
    *,
    holes: Sequence[Hole] = (),
    damage: Sequence[Damage] = (),
) -> CheckOutcome:
    """Warn where a stream that can have a source has none, a slow series ran out, or an archive lacks aggTrades.

    A stream without a source is excused by known holes of it that cover the whole hour, minutes without aggTrades by
    known holes that name them. Known damage of the day excuses nothing, it is named.

    Args:
        hour: start of the hour, UTC.
        kinds: kind of source per stream (`archive`, `archive+rest`, `rest`, `ws`, `none`); not listed is `none`.
        rows: the hour's rows, if the slow columns and those of aggTrades are to be looked at.
        holes: known holes of the symbol.
        damage: known damage of the symbol on that day.

    Returns:
        An outcome with the number of streams without a source, the minutes in which a slow column is NULL, and those
        whose aggTrades the archive has in part only.
    """
    expected = [stream for stream in MINUTE_STREAMS if can_have_source(stream, hour)]
    without = [stream for stream in expected if kinds.get(stream, "none") == "none"]
    excused = [stream for stream in without if _covers(holes, stream, hour)]
    absent = [stream for stream in without if stream not in excused]
    nulls = {} if rows is None else {name: rows[name].null_count() for name in CARRIED}
    ran_out = {name: count for name, count in nulls.items() if count}
    lost = 0
    if rows is not None and kinds.get("agg_trades") == "archive":
        named = [hole for hole in holes if hole.stream == "agg_trades"]
        minutes = rows.filter(pl.col("count_buy_trades").is_null())["timestamp"].to_list()
        lost = sum(not any(hole.start <= minute < hole.end for hole in named) for minute in minutes)
    concerned = {*without, *(("metrics", "funding_rate") if ran_out else ()), *(("agg_trades",) if lost else ())}
    metadata = {
        "streams": len(expected),
        "absent": len(absent),
        "stale_minutes": max(ran_out.values(), default=0),
        "lost_trade_minutes": lost,
        "absent_streams": ", ".join(absent) or None,
        "stale_columns": ", ".join(f"{name}: {count}" for name, count in ran_out.items()) or None,
        "excused_streams": ", ".join(excused) or None,
        "known_damage": "; ".join(each.text for each in damage if each.stream in concerned) or None,
    }
    return outcome("source_coverage", passed=not absent and not ran_out and not lost, metadata=metadata)


def _covers(holes: Sequence[Hole], stream: str, hour: datetime) -> bool:
    """Whether known holes of a stream leave no minute of an hour."""
    reached = hour
    for hole in sorted((hole for hole in holes if hole.stream == stream), key=lambda hole: hole.start):
        if hole.start <= reached:
            reached = max(reached, hole.end)
    return reached >= hour + timedelta(hours=1)
