"""Files that freqtrade and NautilusTrader read with their own loaders, each export with its certificate.

Belongs here: names, places and forms of their files, made of the same rows as any export. Does not belong here: reading
rows, plain files (`export`), the certificate (`quality.certificate`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from lake_assets.at_rest import TableStore
from lake_assets.exports.export import ExportRequest, scan_export
from lake_assets.inputs.stream_sources import read_raw
from lake_assets.quality.certificate import Certificate, certify, data_version, require_clean
from lake_assets.transforms.rollup import COMPLETE, TIMEFRAMES, is_grain
from lake_resources.bar_values import PRICES, VALUE_COLUMNS
from lake_resources.binance.market import UM
from lake_resources.binance.um_streams import FUNDING_RATE
from lake_resources.clock import HOUR
from lake_resources.errors import SettingsError, StorageError
from lake_resources.storage.disk import disk_errors, fsync_file
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.parquet import StagedFile, publish_told
from lake_resources.storage.reader import reading

Program = Literal["freqtrade", "nautilus"]

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY")
_MARKS = ("mark_price_open", "mark_price_close")
_STEPS = {"1s": "1-SECOND", "1m": "1-MINUTE", "5m": "5-MINUTE", "15m": "15-MINUTE", "1h": "1-HOUR", "1d": "1-DAY"}
"""Timeframes as NautilusTrader names them."""
_SCALE = 16
"""Decimal places of NautilusTrader's fixed point numbers: 128 bits, little endian, as its usual builds have them."""
_MOST_PLACES = 12
_OHLCV = ("date", *VALUE_COLUMNS)

Staging = Callable[[Path], None]


@dataclass(frozen=True)
class ProgramExport:
    """What was written of one symbol.

    Attributes:
        paths: the data files.
        certificate_path: of all of them.
        row_count: bars.
    """

    paths: tuple[Path, ...]
    certificate_path: Path
    certificate: Certificate
    row_count: int


def pair_of(symbol: str, *, futures: bool) -> str:
    """A symbol as freqtrade and ccxt write it: `BTC/USDT:USDT`, of spot `BTC/USDT`.

    Raises:
        SettingsError: no known currency is at its end.
    """
    quote = next((each for each in _QUOTES if symbol.endswith(each) and symbol != each), None)
    if quote is None:
        raise SettingsError(f"{symbol} ends with no known currency", remedy="Export it as parquet, csv or arrow")
    return f"{symbol.removesuffix(quote)}/{quote}" + (f":{quote}" if futures else "")


def bar_type(symbol: str, timeframe: str, *, futures: bool) -> str:
    """NautilusTrader's name of bars, e.g. `BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL`."""
    return f"{symbol}{'-PERP' if futures else ''}.BINANCE-{_STEPS[timeframe]}-LAST-EXTERNAL"


def write_for_program(
    store: TableStore,
    symbol: str,
    request: ExportRequest,
    out: Path,
    program: Program,
    *,
    now: datetime,
    lag_minutes: int,
) -> ProgramExport:
    """Write one symbol's bars as a program reads them; the directory is its data directory, or its catalog.

    Bars that lack a row are left out, for neither program can be told of them.

    Args:
        store: the table.
        symbol: whose rows.
        request: window and timeframe; its columns are not looked at.
        out: freqtrade's data directory of the exchange (`user_data/data/binance`), or NautilusTrader's catalog.
        program: who reads it.
        now: decides which rows must exist.
        lag_minutes: safety lag.

    Raises:
        NotClean: the request requires a clean window and it is not; no file is written.
        SettingsError: no whole bar, no known pair, or bars of another window of the catalog overlap; no file is
            written.
        StorageError: partitions of the window were committed while it was read; no file is written.
        DiskFull: no space; no file is written.
    """
    certificate = certify(store, symbol, request.start, request.end, now=now, lag_minutes=lag_minutes)
    if request.require == "clean":
        require_clean(certificate)
    bars = whole_bars(store, symbol, request)
    if bars.is_empty():
        raise SettingsError(
            f"{symbol} has no whole bar in [{request.start.isoformat()}, {request.end.isoformat()})",
            remedy="Backfill the window first; `lake show` and `lake audit` tell what there is",
        )
    futures = store.layout.market == UM.name
    files: dict[Path, Staging] = {}
    if program == "freqtrade":
        files = dict(_freqtrade(store, symbol, request, bars, out))
    else:
        path, writing = _nautilus(bar_type(symbol, request.timeframe, futures=futures), bars, request, out)
        files = {path: writing}
    with disk_errors(f"export in {out}"):
        out.mkdir(parents=True, exist_ok=True)
    temp = out / f".{uuid4().hex}"
    try:
        staged = [(_staged(temp / str(number), writing), path) for number, (path, writing) in enumerate(files.items())]
        held = store.ledger.partition_files(symbol, certificate.start, certificate.end)
        if data_version(held) != certificate.data_version:
            raise StorageError(
                f"{symbol}: {store.layout.span}s of the window were committed meanwhile", remedy="Export again"
            )
        told = out / "certificates" / f"{program}_{request.stem(store.table, symbol)}.certificate.json"
        described = {
            "program": program,
            "files": [
                {"file": str(path.relative_to(out)), "sha256": each.content_hash, "size_bytes": each.size_bytes}
                for each, path in staged
            ],
            "bars": bars.height,
            "timeframe": request.timeframe,
            **certificate.as_json(),
        }
        beside = _staged(temp / "told", lambda path: _write(path, json.dumps(described, indent=2).encode() + b"\n"))
        publish_told(staged, (beside, told))
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return ProgramExport(tuple(files), told, certificate, bars.height)


