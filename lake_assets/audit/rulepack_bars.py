"""Bars for the rulepack: of the lake, of its raw klines, of any file.

Belongs here: what is checked over which window. Does not belong here: the rules, reading files of others (`bar_files`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.at_rest import LakeAtRest
from lake_assets.audit.bar_files import read_bars
from lake_assets.audit.ranges import require_order
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.inputs.excuses import holes_known
from lake_assets.schema.known_holes import known_holes
from lake_assets.validation.rulepack import BarColumns, RulepackResult, grid_floor, rulepack
from lake_resources.bar_values import PRICES
from lake_resources.binance.um_streams import AGG_TRADES, KLINES_1M
from lake_resources.clock import EPOCH
from lake_resources.errors import SettingsError, StorageError
from lake_resources.known_hole import KnownHole
from lake_resources.spans import within
from lake_resources.storage.ledger.ledger import ANY_SYMBOL
from lake_resources.storage.reader import reading, scan

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_step(text: str) -> timedelta:
    """The distance of bars as people write it: `1s`, `1m`, `15m`, `1h`, `1d`.

    Raises:
        SettingsError: another form.
    """
    found = re.fullmatch(r"([1-9]\d*)([smhd])", text)
    if found is None:
        raise SettingsError(f"timeframe {text!r} is unknown", remedy="Use such as 1s, 1m, 15m, 1h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def check_bars(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> RulepackResult:
    """The rulepack on the rows of a table of bars, compared with the raw klines that they were built from."""
    layout, prices = lake.store.layout, lake.table.prices
    volume = next((ours for ours, wire in lake.table.verbatim(lake.table.row_stream).items() if wire == "volume"), "")
    wanted = [layout.time_column, *prices, *([volume] if volume else [])]
    with reading(layout, symbol, start, end):
        rows = scan(lake.store, symbol, start, end, wanted, schema=lake.table.polars_schema).collect()
    # Klines are due: where the lake has none of them any more, that is for the verdict to say.
    reference = raw_klines(lake, symbol, start, end)
    columns = replace(BarColumns(layout.time_column, *prices), volume=volume)
    holes, outages = _bar_holes(lake, symbol, start, end), _outages(lake, symbol, start, end)
    found = rulepack(
        rows, symbol, start, end, layout.grain, columns=columns, reference=reference, holes=holes, outages=outages
    )
    return replace(found, doubts=_doubts(lake, symbol, start, end))


def check_klines(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> RulepackResult:
    """The rulepack on the raw klines themselves that the table's rows are built from."""
    rows, holes = raw_klines(lake, symbol, start, end), _bar_holes(lake, symbol, start, end)
    outages = _outages(lake, symbol, start, end)
    return rulepack(rows, symbol, start, end, lake.store.layout.grain, holes=holes, outages=outages)


def _bar_holes(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> list[KnownHole]:
    known = holes_known(lake.ledger, symbol, start, end)
    return [hole for hole in known if hole.stream == lake.table.row_stream]


def _outages(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> list[KnownHole]:
    """Known holes of the bars and of the trades that they are made of: while one lasts nothing can happen."""
    known = holes_known(lake.ledger, symbol, start, end)
    return [hole for hole in known if hole.stream in {lake.table.row_stream, KLINES_1M.name, AGG_TRADES.name}]


def _doubts(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> tuple[str, ...]:
    """What the ledger's verdicts say against complete partitions; what may still change is no doubt."""
    facts = lake.ledger.partition_facts(symbol, start, end)
    complete = {row.start for row in facts if row.complete}
    return tuple(
        f"{lake.table.row_text(at)} is {found.text}"
        for at, found in doubted_hours(lake.ledger, symbol, start, end).items()
        if at in complete and found.kind != "provisional"
    )


def raw_klines(lake: LakeAtRest, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Klines of the table's row stream in `[start, end)` as archives and, where there is none, captures have them.

    Columns: `timestamp`, `open`, `high`, `low`, `close`, `volume`, each bar once; no row where the lake has none.

    Raises:
        StorageError: a file does not read.
    """
    stream = lake.table.row_stream
    archives = [row.path for row in lake.ledger.archives_between(symbol, stream, start, end)]
    captures = [row.path for row in lake.ledger.captures_between(symbol, stream, start, end)]
    paths = [path for path in lake.files.here_all(archives + captures) if path.is_file()]
    if not paths:
        numbers = dict.fromkeys((*PRICES, "volume"), pl.Float64())
        return pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC"), **numbers})
    try:
        rows = (
            pl.scan_parquet(paths, glob=False)
            .filter(within("open_time", start, end))
            .select(pl.col("open_time").alias("timestamp"), *PRICES, "volume")
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
    begin = start or (grid_floor(first, step) if isinstance(first, datetime) else end or EPOCH)
    until = end or (grid_floor(last, step) + step if isinstance(last, datetime) else begin)
    # Which symbol a file is of nobody says: outages of all symbols excuse its dead bars, those of one do not.
    outages = [hole for hole in known_holes() if hole.symbol == ANY_SYMBOL]
    found = rulepack(frame, path.stem, begin, max(begin, until), step, columns=columns, outages=outages)
    return replace(found, cause=cause)
