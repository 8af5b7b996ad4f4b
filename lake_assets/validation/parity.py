"""Two sources of the same thing against each other.

Belongs here: what REST gave against what the archive says (`archive_parity`), aggTrades against klines
(`trades_vs_klines`). Does not belong here: which of them wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lake_assets.validation.outcome import TRADES_VS_KLINES, CheckOutcome, outcome
from lake_resources.binance.stream import Stream
from lake_resources.clock import HOUR
from lake_resources.spans import within

_TIMESTAMP = pl.Datetime("us", "UTC")

DIFFERENCES_SCHEMA: dict[str, pl.DataType] = {
    "timestamp": _TIMESTAMP,
    "column": pl.String(),
    "old": pl.Float64(),
    "new": pl.Float64(),
}
"""A differing cell: time of the row, column (with `#id` for streams that are identified by an id), the captured and the
archived value. A row that only one side has is the column `row`, with 1 on that side and NULL on the other."""

VOLUME_TOLERANCE = 1e-6
"""Relative: sums of decimals read as doubles differ in the last digits, nothing more."""


@dataclass(frozen=True)
class StreamParity:
    """A stream of one window in two sources.

    Attributes:
        stream: name of the stream.
        compared: rows that both sides have.
        only_archive: rows that only the archive has.
        only_captured: rows that only the capture has.
        differing: compared rows that are not equal.
        columns: how many rows differ in each column.
        first: the first offender in words, or None.
        differences: every differing cell, see `DIFFERENCES_SCHEMA`.
    """

    stream: str
    compared: int
    only_archive: int
    only_captured: int
    differing: int
    columns: dict[str, int]
    first: str | None
    differences: pl.DataFrame


def compare_stream(
    stream: Stream, archive: pl.DataFrame, captured: pl.DataFrame, start: datetime, end: datetime
) -> StreamParity:
    """Compare two wire frames of a stream exactly, as doubles, on the stream's key.

    Where REST publishes fewer decimals than the archive (the ratios of `metrics`: 4), the archive's value has to round
    to it. A value that the capture does not tell (one of several endpoints had no row) is no other value, and text
    columns are not compared.

    Args:
        stream: the stream; each key occurs once in each frame.
        archive: wire frame from the archive.
        captured: wire frame from REST.
        start: first instant of the window, UTC: no earlier than the capture began.
        end: first instant after it: no later than the capture ended.

    Returns:
        Counts, and the differing cells.
    """
    inside = within(pl.col(stream.time_column).cast(_TIMESTAMP), start, end)
    unknown = captured.null_count().row(0, named=True)
    columns = [
        name
        for name, dtype in stream.columns.items()
        if name not in stream.key
        and (name == stream.time_column or (dtype != pl.String and unknown[name] < captured.height))
    ]
    kept = [*stream.key, *columns]
    sides = [frame.lazy().filter(inside).select(kept).collect() for frame in (archive, captured)]
    if sides[0].equals(sides[1]):
        return StreamParity(stream.name, sides[0].height, 0, 0, 0, {}, None, pl.DataFrame(schema=DIFFERENCES_SCHEMA))
    return _unequal(stream, columns, *sides)


def _differs(stream: Stream, name: str) -> pl.Expr:
    archived, captured = pl.col(name), pl.col(f"{name} captured")
    unlike = captured.is_not_null() & archived.ne_missing(captured)
    if name not in stream.rest_decimals:
        return unlike
    half_unit = 0.5 * 10.0 ** -stream.rest_decimals[name]
    close = (archived - captured).abs() <= half_unit * (1 + 1e-6)
    return unlike & ~close.fill_null(value=False)


def _unequal(stream: Stream, columns: list[str], archive: pl.DataFrame, captured: pl.DataFrame) -> StreamParity:
    present = pl.lit(1.0)
    both = archive.with_columns(row=present).join(
        captured.with_columns(row=present), on=stream.key, how="full", suffix=" captured", coalesce=True
    )
    new, old = pl.col("row"), pl.col("row captured")
    paired = new.is_not_null() & old.is_not_null()
    unequal = {name: paired & _differs(stream, name) for name in columns}
    counts = both.select(
        _compared=paired.sum(),
        _only_archive=old.is_null().sum(),
        _only_captured=new.is_null().sum(),
        _differing=pl.any_horizontal(unequal.values()).sum() if unequal else pl.lit(0),
        **{name: expr.sum() for name, expr in unequal.items()},
    ).row(0, named=True)
    time = stream.time_column
    when = pl.col(time) if time in stream.key else pl.coalesce(time, f"{time} captured")
    label = pl.lit("") if stream.key == (time,) else "#" + pl.concat_str(stream.key, separator="/")
    cells = [
        both.filter(differs).select(
            when.cast(_TIMESTAMP).alias("timestamp"),
            (pl.lit(name) + label).alias("column"),
            pl.col(f"{name} captured").to_physical().cast(pl.Float64).alias("old"),
            pl.col(name).to_physical().cast(pl.Float64).alias("new"),
        )
        for name, differs in ({"row": ~paired} | unequal).items()
    ]
    differences = pl.concat(cells).cast(DIFFERENCES_SCHEMA).sort("timestamp", "column")  # type: ignore[arg-type]
    return StreamParity(
        stream.name,
        int(counts["_compared"]),
        int(counts["_only_archive"]),
        int(counts["_only_captured"]),
        int(counts["_differing"]),
        {name: int(counts[name]) for name in columns if counts[name]},
        _offender(stream.name, differences),
        differences,
    )


def _offender(stream: str, differences: pl.DataFrame) -> str | None:
    if differences.is_empty():
        return None
    cell = differences.row(0, named=True)
    if cell["column"].startswith("row"):
        side = "the archive" if cell["old"] is None else "the capture"
        return f"{stream} {cell['timestamp']:%Y-%m-%d %H:%M:%S}: {cell['column']} only in {side}"
    return (
        f"{stream} {cell['timestamp']:%Y-%m-%d %H:%M:%S} {cell['column']}: "
        f"captured {cell['old']!r}, archive {cell['new']!r}"
    )


def archive_parity(streams: Iterable[StreamParity]) -> CheckOutcome:
    """The check `archive_parity` of an hour, over the streams of which there is both an archive and a capture.

    With nothing to compare it passes, and says so: `compared` is 0.
    """
    found = list(streams)
    unequal = {f"{parity.stream}.{name}": count for parity in found for name, count in parity.columns.items()}
    metadata: dict[str, int | float | str | None] = {
        "compared": sum(parity.compared for parity in found),
        "only_archive": sum(parity.only_archive for parity in found),
        "only_captured": sum(parity.only_captured for parity in found),
        "differing": sum(parity.differing for parity in found),
        "streams": ", ".join(parity.stream for parity in found) or None,
        "columns": ", ".join(f"{name}: {count}" for name, count in unequal.items()) or None,
        "first": next((parity.first for parity in found if parity.first), None),
    }
    passed = not any(metadata[name] for name in ("only_archive", "only_captured", "differing"))
    return outcome("archive_parity", passed=passed, metadata=metadata)


def fold_parity(parity: StreamParity) -> CheckOutcome | None:
    """The check `fold_parity` of a partition: bars folded from trades against the exchange's klines of the same bars.

    A bar that only one side has is none of it: trades prove some bars and not others. Without a bar that both have
    nothing was compared, and there is no outcome.
    """
    if not parity.compared:
        return None
    metadata: dict[str, int | float | str | None] = {
        "compared": parity.compared,
        "differing": parity.differing,
        "only_klines": parity.only_archive,
        "columns": ", ".join(f"{name}: {count}" for name, count in parity.columns.items()) or None,
        "first": parity.first if parity.differing else None,
    }
    return outcome("fold_parity", passed=not parity.differing, metadata=metadata)


def trades_vs_klines(
    klines: pl.DataFrame, trades: pl.DataFrame, hours: Sequence[datetime], covered: Collection[datetime]
) -> dict[datetime, CheckOutcome]:
    """The check `trades_vs_klines`: does the quantity of aggTrades add up to the volume of klines?

    An aggTrade merges fills within 100 ms, so one that straddles a minute edge counts whole in one of the two minutes,
    while the klines split it (binance.md 3.7: 119 of 1,440 minutes). A minute may therefore be off by the quantity of
    the aggTrades within 100 ms of its two edges, on either side, plus 1e-6 of its volume; an hour only by those at its
    own two edges. A minute whose neighbour is not covered is not judged, because what straddles is unknown. The numbers
    of single trades are shown, not judged: Binance leaves insurance-fund and ADL fills out of aggTrades.

    Args:
        klines: wire frame of `klines_1m`, each minute once.
        trades: `trade_features`.
        hours: hours to judge, UTC.
        covered: hours for which aggTrades were there; neighbours of `hours` may be among them.

    Returns:
        An outcome per hour; where nothing could be compared it has passed with `compared` 0.
    """
    return trades_by_hour(minutes_beside(klines, trades, covered), hours)


def trades_by_hour(minutes: pl.DataFrame, hours: Sequence[datetime]) -> dict[datetime, CheckOutcome]:
    """The check `trades_vs_klines` of each hour.

    Args:
        minutes: from `minutes_beside`, of one symbol.
        hours: hours to judge, UTC.
    """
    rows = {row["hour"]: row for row in _hourly(minutes).to_dicts()}
    return {hour: _trades_outcome(rows.get(hour)) for hour in hours}


def with_unlike_bars(found: CheckOutcome, unlike: pl.DataFrame, hour: datetime) -> CheckOutcome:
    """The check `trades_vs_klines` of an hour with what else its klines say that the trades do not.

    Args:
        found: an outcome of the hour; others than `trades_vs_klines` are returned as they are.
        unlike: `timestamp`, `column`, `said`, `traded`: values of klines that are not those of their trades.
        hour: start of the hour, UTC.
    """
    if found.name != TRADES_VS_KLINES or unlike.is_empty():
        return found
    own = unlike.filter(within("timestamp", hour, hour + HOUR))
    if own.is_empty():
        return found
    first = own.row(0, named=True)
    counts = own.group_by("column", maintain_order=True).len().sort("column")
    told: dict[str, int | float | str | None] = {
        "bars_off": own["timestamp"].n_unique(),
        "bar_columns": ", ".join(f"{name}: {count}" for name, count in counts.iter_rows()),
        "first_bar": f"{first['timestamp']:%Y-%m-%d %H:%M} {first['column']} {first['said']:.12g}, trades"
        f" {first['traded']:.12g}",
    }
    return outcome(TRADES_VS_KLINES, passed=False, metadata=dict(found.metadata) | told)


def minutes_beside(klines: pl.DataFrame, trades: pl.DataFrame, covered: Collection[datetime]) -> pl.DataFrame:
    """One row per covered minute: both volumes, how far they may be apart, and whether that can be judged."""
    hours = pl.DataFrame({"hour": sorted(covered)}, schema={"hour": _TIMESTAMP})
    grid = hours.with_columns(
        timestamp=pl.datetime_ranges("hour", pl.col("hour") + pl.duration(hours=1), "1m", closed="left")
    ).explode("timestamp", empty_as_null=False)
    ticks = trades.select(
        pl.col("timestamp").cast(_TIMESTAMP),
        ticks="agg_quantity",
        single="raw_trade_count",
        head="head_quantity",
        tail="tail_quantity",
    )
    bars = klines.select(pl.col("open_time").cast(_TIMESTAMP).alias("timestamp"), "volume", "count")
    one = pl.duration(minutes=1)
    time = pl.col("timestamp")
    return (
        grid.join(ticks, on="timestamp", how="left", maintain_order="left")
        .with_columns(pl.col("ticks", "single", "head", "tail").fill_null(0))
        .join(bars, on="timestamp", how="left", maintain_order="left")
        .with_columns(
            start_allowance=pl.col("head") + pl.when(time - time.shift(1) == one).then(pl.col("tail").shift(1)),
            end_allowance=pl.col("tail") + pl.when(time.shift(-1) - time == one).then(pl.col("head").shift(-1)),
        )
        .with_columns(
            judged=pl.all_horizontal(
                pl.col("volume", "ticks", "start_allowance", "end_allowance").is_finite().fill_null(value=False)
            )
        )
    )


def _hourly(minutes: pl.DataFrame) -> pl.DataFrame:
    judged, hour = pl.col("judged"), pl.col("hour")
    difference = pl.col("ticks") - pl.col("volume")
    allowance = pl.col("start_allowance") + pl.col("end_allowance") + VOLUME_TOLERANCE * pl.col("volume")
    begins = ~(judged.shift(1, fill_value=False) & (hour.shift(1) == hour)).fill_null(value=False)
    ends = ~(judged.shift(-1, fill_value=False) & (hour.shift(-1) == hour)).fill_null(value=False)
    edges = pl.when(begins).then("start_allowance").otherwise(0.0) + pl.when(ends).then("end_allowance").otherwise(0.0)
    rows = minutes.with_columns(
        difference=difference, excess=(difference.abs() - allowance).clip(lower_bound=0.0), edges=edges
    ).filter(judged)
    off = pl.col("excess") > 0
    return rows.group_by("hour").agg(
        compared=pl.len(),
        minutes_off=off.sum(),
        worst_excess=pl.col("excess").max(),
        agg_quantity=pl.col("ticks").sum(),
        kline_volume=pl.col("volume").sum(),
        hour_difference=pl.col("difference").sum(),
        hour_allowance=pl.col("edges").sum() + VOLUME_TOLERANCE * pl.col("volume").sum(),
        single_trades=pl.col("single").sum(),
        kline_trades=pl.col("count").sum(),
        first=pl.col("timestamp").filter(off).min().dt.strftime("%Y-%m-%d %H:%M"),
    )


_NOTHING_COMPARED: dict[str, int | float | str | None] = {
    "compared": 0,
    "minutes_off": 0,
    "worst_excess": 0.0,
    "agg_quantity": 0.0,
    "kline_volume": 0.0,
    "hour_difference": 0.0,
    "hour_allowance": 0.0,
    "single_trades": 0,
    "kline_trades": 0,
    "first": None,
    "bars_off": 0,
    "bar_columns": None,
    "first_bar": None,
}


def _trades_outcome(row: dict[str, int | float | str | None] | None) -> CheckOutcome:
    metadata = (
        _NOTHING_COMPARED if row is None else {name: row.get(name, value) for name, value in _NOTHING_COMPARED.items()}
    )
    hour_off = abs(float(metadata["hour_difference"] or 0)) > float(metadata["hour_allowance"] or 0)
    return outcome("trades_vs_klines", passed=not metadata["minutes_off"] and not hour_off, metadata=metadata)
