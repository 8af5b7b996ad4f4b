"""Bars for the rulepack: of the lake, of its raw klines, of any file.

Belongs here: reading them with the column names that the rules expect. Does not belong here: the rules.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.audit.scan import holes_known
from lake_assets.ingest.lake import Lake
from lake_assets.schema.tables import MINUTE
from lake_assets.validation.rulepack import BarColumns, RulepackResult, rulepack
from lake_resources.binance.wire import STREAMS
from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.reader import scan_minutes

_PRICES = ("open", "high", "low", "close")
_TIME_NAMES = ("timestamp", "ts", "open_time", "time", "window_start", "datetime", "date")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_KLINES = STREAMS["klines_1m"]


def parse_step(text: str) -> timedelta:
    """The distance of bars as people write it: `1s`, `1m`, `15m`, `1h`, `1d`.

    Raises:
        SettingsError: another form.
    """
    found = re.fullmatch(r"([1-9]\d*)([smhd])", text)
    if found is None:
        raise SettingsError(f"timeframe {text!r} is unknown", remedy="Use such as 1s, 1m, 15m, 1h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def check_minutes(lake: Lake, symbol: str, start: datetime, end: datetime) -> RulepackResult:
    """The rulepack on the minute table, compared with the raw klines it was built from."""
    rows = scan_minutes(
        lake.catalog, lake.ledger, symbol, start, end, ["timestamp", *_PRICES], schema=MINUTE.polars_schema
    ).collect()
    reference = raw_klines(lake, symbol, start, end)
    holes = holes_known(lake.ledger, symbol, start, end)
    minute = timedelta(minutes=1)
    return rulepack(rows, symbol, start, end, minute, reference=reference, holes=holes)


def check_klines(lake: Lake, symbol: str, start: datetime, end: datetime) -> RulepackResult:
    """The rulepack on the raw klines themselves."""
    rows = raw_klines(lake, symbol, start, end)
    found = pl.DataFrame(schema={name: MINUTE.polars_schema[name] for name in ("timestamp", *_PRICES)})
    holes = holes_known(lake.ledger, symbol, start, end)
    return rulepack(found if rows is None else rows, symbol, start, end, timedelta(minutes=1), holes=holes)


def raw_klines(lake: Lake, symbol: str, start: datetime, end: datetime) -> pl.DataFrame | None:
    """Klines of `[start, end)` as archives and, where there is none, captures have them; None where nothing has any.

    Columns: `timestamp`, `open`, `high`, `low`, `close`, each minute once.
    """
    archives = [row.path for row in lake.ledger.archives_between(symbol, _KLINES.name, start, end)]
    captures = [row.path for row in lake.ledger.captures_between(symbol, _KLINES.name, start, end)]
    paths = [path for relative in archives + captures if (path := lake.catalog.absolute(relative)).is_file()]
    if not paths:
        return None
    try:
        rows = (
            pl.scan_parquet(paths, glob=False)
            .filter(pl.col("open_time").is_between(start, end, closed="left"))
            .select(pl.col("open_time").alias("timestamp"), *_PRICES)
            .collect()
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(
            f"raw klines of {symbol} do not read: {error}", remedy="Materialize the archive's days again"
        ) from error
    return rows.unique("timestamp", keep="first", maintain_order=True).sort("timestamp")


def read_bars(path: Path) -> tuple[pl.DataFrame, BarColumns]:
    """Bars of a Parquet or CSV file with OHLC columns, and which column is what. Times without a zone are UTC.

    Raises:
        SettingsError: the file is neither, or lacks a time or a price.
    """
    readers = {".parquet": pl.read_parquet, ".csv": lambda found: pl.read_csv(found, try_parse_dates=True)}
    if path.suffix not in readers or not path.is_file():
        raise SettingsError(f"{path} is no Parquet or CSV file", remedy="Give a file that ends in .parquet or .csv")
    try:
        frame = readers[path.suffix](path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SettingsError(f"{path} does not read: {error}", remedy="Give a sound file") from error
    time = next((name for name in _TIME_NAMES if name in frame.columns), None)
    missing = [name for name in _PRICES if name not in frame.columns]
    if time is None or missing:
        raise SettingsError(
            f"{path} has the columns {', '.join(frame.columns)}",
            remedy=f"It needs {', '.join(_PRICES)} and one of {', '.join(_TIME_NAMES)}",
        )
    if frame.schema[time].is_integer():
        frame = frame.with_columns(pl.from_epoch(time, time_unit="ms"))
    frame = frame.with_columns(pl.col(time).cast(pl.Datetime("us", "UTC")))
    quotes = {name: name for name in ("bid", "ask", "spread") if name in frame.columns}
    return frame, BarColumns(time=time, **quotes)


def check_file(path: Path, start: datetime | None, end: datetime | None, step: timedelta) -> RulepackResult:
    """The rulepack on a file; without a window, on the one that its bars span."""
    frame, columns = read_bars(path)
    first, last = frame[columns.time].min(), frame[columns.time].max()
    begin = start or (first if isinstance(first, datetime) else None)
    until = end or (last + step if isinstance(last, datetime) else None)
    if begin is None or until is None:
        raise SettingsError(f"{path} has no rows", remedy="Give --start and --end, or a file with rows")
    return rulepack(frame, path.stem, begin, until, step, columns=columns)
