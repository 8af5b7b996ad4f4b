"""The Vision side: paths, publication time, zips and CHECKSUM files.

Belongs here: which file exists when, its bytes (the same each time), archive faults.
Does not belong here: the rows of a file (archive_rows.py).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import md5, sha256

import numpy as np
import polars as pl
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lake_resources.simulator import hostile
from lake_resources.simulator.exchange import Exchange
from lake_resources.simulator.faults import (
    ARCHIVE_KINDS,
    MISTAKEN_KINDS,
    ROW_KINDS,
    Fault,
    damaged_order,
    scaled_rows,
    shifted_rows,
    touched,
)
from lake_resources.simulator.market.bars import INTERVAL_MINUTES, SECOND
from lake_resources.simulator.market.feed import DayCache, SymbolFeed
from lake_resources.simulator.market.rng import Ints
from lake_resources.simulator.vision.archive_rows import TYPES, ArchiveType, Table, day_start_ms
from lake_resources.simulator.vision.spot_rows import SPOT_TYPES

_PATH = re.compile(
    r"^/data/(?P<market>futures/um|spot)/(?P<cadence>daily|monthly)/(?P<type>\w+)/(?P<symbol>[^/]+)/"
    r"(?:(?P<interval>\w+)/)?(?P<file>[^/]+)\.zip$"
)
_FILE_KINDS = (*ARCHIVE_KINDS, *ROW_KINDS, *MISTAKEN_KINDS)
_LARGE_AGGREGATES = 200_000
_STAMP = "%Y-%m-%d %H:%M:%S"
_CORRECTION = Decimal("0.1")
"""Quantity that the first trade of a re-published file has more."""
GARBLED = "1.2.3"
"""What stands in the place of a number in a `garbled` row."""
_MISSING = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>{key}</Key></Error>"""


@dataclass(frozen=True)
class Wanted:
    """One archive file that can exist.

    Attributes:
        kind: its type.
        feed: its symbol.
        interval: kline interval, else "".
        start, end: days covered, half-open.
        stem: file name without `.zip`.
        strays: rows of other symbols that are in it too, in the range of a fault.
    """

    kind: ArchiveType
    feed: SymbolFeed
    interval: str
    start: date
    end: date
    stem: str
    strays: tuple[tuple[SymbolFeed, Fault], ...] = ()


def _period(cadence: str, text: str) -> tuple[date, date] | None:
    try:
        if cadence == "daily":
            start = date.fromisoformat(text)
            return (start, start + timedelta(days=1)) if text == start.isoformat() else None
        start = date.fromisoformat(f"{text}-01")
    except ValueError:
        return None
    return start, (start + timedelta(days=32)).replace(day=1)


