"""aggTrades against their witness: which minutes of a source hold every trade, by its ids and by the klines.

Belongs here: the verdict on each minute of one source. Does not belong here: which source is taken (`inputs`), the
check of the rows that were built (`parity.trades_vs_klines`).

A source that exists is not a source that is whole. A minute is whole where the number of single trades, their quantity
and their notional are those of its kline. Binance merges fills within 100 ms into one aggTrade, which may straddle the
edge of a minute: a minute may differ by the trades at its edges, an hour only by those at its own two edges. Where ids
are missing nothing may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import polars as pl

Standing = Literal["whole", "unproven", "disputed", "contradicted", "absent"]
"""Of a span of a source: a witness says that it is whole; nothing speaks for or against it; trades and quantities are
whole, and notionals nearly, as after a correction of one row, or all fit by what may straddle the edge to a minute that
does not; another source says what cannot be true beside it; the
source has nothing of it."""

_TIMESTAMP = pl.Datetime("us", "UTC")
UNITS = 1_000_000
"""Quantities and notionals are counted in millionths, as whole numbers: their sums do not depend on the order."""

MEASURES = ("trades", "quantity", "notional")
TALLIES: dict[str, pl.DataType] = {
    "timestamp": _TIMESTAMP,
    "rows": pl.Int64(),
    "void": pl.Int64(),
    **{name: pl.Int64() for name in MEASURES},
    "first_trade": pl.Int64(),
    "last_trade": pl.Int64(),
    **{f"{side}_{name}": pl.Int64() for name in MEASURES for side in ("head", "tail")},
}
"""A minute of aggTrades: rows, and those with next to no quantity; single trades sum(last - first + 1), sum(q),
sum(p q); the lowest and highest id of a single trade; the same sums of the rows within 100 ms of the minute's start
(`head`) and of its end (`tail`)."""

JUDGED: dict[str, pl.DataType] = {
    "timestamp": _TIMESTAMP,
    "standing": pl.String(),
    **{name: pl.Int64() for name in MEASURES},
    **{f"kline_{name}": pl.Int64() for name in MEASURES},
}
"""The verdict on a minute, with both values of each measure."""

_DIGITS = 1e-9
"""Relative: sums of decimals read as doubles differ in the last digits, nothing more."""
_NEARLY = 0.01
_UNKNOWN_EDGE = 0.5
"""Share of a minute that its first or last trades may be of an aggregate in a neighbour that is not known."""


def judge_trades(
    tallies: pl.DataFrame,
    klines: pl.DataFrame,
    gaps: Sequence[tuple[datetime, datetime]],
    hours: Sequence[datetime],
) -> pl.DataFrame:
    """The standing of each minute that has a kline.

    Args:
        tallies: columns `TALLIES` of one source, with the minutes around the hours where they are known.
        klines: wire frame of `klines_1m`; a minute that it has twice is not judged by it.
        gaps: times of the trades around each loss of ids.
        hours: hours to judge, UTC; what straddles the edge to an hour of which `tallies` has nothing is unknown.

    Returns:
        Columns `JUDGED`, sorted by `timestamp`.
    """
    wanted = klines.filter(pl.col("open_time").dt.truncate("1h").is_in(list(hours))).select(
        pl.col("open_time").cast(_TIMESTAMP).alias("timestamp"),
        kline_trades="count",
        kline_quantity=(pl.col("volume") * UNITS).round().cast(pl.Int64),
        kline_notional=(pl.col("quote_volume") * UNITS).round().cast(pl.Int64),
    )
    bars = wanted.unique("timestamp", keep="none").sort("timestamp")
    if bars.is_empty():
        return pl.DataFrame(schema=JUDGED)
    off = {name: pl.col(name) - pl.col(f"kline_{name}") for name in MEASURES}
    exact = {name: off[name].abs() <= _rounding(name) for name in MEASURES}
    lost = _in_gaps(gaps)
    rows = _with_edges(bars, tallies).with_columns(
        _hour=pl.col("timestamp").dt.truncate("1h"),
        **{f"off_{name}": off[name] for name in MEASURES},
        **{f"_exact_{name}": exact[name] for name in MEASURES},
        **{f"_fits_{name}": exact[name] | (_fits(off[name], name) & ~lost) for name in MEASURES},
    )
    rows = _with_runs(rows, "counted", ("trades", "quantity"))
    rows = _with_runs(rows, "whole", MEASURES)
    nearly = pl.col("off_notional").abs() <= _NEARLY * pl.col("kline_notional")
    at_edge = _beside_broken()
    standing = (
        pl.when(pl.col("whole") & ~at_edge & (pl.col("void") == 0))
        .then(pl.lit("whole"))
        .when((pl.col("rows") == 0) & (pl.col("kline_trades") > 0))
        .then(pl.lit("absent"))
        .when(((pl.col("counted") & nearly) | pl.col("whole")) & (pl.col("void") == 0))
        .then(pl.lit("disputed"))
        .otherwise(pl.lit("contradicted"))
    )
    return rows.with_columns(standing=standing).select(list(JUDGED)).cast(JUDGED)  # type: ignore[arg-type]


def _beside_broken() -> pl.Expr:
    """Whether a minute fits by its edges alone and a minute beside it does not: that may be what is broken there."""
    fits = pl.all_horizontal(f"_fits_{measure}" for measure in MEASURES)
    exact = pl.all_horizontal(f"_exact_{measure}" for measure in MEASURES)
    hour = pl.col("_hour")
    broken = pl.any_horizontal((~fits.shift(n)) & (hour.shift(n) == hour) for n in (1, -1))
    return ~exact & broken.fill_null(value=False)


def _with_runs(rows: pl.DataFrame, name: str, measures: Sequence[str]) -> pl.DataFrame:
    """With a flag: the minute fits, and so does the run of neighbours that it lies in, within its hour, as a whole.

    What a minute has too much of at an edge its neighbour has too little of; over a run only its two ends may differ.
    """
    fits = pl.all_horizontal(f"_fits_{measure}" for measure in measures)
    exact = pl.all_horizontal(f"_exact_{measure}" for measure in measures)
    time, hour = pl.col("timestamp"), pl.col("_hour")
    begins = (
        (fits != fits.shift(1)) | (hour != hour.shift(1)) | (time - time.shift(1) != pl.duration(minutes=1))
    ).fill_null(value=True)
    runs = rows.with_columns(_run=begins.cast(pl.Int64).cum_sum(), _fit=fits, _same=exact)
    sums = runs.group_by("_run").agg(
        pl.col(*(f"off_{m}" for m in measures), *(f"kline_{m}" for m in measures), "rows", "left_out").sum(),
        pl.col(*(f"start_{m}" for m in measures)).first(),
        pl.col(*(f"end_{m}" for m in measures)).last(),
    )
    sound = sums.select("_run", _sound=pl.all_horizontal(_fits(pl.col(f"off_{m}"), m) for m in measures))
    joined = runs.join(sound, on="_run", how="left", maintain_order="left")
    return joined.with_columns((pl.col("_same") | (pl.col("_fit") & pl.col("_sound"))).alias(name)).drop(
        "_run", "_fit", "_same", "_sound"
    )


def _with_edges(bars: pl.DataFrame, tallies: pl.DataFrame) -> pl.DataFrame:
    """The minutes with the numbers of both sides, and how far they may be apart at the start and at the end."""
    one = pl.duration(minutes=1)
    zero = [name for name in TALLIES if name not in ("timestamp", "first_trade", "last_trade")]
    own = tallies.with_columns(left_out=pl.col("last_trade") - pl.col("first_trade") + 1 - pl.col("trades")).drop(
        "first_trade", "last_trade"
    )
    neighbours = {
        side: own.select(
            pl.col("timestamp") + shift, *(pl.col(f"{edge}_{name}").alias(f"{side}_{name}") for name in MEASURES)
        )
        for side, edge, shift in (("before", "tail", one), ("after", "head", pl.duration(minutes=-1)))
    }
    joined = bars.join(own, on="timestamp", how="left", maintain_order="left")
    for frame in neighbours.values():
        joined = joined.join(frame, on="timestamp", how="left", maintain_order="left")
    time = pl.col("timestamp")
    known = tallies.select(pl.col("timestamp").dt.truncate("1h").unique()).to_series().implode()
    unknown = {
        "before": ~(time - one).dt.truncate("1h").is_in(known),
        "after": ~(time + one).dt.truncate("1h").is_in(known),
    }
    return joined.with_columns(pl.col(*zero, "left_out").fill_null(0).clip(lower_bound=0)).with_columns(
        **{
            f"{edge}_{name}": pl.col(f"{own_edge}_{name}")
            + pl.when(unknown[side])
            .then((pl.col(f"kline_{name}") * _UNKNOWN_EDGE).cast(pl.Int64))
            .otherwise(pl.col(f"{side}_{name}").fill_null(0))
            for name in MEASURES
            for edge, own_edge, side in (("start", "head", "before"), ("end", "tail", "after"))
        }
    )


def _fits(off: pl.Expr, name: str) -> pl.Expr:
    """Whether a difference is explained by what straddles the edges, or by trades that Binance leaves out.

    Fills of the insurance fund and of auto-deleveraging are in klines and in no aggTrade: their ids are skipped.
    """
    allowed = pl.col(f"start_{name}") + pl.col(f"end_{name}") + _rounding(name)
    left_out = pl.col("left_out")
    skipped = (left_out > 0) & (off < 0) & ((off >= -left_out - allowed) if name == "trades" else pl.lit(value=True))
    return (off.abs() <= allowed) | skipped


def _rounding(name: str) -> pl.Expr:
    """How far sums may differ by rounding: each row of them by one unit at most."""
    if name == "trades":
        return pl.lit(0)
    digits = (pl.col(f"kline_{name}") * _DIGITS).cast(pl.Int64)
    return digits + (1 if name == "quantity" else pl.col("rows") + 1)


def _in_gaps(gaps: Sequence[tuple[datetime, datetime]]) -> pl.Expr:
    if not gaps:
        return pl.lit(value=False)
    time = pl.col("timestamp")
    return pl.any_horizontal(time.is_between(start.replace(second=0, microsecond=0), end) for start, end in gaps)