def whole_bars(store: TableStore, symbol: str, request: ExportRequest) -> pl.DataFrame:
    """Bars of the window without a row missing: `date` (start, UTC, ms), `open`, `high`, `low`, `close`, `volume`."""
    table = store.table
    volume = next(ours for ours, wire in table.verbatim(table.row_stream).items() if wire == "volume")
    rows = _read(store, symbol, replace(request, columns=(*table.prices, volume)))
    if COMPLETE in rows.columns:
        rows = rows.filter(COMPLETE)
    named = dict(zip((*table.prices, volume), _OHLCV[1:], strict=True))
    return (
        rows.select(pl.col(store.layout.time_column).cast(pl.Datetime("ms", "UTC")).alias("date"), *named)
        .rename(named)
        .drop_nulls()
        .sort("date")
    )


def _read(store: TableStore, symbol: str, request: ExportRequest) -> pl.DataFrame:
    with reading(store.layout, symbol, request.start, request.end):
        return scan_export(store, symbol, request).collect()


def _freqtrade(
    store: TableStore, symbol: str, request: ExportRequest, bars: pl.DataFrame, out: Path
) -> Iterator[tuple[Path, Staging]]:
    """Candles, and of futures mark prices and funding of whole hours, each as feather and as JSON."""
    futures = store.layout.market == UM.name
    name = pair_of(symbol, futures=futures).replace("/", "_").replace(":", "_")
    if not futures:
        yield from _both(out / f"{name}-{request.timeframe}", bars)
        return
    yield from _both(out / "futures" / f"{name}-{request.timeframe}-futures", bars)
    marks = mark_hours(store, symbol, request)
    if not marks.is_empty():
        yield from _both(out / "futures" / f"{name}-1h-mark", marks)
    funding = settlements(store, symbol, request.start, request.end)
    if not funding.is_empty():
        yield from _both(out / "futures" / f"{name}-1h-funding_rate", funding)


