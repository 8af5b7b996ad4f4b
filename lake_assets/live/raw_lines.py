"""Raw records of spot as JSON lines, one file per minute of event time: written, and read back.

Belongs here: the layout `raw/binance/<SYM>/<YYYY-MM-DD>/part_NNN.jsonl`, a line's fields, files that appear whole or
not at all. Does not belong here: where records come from (`spot_records`), putting them into the lake (`raw_import`).
A file holds 60 seconds of event time, UTC: `part_000` begins at midnight, and its day is the day of its events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import orjson
import polars as pl

from lake_assets.live.spot_records import HEALED_SOURCE, SpotRecords, spot_records
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file, make_dirs

FIELDS = ("symbol", "ts_event", "ts_recv", "price", "qty", "side", "bid", "ask", "stream", "trade_id")
"""Of each line; those that a frame does not have are null. Times are epoch ms."""
HEALED_FIELD = "last_trade_id"
"""On a line that heals a gap: it stands for all trades from `trade_id` to this one."""
TRADE_STREAM, QUOTE_STREAM = "trade", "bookTicker"
PART = timedelta(seconds=60)


@dataclass(frozen=True)
class Exported:
    """What an export wrote: files, and lines in them."""

    files: tuple[Path, ...]
    lines: int


def export_raw(root: Path, symbol: str, start: datetime, end: datetime, out: Path) -> Exported:
    """Write what was heard of a symbol in whole minutes of `[start, end)`; a file that is there is replaced.

    Args:
        root: directory of the lake.
        symbol: upper case.
        start: UTC.
        end: UTC.
        out: directory above `raw`.

    Raises:
        DiskFull: no space; files that are there are whole.
    """
    files: list[Path] = []
    lines = 0
    at = start
    while at < end:  # an hour at a time bounds the memory
        until = min(at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1), end)
        for path, rows in _parts(spot_records(root, symbol, at, until), symbol, out):
            _publish(path, rows)
            files.append(path)
            lines += len(rows)
        at = until
    return Exported(tuple(files), lines)


def part_path(out: Path, symbol: str, instant: datetime) -> Path:
    """File that holds an event of this instant (UTC)."""
    since = instant - instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return out / "raw" / "binance" / symbol / f"{instant:%Y-%m-%d}" / f"part_{since // PART:03d}.jsonl"


def _parts(found: SpotRecords, symbol: str, out: Path) -> Iterator[tuple[Path, list[dict[str, object]]]]:
    rows = sorted([*_trade_rows(found.trades, symbol), *_quote_rows(found.quotes, symbol)], key=lambda row: row[0])
    open_path: Path | None = None
    held: list[dict[str, object]] = []
    for at_us, row in rows:
        path = part_path(out, symbol, datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us))
        if path != open_path and open_path is not None:
            yield open_path, held
            held = []
        open_path = path
        held.append(row)
    if open_path is not None:
        yield open_path, held


def _trade_rows(trades: pl.DataFrame, symbol: str) -> Iterator[tuple[int, dict[str, object]]]:
    columns = trades.select(
        pl.col("time").dt.epoch("us"), "received_ns", "price", "qty", "is_buyer_maker", "first_id", "last_id", "source"
    )
    for at, received_ns, price, qty, maker, first_id, last_id, source in columns.iter_rows():
        side = "sell" if maker else "buy"
        values = (symbol, at // 1000, received_ns // 1_000_000, price, qty, side, None, None, TRADE_STREAM, first_id)
        row: dict[str, object] = dict(zip(FIELDS, values, strict=True))
        yield at, row if source != HEALED_SOURCE else {**row, HEALED_FIELD: last_id}


def _quote_rows(quotes: pl.DataFrame, symbol: str) -> Iterator[tuple[int, dict[str, object]]]:
    columns = quotes.select(pl.col("at").dt.epoch("us"), "received_ns", "bid", "ask")
    for at, received_ns, bid, ask in columns.iter_rows():
        values = (symbol, at // 1000, received_ns // 1_000_000, None, None, None, bid, ask, QUOTE_STREAM, None)
        yield at, dict(zip(FIELDS, values, strict=True))


def _publish(path: Path, rows: list[dict[str, object]]) -> None:
    temp = path.with_name(f".{path.name}-{uuid4().hex}")
    with disk_errors(f"write {path}"):
        changed = make_dirs(path.parent)
        try:
            temp.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
            fsync_file(temp)
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        fsync_dirs([*changed, path.parent])


@dataclass
class ReadLines:
    """Lines of one file.

    Attributes:
        rows: those that can be used, in order.
        torn: the last line has no end: whoever wrote it was killed.
        refused: whole lines that are no record.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    torn: bool = False
    refused: int = 0


def read_lines(path: Path) -> ReadLines:
    """Records of a file; a last line that is torn is left out, and so is a line that is no record.

    Raises:
        StorageError: the file cannot be read.
    """
    found = ReadLines()
    with disk_errors(f"read {path}"):
        data = path.read_bytes()
    lines = data.split(b"\n")
    last = lines.pop()
    for number, line in enumerate([*lines, *([last] if last.strip() else [])]):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            if not isinstance(row, dict) or not isinstance(row["symbol"], str) or _instant_ms(row["ts_recv"]) is None:
                raise ValueError("no record")  # noqa: TRY301 - it is counted as others
        except (orjson.JSONDecodeError, ValueError, KeyError, TypeError):
            if number == len(lines):
                found.torn = True
            else:
                found.refused += 1
            continue
        found.rows.append(row)
    return found


def _instant_ms(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
