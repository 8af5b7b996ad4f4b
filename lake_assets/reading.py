"""Reading the minute table from Python: what notebooks and models import.

Belongs here: opening the lake's files for reading by the settings. Does not belong here: writing, or any client.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import polars as pl

from lake_assets.at_rest import store_of
from lake_assets.exports.export import SliceRequest, scan_slice
from lake_assets.quality import certificate as certificates
from lake_assets.quality.certificate import Certificate, Require, certify, require_clean
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.rollup import Incomplete, Timeframe
from lake_resources.clock import Clock, system_clock
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage import reader
from lake_resources.storage.store import Store


def scan_minutes(
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    *,
    settings: LakeSettings | None = None,
) -> pl.LazyFrame:
    """Committed minutes of `[start, end)`, sorted by `timestamp`.

    Hours that are not committed are simply not there: compare the height with the minutes you expect, or look at
    `lake show`.

    Args:
        symbol: e.g. `BTCUSDT`.
        start: first instant, timezone-aware.
        end: first instant after it, timezone-aware.
        columns: which of the 66 columns, default all.
        settings: default the environment's.

    Returns:
        A lazy frame over exact paths from the ledger; without committed hours it has no rows and the table's columns.

    Raises:
        SettingsError: the settings name a directory that does not exist.
    """
    store = _open(settings or LakeSettings())
    return reader.scan(store, symbol, start, end, columns, schema=UM_MINUTE.polars_schema)


class Loaded(NamedTuple):
    """Rows, and what they are worth.

    The frame is lazy and the certificate comes from the ledger: what is read later may be other rows, where hours were
    committed in between or a file was damaged. `verify` tells.
    """

    frame: pl.LazyFrame
    certificate: Certificate


def load(
    symbol: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    *,
    timeframe: Timeframe = "1m",
    incomplete: Incomplete = "mark",
    require: Require = "any",
    settings: LakeSettings | None = None,
    clock: Clock = system_clock,
) -> Loaded:
    """Minutes or longer bars of `[start, end)` with their quality certificate.

    `frame, certificate = load("BTCUSDT", start, end, ["close"], require="clean")`

    Args:
        symbol: e.g. `BTCUSDT`.
        start: first minute, timezone-aware.
        end: first minute after it, timezone-aware.
        columns: columns of the minute table, default all (of bars: all that can be derived); `timestamp` comes first.
        timeframe: `1m`, or bars of `5m`, `15m`, `1h`, `1d` aligned to UTC midnight, with the further columns `minutes`
            and `complete` next to the time.
        incomplete: bars that lack a minute have `complete` false and the sums of the minutes that are there, or are
            left out (`omit`); they are never filled.
        require: `clean` refuses a window with holes that no known hole of the exchange explains, and one in which a
            column is NULL because its stream had no source. Columns that only a collector can know count where
            `columns` names them.
        settings: default the environment's.
        clock: says which minutes must exist by now.

    Raises:
        NotClean: the window is not clean, and `require` says so; the message names the holes.
        SettingsError: no lake, no window of whole minutes, or a column that cannot be had.
    """
    settings = settings or LakeSettings()
    store = _open(settings)
    request = SliceRequest(start, end, timeframe, None if columns is None else tuple(columns), incomplete, require)
    request.chosen()
    certificate = certify(
        store, symbol, start, end,
        now=clock(), lag_minutes=settings.safety_lag_minutes, columns=request.named(),
    )  # fmt: skip
    if require == "clean":
        require_clean(certificate)
    return Loaded(scan_slice(store, symbol, request), certificate)


def verify(certificate: Certificate, *, settings: LakeSettings | None = None) -> None:
    """Hold a certificate against the lake as it is now; call it once the rows are collected.

    It passes where the same hours are committed as when the window was certified, and every file of them has the bytes
    that were committed. It reads and hashes those files.

    Args:
        certificate: of `load`.
        settings: as given to `load`.

    Raises:
        StorageError: hours of the window were committed since, or a file is gone or has other bytes.
    """
    store = _open(settings or LakeSettings())
    certificates.verify(store, certificate)


def _open(settings: LakeSettings) -> Store:
    if not settings.lake_root.is_dir():
        raise SettingsError(
            f"there is no lake at {settings.lake_root}",
            remedy="Run `make demo` or `make up` first, or set LAKE_ROOT or LAKE_EXCHANGE to the lake you mean",
        )
    return store_of(settings)