def mark_hours(store: TableStore, symbol: str, request: ExportRequest) -> pl.DataFrame:
    """Hours of the mark price whose minutes are all there; high and low are those of the minutes' opens and closes."""
    if not is_grain(store.table, "1m"):
        return _empty()
    time, (first, last) = store.layout.time_column, _MARKS
    rows = _read(store, symbol, replace(request, timeframe="1m", columns=_MARKS)).sort(time).drop_nulls()
    hours = rows.group_by_dynamic(time, every="1h").agg(
        pl.len().alias("minutes"),
        pl.col(first).first().alias("open"),
        pl.max_horizontal(pl.col(first).max(), pl.col(last).max()).alias("high"),
        pl.min_horizontal(pl.col(first).min(), pl.col(last).min()).alias("low"),
        pl.col(last).last().alias("close"),
    )
    whole = hours.filter(pl.col("minutes") == HOUR // store.layout.grain)
    return whole.select(pl.col(time).cast(pl.Datetime("ms", "UTC")).alias("date"), *PRICES, pl.lit(0.0).alias("volume"))


def settlements(store: TableStore, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Funding that was settled in a window, as freqtrade keeps it: the rate as `open` of a candle, all else 0."""
    stream, time = FUNDING_RATE.name, FUNDING_RATE.time_column
    held = [row.path for row in store.ledger.archives_between(symbol, stream, start, end)]
    held += [row.path for row in store.ledger.captures_between(symbol, stream, start, end)]
    paths = [path for path in store.files.here_all(held) if path.is_file()]
    if not paths:
        return _empty()
    rows = pl.concat([read_raw(path, FUNDING_RATE, start, end) for path in paths])
    return (
        rows.select(
            pl.col(time).dt.round("1h").cast(pl.Datetime("ms", "UTC")).alias("date"),
            pl.col("last_funding_rate").cast(pl.Float64).alias("open"),
            *(pl.lit(0.0).alias(name) for name in _OHLCV[2:]),
        )
        .drop_nulls()
        .unique("date", keep="first", maintain_order=True)
        .sort("date")
    )


def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema={"date": pl.Datetime("ms", "UTC"), **dict.fromkeys(_OHLCV[1:], pl.Float64())})


def _both(stem: Path, rows: pl.DataFrame) -> Iterator[tuple[Path, Staging]]:
    """The same candles in freqtrade's two forms."""
    yield (
        stem.with_name(f"{stem.name}.feather"),
        lambda path: feather.write_feather(rows.to_arrow(), str(path), compression="lz4"),
    )
    values = rows.with_columns(pl.col("date").dt.epoch("ms")).rows()
    yield stem.with_name(f"{stem.name}.json"), lambda path: _write(path, orjson.dumps(values))


def _nautilus(name: str, bars: pl.DataFrame, request: ExportRequest, out: Path) -> tuple[Path, Staging]:
    """One file of a Parquet catalog. A bar's times are its end: no backtest sees it before it is whole."""
    length = TIMEFRAMES[request.timeframe]
    ends = (bars["date"] + length).dt.epoch("ns").cast(pl.UInt64)
    price_places, size_places = places(bars, PRICES), places(bars, ("volume",))
    metadata: dict[bytes | str, bytes | str] = {
        "bar_type": name,
        "instrument_id": name.partition(f"-{_STEPS[request.timeframe]}")[0],
        "price_precision": str(price_places),
        "size_precision": str(size_places),
    }
    columns = {each: _fixed(bars[each], price_places) for each in PRICES} | {
        "volume": _fixed(bars["volume"], size_places)
    }
    times = {each: ends.to_arrow().cast(pa.uint64()) for each in ("ts_event", "ts_init")}
    arrays = columns | times
    schema = pa.schema([pa.field(each, found.type, nullable=False) for each, found in arrays.items()], metadata)
    first, last = bars["date"][0] + length, bars["date"][-1] + length
    directory = out / "data" / "bar" / name
    path = directory / f"{_stamp(first)}_{_stamp(last)}.parquet"
    _require_apart(path, directory)
    table = pa.table(list(arrays.values()), schema=schema)
    return path, lambda to: pq.write_table(table, to, compression="zstd")


def _require_apart(path: Path, directory: Path) -> None:
    """Refuse a file whose bars overlap those of another file of the directory; the names say from when to when."""
    first, _, last = path.stem.partition("_")
    for other in sorted(directory.glob("*.parquet")) if directory.is_dir() else ():
        begun, _, ended = other.stem.partition("_")
        if other != path and begun <= last and ended >= first:
            raise SettingsError(
                f"{other} holds bars of the same time, which a catalog may not hold twice",
                remedy="Remove it, or give another --out",
            )


def places(bars: pl.DataFrame, columns: Sequence[str]) -> int:
    """Decimal places that every value of the columns needs, and no more.

    Raises:
        SettingsError: a value has more than twelve.
    """
    values = pl.concat([bars[name] for name in columns])
    for count in range(_MOST_PLACES + 1):
        if (values.round(count) == values).all():
            return count
    raise SettingsError("values have more than 12 decimal places", remedy="Export as parquet, csv or arrow")


def _fixed(values: pl.Series, count: int) -> pa.Array[Any]:
    """Values as fixed point numbers of 128 bits: exactly the decimals that they were written with."""
    factor = 10 ** (_SCALE - count)
    whole = (values * 10**count).round().cast(pl.Int64).to_list()
    return pa.array([(each * factor).to_bytes(16, "little", signed=True) for each in whole], pa.binary(16))


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H-%M-%S}-000000000Z"


def _staged(path: Path, writing: Staging) -> StagedFile:
    with disk_errors(f"export {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        writing(path)
        fsync_file(path)
        return StagedFile(path, file_hash(path), path.stat().st_size, 0)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
