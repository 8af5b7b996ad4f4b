"""Bars for the rulepack: of the lake, of its raw klines, of any file.

Belongs here: what is checked over which window. Does not belong here: the rules, reading files of others (`bar_files`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.at_rest import LakeAtRest
from lake_assets.audit.bar_files import PRICES, read_bars
from lake_assets.audit.excuses import holes_known
from lake_assets.audit.ranges import require_order
from lake_assets.schema.known_holes import Hole
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.rulepack import RulepackResult, grid_floor, rulepack
from lake_resources.binance.um_streams import KLINES_1M
from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.reader import reading, scan

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_KLINE_SCHEMA = {name: UM_MINUTE.polars_schema[name] for name in ("timestamp", *PRICES)}


def parse_step(text: str) -> timedelta:
    """The distance of bars as people write it: `1s`, `1m`, `15m`, `1h`, `1d`.

    Raises:
        SettingsError: another form.
    """
    found = re.fullmatch(r"([1-9]\d*)([smhd])", text)
    if found is None:
        raise SettingsError(f"timeframe {text!r} is unknown", remedy="Use such as 1s, 1m, 15m, 1h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def check_minutes(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> RulepackResult:
    """The rulepack on the minute table, compared with the raw klines it was built from."""
    wanted = ["timestamp", *PRICES]
    with reading(lake.store.layout, symbol, start, end):
        rows = scan(lake.store, symbol, start, end, wanted, schema=UM_MINUTE.polars_schema).collect()
    found = raw_klines(lake, symbol, start, end)
    # Klines are due: where the lake has none of them any more, that is for the verdict to say.
    reference = pl.DataFrame(schema=_KLINE_SCHEMA) if found is None else found
    holes = _bar_holes(lake, symbol, start, end)
    minute = timedelta(minutes=1)
    return rulepack(rows, symbol, start, end, minute, reference=reference, holes=holes)


def check_klines(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> RulepackResult:
    """The rulepack on the raw klines themselves."""
    rows = raw_klines(lake, symbol, start, end)
    found = pl.DataFrame(schema=_KLINE_SCHEMA) if rows is None else rows
    holes = _bar_holes(lake, symbol, start, end)
    return rulepack(found, symbol, start, end, timedelta(minutes=1), holes=holes)


def _bar_holes(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> list[Hole]:
    known = holes_known(lake.ledger, symbol, start, end)
    return [hole for hole in known if hole.stream == UM_MINUTE.row_stream]


def raw_klines(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> pl.DataFrame | None:
    """Klines of `[start, end)` as archives and, where there is none, captures have them; None where nothing has any.

    Columns: `timestamp`, `open`, `high`, `low`, `close`, each minute once.
    """
    archives = [row.path for row in lake.ledger.archives_between(symbol, KLINES_1M.name, start, end)]
    captures = [row.path for row in lake.ledger.captures_between(symbol, KLINES_1M.name, start, end)]
    paths = [path for relative in archives + captures if (path := lake.catalog.absolute(relative)).is_file()]
    if not paths:
        return None
    try:
        rows = (
            pl.scan_parquet(paths, glob=False)
            .filter(pl.col("open_time").is_between(start, end, closed="left"))
            .select(pl.col("open_time").alias("timestamp"), *PRICES)
            .collect()
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(
            f"raw klines of {symbol} do not read: {error}", remedy="Materialize the archive's days again"
        ) from error
    return rows.unique("timestamp", keep="first", maintain_order=True).sort("timestamp")


def check_file(path: Path, start: datetime | None, end: datetime | None, step: timedelta) -> RulepackResult:
    """The rulepack on a file; without a window, on the one that its bars span. Without rows it is a FAIL like any.

    Raises:
        SettingsError: the window is empty, or the file is none of bars.
    """
    if start is not None and end is not None:
        require_order(start, end)
    frame, columns, cause = read_bars(path)
    first, last = frame[columns.time].min(), frame[columns.time].max()
    begin = start or (grid_floor(first, step) if isinstance(first, datetime) else end or _EPOCH)
    until = end or (grid_floor(last, step) + step if isinstance(last, datetime) else begin)
    return replace(rulepack(frame, path.stem, begin, max(begin, until), step, columns=columns), cause=cause)
