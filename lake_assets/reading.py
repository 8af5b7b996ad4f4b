"""Reading tables from Python: what notebooks and models import.

Belongs here: opening the lake's files for reading by the settings. Does not belong here: writing, or any client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

import polars as pl

from lake_assets.at_rest import TableStore, store_of, table_store
from lake_assets.exports.export import ExportRequest, scan_export, tail_of
from lake_assets.live.live_tail import PROVISIONAL, Listening
from lake_assets.quality import certificate as certificates
from lake_assets.quality.certificate import Certificate, Require, certify, require_clean, with_live
from lake_assets.schema.table import Table
from lake_assets.tables.declared import table_named
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.rollup import Incomplete, Timeframe, own_timeframe
from lake_resources.clock import Clock, system_clock
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.settings_values import file_of_ledger
from lake_resources.sqlite_file import may_only_read
from lake_resources.storage import reader
from lake_resources.storage.extents import require_extents

TRADED_SECONDS = "bars_1s_traded"
"""A view of `bars_1s`: the seconds in which something was traded."""
_HAS_TRADES = "has_trades"
_KEPT_OPEN = 4
"""Lakes whose ledger stays open: opening one takes four times as long as a read of a day."""


class ScanOptions(TypedDict, total=False):
    """What `scan` takes by name, all of it optional.

    Attributes:
        live: also the closed rows that are not committed yet, from the collector's records (`LoadOptions.live`).
        settings: default the environment's.
        clock: says what is closed by now.
    """

    live: bool
    settings: LakeSettings | None
    clock: Clock


def scan(
    table: Table,
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    **options: Unpack[ScanOptions],
) -> pl.LazyFrame:
    """Committed rows of `[start, end)` of a table, sorted by time.

    Partitions that are not committed are simply not there: compare the height with the rows you expect, or look at
    `lake show`.

    Args:
        table: a declared table (`lake_assets.tables`).
        symbol: e.g. `BTCUSDT`.
        start: first instant, timezone-aware.
        end: first instant after it, timezone-aware.
        columns: which of its columns, default all.
        options: see `ScanOptions`.

    Returns:
        A lazy frame over exact paths from the ledger; without committed partitions it has no rows and the table's
        columns. With `live` its last column is `provisional`.

    Raises:
        SettingsError: the settings name a directory that does not exist, or the table has no live rows.
    """
    settings = options.get("settings") or LakeSettings()
    store = _open(settings, table)
    if not options.get("live", False):
        return reader.scan(store, symbol, start, end, columns, schema=table.polars_schema)
    wanted = tuple(table.names if columns is None else columns)
    request = ExportRequest(start, end, own_timeframe(table), wanted, live=_listening(settings, options))
    frame = scan_export(store, symbol, request, tail_of(store, symbol, request))
    return frame.select(*wanted, PROVISIONAL)


def scan_minutes(
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    **options: Unpack[ScanOptions],
) -> pl.LazyFrame:
    """Committed minutes of `[start, end)` of the minute table, sorted by `timestamp`: `scan` of that table.

    `scan_minutes("BTCUSDT", start, end, live=True)` goes on to the minute that closed last.
    """
    return scan(UM_MINUTE, symbol, start, end, columns, **options)


def _listening(settings: LakeSettings, options: ScanOptions | LoadOptions) -> Listening:
    return Listening.by(settings, options.get("clock", system_clock)())


class Loaded(NamedTuple):
    """Rows, and what they are worth.

    The frame is lazy and the certificate comes from the ledger: what is read later may be other rows, where hours were
    committed in between or a file was damaged. `verify` tells.
    """

    frame: pl.LazyFrame
    certificate: Certificate


class LoadOptions(TypedDict, total=False):
    """What `load` takes by name, all of it optional.

    Attributes:
        table: a declared table or its name (`bars_1s`, `klines_1m`), default the minute table; `bars_1s_traded` leaves
            quiet seconds out, and its certificate is that of `bars_1s`.
        timeframe: the table's own (`1m` of the minute table, which is the default), or bars of a longer one up to `1d`,
            aligned to UTC midnight, with the further columns `minutes` (`seconds` of a table of seconds) and `complete`
            next to the time.
        incomplete: bars that lack a row have `complete` false and the sums of the rows that are there, or are left out
            (`omit`); they are never filled.
        require: `clean` refuses a window with holes that no known hole of the exchange explains, and one in which a
            column is NULL because its stream had no source. Columns that only a collector can know count where they
            are asked for by name. Default `any`.
        live: also the closed rows that are not committed yet, made of the collector's records: with a further column
            `provisional`, true of rows that may still change, and a certificate that says from when (`live_from`,
            `provisional_from`). A row that is not proven whole is no row; what sockets do not tell is NULL. They
            follow the newest committed row, up to `LAKE_HOT_HOURS` back. Default false.
        settings: default the environment's.
        clock: says which rows must exist by now.
    """

    table: Table | str
    timeframe: Timeframe
    incomplete: Incomplete
    require: Require
    live: bool
    settings: LakeSettings | None
    clock: Clock


def load(
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    **options: Unpack[LoadOptions],
) -> Loaded:
    """Rows or longer bars of `[start, end)` with their quality certificate.

    `frame, certificate = load("BTCUSDT", start, end, ["close"], require="clean")`

    Args:
        symbol: e.g. `BTCUSDT`.
        start: first row, timezone-aware.
        end: first row after it, timezone-aware.
        columns: columns of the table, default all (of bars: all that can be derived); the time comes first.
        options: see `LoadOptions`.

    Raises:
        NotClean: the window is not clean, and `require` says so; the message names the holes.
        SettingsError: no lake, no window of whole rows, or a column that cannot be had.
        StorageError: a file of the window has other rows, or rows of another time, than were committed. That its bytes
            are those that were committed is what `verify` tells, once the rows are collected.
    """
    settings, asked = options.get("settings") or LakeSettings(), options.get("table", UM_MINUTE)
    traded = asked == TRADED_SECONDS
    table = SPOT_BARS_1S if traded else table_named(asked) if isinstance(asked, str) else asked
    store, require = _open(settings, table), options.get("require", "any")
    request = ExportRequest(
        start,
        end,
        options.get("timeframe") or own_timeframe(table),
        None if columns is None else tuple(columns),
        options.get("incomplete", "mark"),
        require,
        _listening(settings, options) if options.get("live", False) else None,
    )
    request.chosen(table)
    if traded and request.timeframe != own_timeframe(table):
        raise SettingsError(f"{TRADED_SECONDS} has no bars of {request.timeframe}", remedy="Take them of bars_1s")
    certificate = certify(
        store, symbol, start, end,
        now=options.get("clock", system_clock)(), lag_minutes=settings.safety_lag_minutes,
        columns=request.named(table),
    )  # fmt: skip
    if require == "clean":
        require_clean(certificate)
    require_extents(store, symbol, start, end)
    tail = tail_of(store, symbol, request)
    if tail is not None:
        certificate = with_live(certificate, tail)
    frame = scan_export(store, symbol, request, tail)
    if traded and request.columns is not None:
        wide = replace(request, columns=(*dict.fromkeys((*request.columns, _HAS_TRADES)),))
        frame = _traded(scan_export(store, symbol, wide, tail), frame)
    elif traded:
        frame = frame.filter(_HAS_TRADES)
    return Loaded(frame, certificate)


def _traded(wide: pl.LazyFrame, frame: pl.LazyFrame) -> pl.LazyFrame:
    """The rows in which something was traded, with the columns of a frame that lacks the flag."""
    return wide.filter(_HAS_TRADES).select(frame.collect_schema().names())


def verify(certificate: Certificate, *, settings: LakeSettings | None = None) -> None:
    """Hold a certificate against the lake as it is now; call it once the rows are collected.

    It passes where the same partitions are committed as when the window was certified, and every file of them has the
    bytes that were committed. It reads and hashes those files.

    Args:
        certificate: of `load`.
        settings: as given to `load`.

    Raises:
        StorageError: partitions of the window were committed since, or a file is gone or has other bytes.
    """
    store = _open(settings or LakeSettings(), certificate.table)
    certificates.verify(store, certificate)


def _open(settings: LakeSettings, table: Table) -> TableStore:
    root = settings.lake_root
    if not root.is_dir():
        raise SettingsError(
            f"there is no lake at {root}",
            remedy="Run `make demo` or `make up` first, or set LAKE_ROOT or LAKE_EXCHANGE to the lake you mean",
        )
    url = settings.ledger_url_at(root)
    ledger = file_of_ledger(url)
    if ledger is None or not ledger.is_file():
        return store_of(settings, table)
    found = ledger.stat()
    as_it_is = found.st_dev, found.st_ino, may_only_read(ledger)
    return _opened(root, url, settings.store_url, as_it_is).beside(table)


@lru_cache(maxsize=_KEPT_OPEN)
def _opened(root: Path, ledger_url: str, store_url: str, _as_it_is: tuple[int, int, bool]) -> TableStore:
    """A lake whose ledger stays open for the reads that follow; another file in its place is another lake."""
    return table_store(root, ledger_url, UM_MINUTE, store_url)