def wanted(exchange: Exchange, path: str) -> Wanted | None:
    """The archive file behind a path (without `.CHECKSUM`), None where no such file can ever exist."""
    match = _PATH.match(path)
    if match is None:
        return None
    spot = match["market"] == "spot"
    feeds, types = (exchange.spot_feeds, SPOT_TYPES) if spot else (exchange.feeds, TYPES)
    if match["symbol"] not in feeds or match["type"] not in types:
        return None
    kind, interval = types[match["type"]], match["interval"] or ""
    known = interval in INTERVAL_MINUTES or interval == "1mo" or (spot and interval == SECOND)
    prefix = f"{match['symbol']}-{interval or kind.name}-"
    if match["cadence"] not in kind.cadences or kind.has_interval != bool(interval) or (interval and not known):
        return None
    period = _period(match["cadence"], match["file"].removeprefix(prefix))
    if period is None or not match["file"].startswith(prefix):
        return None
    start, end = period
    feed = feeds[match["symbol"]]
    if kind.perpetuals_only and not feed.spec.perpetual:
        return None
    low, high = feed.clip(day_start_ms(start) // 60_000, day_start_ms(end) // 60_000)
    if end <= kind.first or (kind.last is not None and start > kind.last) or low >= high:
        return None
    return Wanted(kind, feed, interval.replace("1mo", "1M"), start, end, match["file"])


def published_at(want: Wanted, publish_time: time) -> datetime:
    """When a file appears: the day after at `publish_time` UTC; a month on the first Monday after it."""
    day = want.end
    if want.end - want.start > timedelta(days=1):
        day += timedelta(days=-day.weekday() % 7)
    return datetime.combine(day, publish_time, UTC)


def _revise(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Change a column's first value a little, as a correction would."""
    if frame.is_empty():
        return frame
    old = Decimal(str(frame[column][0]))
    return _added(frame, 0, {column: Decimal("0.1") if abs(old) >= Decimal("0.1") else Decimal("0.0000001")})


def _added(frame: pl.DataFrame, row: int, amounts: Mapping[str, Decimal]) -> pl.DataFrame:
    """Add to values of one row; texts stay texts."""
    given = []
    for name, amount in amounts.items():
        old = frame[name][row]
        new = Decimal(str(old)) + (amount if frame.schema[name] == pl.String or "." in str(old) else 1)
        value = pl.Series(name, [str(new) if isinstance(old, str) else float(new)], dtype=frame.schema[name])
        given.append(pl.concat([frame[name][:row], value, frame[name][row + 1 :]]))
    return frame.with_columns(given)


def _corrected(want: Wanted, table: Table) -> pl.DataFrame:
    """The rows of a file that was published again: aggTrades and bars are corrected by the same trade, the first."""
    frame = table.frame
    if want.kind.name not in ("klines", "aggTrades") or frame.is_empty():
        return _revise(frame, want.kind.revised)
    if want.kind.name == "aggTrades":
        return _added(frame, 0, {"quantity": _CORRECTION})
    minute = day_start_ms(want.start) // 60_000
    end = day_start_ms(want.end) // 60_000
    while minute < end and not len(want.feed.trades(minute, minute + 1).agg_time):
        minute += 1
    if minute == end:
        return frame
    first = want.feed.trades(minute, minute + 1)
    price = Decimal(int(first.price[0])).scaleb(-want.feed.spec.price_digits)
    sides = ("volume", "quote_volume"), ("taker_buy_volume", "taker_buy_quote_volume")
    amounts: dict[str, Decimal] = {}
    for volume, quote in sides[: 1 if first.buyer_maker[0] else 2]:
        amounts |= {volume: _CORRECTION, quote: _CORRECTION * price}
    row = int(np.searchsorted(table.time_ms, first.agg_time[0], side="right")) - 1
    return _added(frame, row, amounts)


def _scaled(frame: pl.DataFrame, fault: Fault, time_ms: Ints) -> pl.DataFrame:
    """Change a column's values by a factor, as a producer that writes another number would."""
    dtype = frame.schema[fault.column]
    other = pl.col(fault.column).cast(pl.Float64) * fault.by
    value = other.round().cast(dtype) if dtype.is_integer() else other.cast(dtype)
    chosen = pl.Series(scaled_rows(fault, time_ms))
    return frame.with_columns(pl.when(chosen).then(value).otherwise(fault.column).alias(fault.column))


def _shifted(frame: pl.DataFrame, fault: Fault, time_ms: Ints) -> pl.DataFrame:
    """Give the rows of a range the times of their neighbours."""
    times = [name for name in frame.columns if name.endswith("time") or name == "timestamp"]
    return frame[shifted_rows(fault, time_ms)].with_columns(frame.select(times))


def _moved(frame: pl.DataFrame, fault: Fault, time_ms: Ints) -> pl.DataFrame:
    """Put all times of the rows of a range off."""
    inside, by = pl.Series(touched(fault, time_ms)), timedelta(seconds=fault.by)
    moved = []
    for name in frame.columns:
        if not name.endswith("time"):
            continue
        if frame.schema[name] == pl.String:
            later = (pl.col(name).str.to_datetime(_STAMP) + by).dt.strftime(_STAMP)
        else:
            later = pl.col(name) + by // timedelta(milliseconds=1)
        moved.append(pl.when(inside).then(later).otherwise(name).alias(name))
    return frame.with_columns(moved)


def _csv(want: Wanted, table: Table, faults: Sequence[Fault], now: datetime) -> bytes:
    frame = table.frame
    kinds = {fault.kind for fault in faults}
    if any(fault.kind == "republished" and (fault.since is None or now >= fault.since) for fault in faults):
        frame = _corrected(want, table)
    for fault in faults:
        if fault.kind == "garbled":
            spoilt = pl.Series(touched(fault, table.time_ms))
            value = pl.col(want.kind.revised).cast(pl.String)
            frame = frame.with_columns(pl.when(spoilt).then(pl.lit(GARBLED)).otherwise(value).alias(want.kind.revised))
        if fault.kind == "scaled":
            frame = _scaled(frame, fault, table.time_ms)
        if fault.kind == "shifted":
            frame = _shifted(frame, fault, table.time_ms)
        if fault.kind == "moved":
            frame = _moved(frame, fault, table.time_ms)
    rows = [fault for fault in faults if fault.kind in ROW_KINDS and fault.kind != "microseconds"]
    if rows:
        frame = frame[damaged_order(rows, table.time_ms)]
    since_day = want.kind.microseconds_from
    if "microseconds" in kinds or (since_day is not None and want.start >= since_day):
        frame = frame.with_columns(
            pl.col(name) * 1000 + (999 if name == "close_time" else 0) for name in want.kind.stamps
        )
    since = want.kind.header_from
    header = not want.kind.headerless and (since is None or want.start >= since)
    header = (header or "header" in kinds) and "headerless" not in kinds
    return frame.write_csv(include_header=header).encode()


def _rows(want: Wanted) -> Table:
    """The rows of a file, and of other symbols what strays into it, by time."""
    span = (day_start_ms(want.start), day_start_ms(want.end), want.interval)
    table = want.kind.rows(want.feed, *span)
    for feed, fault in want.strays:
        other = want.kind.rows(feed, *span)
        inside = np.asarray(touched(fault, other.time_ms))
        times = np.concatenate([table.time_ms, other.time_ms[inside]])
        order = np.argsort(times, kind="stable")
        frame = pl.concat([table.frame, other.frame.filter(pl.Series(inside))], how="vertical_relaxed")
        table = Table(frame[order], times[order])
    return table


def build_zip(want: Wanted, faults: Sequence[Fault], now: datetime) -> bytes:
    """Bytes of an archive file; the same for the same file and faults, whenever it is asked for."""
    table = _rows(want)
    entry = zipfile.ZipInfo(f"{want.stem}.csv", (want.end.year, want.end.month, want.end.day, 7, 11, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    csv = _csv(want, table, faults, now)
    for fault in faults:
        if fault.kind in ("inflating", "crowded"):
            return hostile.stuffed_zip(want.stem, csv, fault)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, csv, compresslevel=1)
    return buffer.getvalue()


def _mistaken(exchange: Exchange, path: str, want: Wanted, faults: Sequence[Fault]) -> Wanted:
    """Whose rows the file has: those of what it is named after, unless a fault says otherwise."""
    for fault in faults:
        if fault.kind == "other_day":
            before = want.start - (want.end - want.start)
            want = replace(want, start=before, end=want.start)
        elif fault.kind == "other_symbol":
            other = wanted(exchange, path.replace(want.feed.spec.symbol, fault.body))
            if other is not None and (fault.start or fault.end):
                want = replace(want, strays=(*want.strays, (other.feed, fault)))
            elif other is not None:
                want = replace(want, feed=other.feed)
    return want


def _damage(body: bytes, faults: Sequence[Fault]) -> bytes:
    for fault in faults:
        if fault.kind == "truncated":
            body = body[: int(len(body) * fault.fraction)]
        elif fault.kind == "flipped":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
        elif fault.kind in ("lost_byte", "unix_lines"):
            body = hostile.damaged_zip(body, fault)
    return body


class VisionSite:
    """Answers for `/data/…`.

    Args:
        exchange: the simulated exchange.
        publish_time: time of day (UTC) at which a day's files appear on the day after.
        cached_files: files kept in memory, large ones less.
    """

    def __init__(self, exchange: Exchange, *, publish_time: time = time(8, 35), cached_files: int = 128) -> None:
        self._exchange = exchange
        self._publish_time = publish_time
        self._files = DayCache(cached_files)
        self._large_files = DayCache(max(cached_files // 32, 1))

    def answer(self, path: str, query: str = "") -> Response:
        """The zip or CHECKSUM behind a path, or S3's 404."""
        archive = path.removesuffix(".CHECKSUM")
        is_checksum = archive != path
        want = wanted(self._exchange, archive)
        book = self._exchange.faults
        content = book.take(_FILE_KINDS, archive, query, count=False)
        if is_checksum:
            lies = bool(book.take(("wrong_checksum",), archive, query))
        else:
            lies = False
            book.take([k for k in _FILE_KINDS if k != "wrong_checksum"], archive, query)
        now = self._exchange.clock.now()
        late_h = max((fault.hours for fault in content if fault.kind == "late"), default=0.0)
        missing = any(fault.kind == "missing" for fault in content)
        if want is None or missing or now < published_at(want, self._publish_time) + timedelta(hours=late_h):
            return Response(_MISSING.format(key=path[1:]), 404, media_type="application/xml")
        revised = tuple(f.since is None or now >= f.since for f in content if f.kind == "republished")
        key = (archive, tuple(content), revised)
        low, high = (day_start_ms(day) // 60_000 for day in (want.start, want.end))
        large = want.feed.market.agg_count(high) - want.feed.market.agg_count(low) > _LARGE_AGGREGATES
        files = self._large_files if large else self._files
        told = _mistaken(self._exchange, archive, want, content)
        body = files.get(key, lambda: build_zip(told, content, now))
        if is_checksum:
            seen = _damage(body, [fault for fault in content if fault.matching])
            digest = sha256(seen).hexdigest()
            shown = sha256(digest.encode()).hexdigest() if lies else digest
            return Response(f"{shown}  {want.stem}.zip\n", media_type="binary/octet-stream")
        body = _damage(body, content)
        stamp = published_at(want, self._publish_time).strftime("%a, %d %b %Y %H:%M:%S GMT")
        tag = md5(body, usedforsecurity=False).hexdigest()
        return Response(body, media_type="application/zip", headers={"Last-Modified": stamp, "ETag": f'"{tag}"'})

    def routes(self) -> list[Route]:
        """Starlette routes below `/data/`; each request runs in a worker thread."""

        def handle(request: Request) -> Response:
            return self.answer(request.url.path, request.url.query)

        return [Route("/data/{rest:path}", handle, methods=["GET", "HEAD"])]
