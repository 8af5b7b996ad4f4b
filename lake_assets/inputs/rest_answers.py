"""REST answers into the lake: what the exchange returned for an hour is kept as a file and a ledger row.

Belongs here: fetching runs of hours, cutting them into hours, keeping each different answer.
Does not belong here: HTTP (`rest_client`), choosing between a capture and an archive (`sources`).
A rebuild needs no network because of it, and a later archive can be compared with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.windows import hours_between, runs_of
from lake_resources.clock import HOUR
from lake_resources.errors import ExchangeError, OutsideRetention
from lake_resources.storage.ledger.ledger import Capture
from lake_resources.storage.parquet import publish_all, stage_all

_EDGE = timedelta(minutes=10)
"""Distance kept from the edge of the exchange's retention: the request takes time too."""


@dataclass
class Asked:
    """What REST said: by hour, the answer that was kept, or why there is none."""

    kept: dict[datetime, Capture] = field(default_factory=dict)
    failures: dict[datetime, str] = field(default_factory=dict)


def reachable(lake: Lake, use: StreamUse, hour: datetime, now: datetime) -> bool:
    """Whether REST may be asked and still has the whole hour."""
    if not lake.ask_rest or use.stream.rest is None or hour >= now:
        return False
    retention = use.stream.rest.retention
    return retention is None or hour >= now - retention + _EDGE


def capture_hours(
    lake: Lake,
    symbol: str,
    use: StreamUse,
    hours: Iterable[datetime],
    now: datetime,
    held: Mapping[datetime, Capture],
) -> Asked:
    """Fetch hours from REST and keep them; neighbours share requests.

    Trades of an open hour are asked for only from where the answer that is held had settled: a busy hour of them is
    dozens of requests, and the hot band asks every minute.

    Each answer is durable before the next is asked for. A failure of the exchange is no error here but a result: hours
    that had fallen out of its memory leave the others alone, after any other failure it is not asked again.
    """
    asked = Asked()
    failure = ""
    for start, end in runs_of(hours, longest=use.hours_per_fetch):
        run = hours_between(start, end)
        if not failure:
            try:
                frame = _fetch(lake, symbol, use, start, min(end, now), held.get(start))
            except OutsideRetention as error:
                asked.failures |= dict.fromkeys(run, str(error))
                continue
            except ExchangeError as error:
                failure = str(error)
            else:
                answer = _Answer(frame, run, now, f"{lake.rest.base_url} {use.name} {symbol}")
                asked.kept |= {capture.hour: capture for capture in _keep(lake, symbol, use, answer)}
                continue
        asked.failures |= dict.fromkeys(run, failure)
    return asked


def _fetch(
    lake: Lake, symbol: str, use: StreamUse, start: datetime, end: datetime, before: Capture | None
) -> pl.DataFrame:
    if use.name == "agg_trades" and before is not None and not before.complete:
        settled_until = before.captured_at - use.settle
        settled = _rows_before(lake.catalog.absolute(before.path), use, settled_until)
        if settled.height:
            rows = lake.rest.fetch(use.stream, symbol, settled_until, end)
            if rows.is_empty() or rows["agg_trade_id"][0] == settled["agg_trade_id"][-1] + 1:
                return pl.concat([settled, rows])
    return lake.rest.fetch(use.stream, symbol, start, end)


def _rows_before(path: Path, use: StreamUse, instant: datetime) -> pl.DataFrame:
    """Rows of an earlier answer; none where its file cannot be read, for it can be had again."""
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError):
        return pl.DataFrame(schema=use.stream.columns)
    return frame.filter(pl.col(use.stream.time_column) < instant)


def kept_slices(lake: Lake, symbol: str, use: StreamUse, hours: Iterable[datetime]) -> dict[datetime, Capture]:
    """Keep hours that raw slices have whole, as if REST had just said them: it did, when the slices were asked for.

    Raises:
        SettingsError: the slices are of another exchange.
        StorageError: they cannot be read, or an answer is damaged.
    """
    kept: dict[datetime, Capture] = {}
    if lake.slices is None:
        return kept
    for start, end in runs_of(hours, longest=use.hours_per_fetch):
        for hour, found in lake.slices.hours(use.stream, symbol, hours_between(start, end)).items():
            answer = _Answer(found.rows, [hour], found.asked_at, f"raw slices {use.name} {symbol}")
            kept |= {capture.hour: capture for capture in _keep(lake, symbol, use, answer)}
    return kept


def keep_answer(
    lake: Lake, symbol: str, use: StreamUse, rows: pl.DataFrame, hours: Iterable[datetime], asked_at: datetime
) -> None:
    """Keep what REST said of some hours.

    Args:
        lake: the lake.
        symbol: whose hours.
        use: the stream as the table uses it.
        rows: the answer's wire frame; rows of other hours are left out.
        hours: starts of the hours.
        asked_at: when it was asked for, UTC.
    """
    _keep(lake, symbol, use, _Answer(rows, list(hours), asked_at, f"{lake.rest.base_url} {use.name} {symbol}"))


@dataclass(frozen=True)
class _Answer:
    """Rows of some hours, when they were asked for, and of whom."""

    rows: pl.DataFrame
    hours: list[datetime]
    asked_at: datetime
    request: str


def _keep(lake: Lake, symbol: str, use: StreamUse, answer: _Answer) -> list[Capture]:
    column, hours, now = pl.col(use.stream.time_column), answer.hours, answer.asked_at
    parts = [answer.rows.filter((column >= hour) & (column < hour + HOUR)) for hour in hours]
    metadata = {"lake.source": "rest", "lake.stream": use.name, "lake.symbol": symbol}
    staged = stage_all(
        [(part, {**metadata, "lake.hour": hour.isoformat()}) for hour, part in zip(hours, parts, strict=True)],
        lake.catalog.temp_dir,
    )
    paths = [
        lake.catalog.capture_path(use.name, symbol, hour, file.content_hash)
        for hour, file in zip(hours, staged, strict=True)
    ]
    publish_all(list(zip(staged, paths, strict=True)))
    captures = [
        Capture(
            symbol=symbol,
            stream=use.name,
            hour=hour,
            path=lake.catalog.relative(path),
            row_count=part.height,
            window_start=hour,
            window_end=min(hour + HOUR, now),
            complete=use.is_final(hour, part.height, now),
            request=answer.request,
            content_hash=file.content_hash,
            captured_at=now,
        )
        for hour, part, file, path in zip(hours, parts, staged, paths, strict=True)
    ]
    lake.ledger.record_captures(captures)
    return captures
