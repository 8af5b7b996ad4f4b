"""The DuckDB file with the view `minute`: all committed minutes by the ledger's paths, for any SQL tool.

Belongs here: the view's text, the starter queries, replacing the file in one step. Does not belong here: options.
A view names the files of the moment: after new hours it is made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb

from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.ledger import Ledger
from lake_resources.storage.placement import Stretch, stretches

QUERIES = """\
-- Starter queries on the view `minute`. Times are UTC, which is set for this connection first.
SET TimeZone = 'UTC';

-- What is there, by symbol and month.
SELECT symbol, year, month, count(*) AS minutes FROM minute GROUP BY ALL ORDER BY ALL;

-- Minutes that are missing between the first and the last.
SELECT symbol, datediff('minute', min(timestamp), max(timestamp)) + 1 - count(*) AS missing FROM minute GROUP BY ALL;

-- Hourly bars.
SELECT symbol, time_bucket(INTERVAL 1 HOUR, timestamp) AS hour, arg_min(open, timestamp) AS open, max(high) AS high,
       min(low) AS low, arg_max(close, timestamp) AS close, sum(volume_btc) AS volume
FROM minute GROUP BY ALL ORDER BY ALL;

-- The last day with taker imbalance and open interest.
SELECT timestamp, close, taker_buy_ratio, oi_contracts, funding_rate FROM minute
WHERE timestamp >= (SELECT max(timestamp) FROM minute) - INTERVAL 1 DAY ORDER BY timestamp;
"""
_YEARS = timedelta(days=366 * 100)
_PARTS = ("year", "month", "day", "hour")


def write_view(catalog: Catalog, ledger: Ledger, symbols: Iterable[str], path: Path) -> int:
    """Write the DuckDB file; readers of the one before keep it until they open it again.

    Returns:
        How many Parquet files the view reads.

    Raises:
        SettingsError: no hour of these symbols is committed.
        StorageError: the file cannot be written.
    """
    selects: list[str] = []
    files = 0
    for symbol in symbols:
        first = ledger.first_hour(symbol)
        if first is None:
            continue
        for stretch in stretches(ledger, symbol, first, first + _YEARS):
            files += len(stretch.paths)
            selects.append(_select(catalog, symbol, stretch))
    if not selects:
        raise SettingsError(f"no hour is committed in {catalog.root}", remedy="Backfill first, or name other symbols")
    temp = path.with_name(f".{path.name}-{uuid4().hex}")
    with disk_errors(f"DuckDB view {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with duckdb.connect(str(temp)) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute("CREATE VIEW minute AS\n" + "\nUNION ALL\n".join(selects))
            temp.replace(path)
        except duckdb.Error as error:
            raise StorageError(f"DuckDB view {path}: {error}", remedy="Run `lake audit`, repair, try again") from error
        finally:
            temp.unlink(missing_ok=True)
    return files


def _select(catalog: Catalog, symbol: str, stretch: Stretch) -> str:
    paths = ", ".join(_quoted(str(catalog.absolute(path))) for path in stretch.paths)
    # Of the epoch, so that the session's time zone does not matter.
    utc = "make_timestamp(epoch_us(timestamp))"
    parts = ", ".join(f"{part}({utc}) AS {part}" for part in _PARTS)
    where = (
        f" WHERE timestamp >= {_instant(stretch.start)} AND timestamp < {_instant(stretch.end)}" if stretch.cut else ""
    )
    # Parts of the path are not taken for columns: they would come twice.
    source = f"read_parquet([{paths}], hive_partitioning = false)"
    return f"SELECT {_quoted(symbol)} AS symbol, {parts}, * FROM {source}{where}"  # noqa: S608 - all parts are quoted


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _instant(instant: datetime) -> str:
    return f"TIMESTAMPTZ '{instant:%Y-%m-%d %H:%M:%S}+00'"
