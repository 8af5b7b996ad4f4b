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
from typing import BinaryIO
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
CHUNK_BYTES = 8 << 20
"""Lines of so many bytes are read together: a minute of raw lines is smaller, files of others may be of any size."""
_LINE_BYTES = 1 << 16
_FIRST_MS, _LAST_MS = 1_230_768_000_000, 4_102_444_800_000  # 2009 to 2100: before and after, nothing was ever heard


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
    """Lines of one file, or of a chunk of it.

    Attributes:
        rows: those that can be used, in order.
        torn: the last line has no end: whoever wrote it was killed.
        refused: whole lines that are no record.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    torn: bool = False
    refused: int = 0


def read_lines(path: Path) -> Iterator[ReadLines]:
    """Records of a file in chunks, one at least; a last line that is torn is left out, and so is one that is no record.

    Raises:
        StorageError: the file cannot be read.
    """
    found, size_bytes = ReadLines(), 0
    with disk_errors(f"read {path}"), path.open("rb") as file:
        while line := file.readline(_LINE_BYTES):
            size_bytes += len(line)
            row = None if _is_longer(line, file) else _record(line)
            if row is not None:
                found.rows.append(row)
            elif line.endswith(b"\n") and line.strip():
                found.refused += 1
            elif line.strip():
                found.torn = file.tell() == path.stat().st_size
                found.refused += not found.torn
            if size_bytes >= CHUNK_BYTES:
                yield found
                found, size_bytes = ReadLines(), 0
    yield found


def is_something_else(path: Path) -> bool:
    """Whether a file has whole lines and none of them is a record; it is read up to the first that is one.

    Raises:
        StorageError: the file cannot be read.
    """
    lines = False
    with disk_errors(f"read {path}"), path.open("rb") as file:
        while line := file.readline(_LINE_BYTES):
            longer = _is_longer(line, file)
            if not longer and _record(line) is not None:
                return False
            lines |= longer or (line.endswith(b"\n") and bool(line.strip()))
    return lines


def _is_longer(line: bytes, file: BinaryIO) -> bool:
    """Whether a line is longer than any record; the rest of it is passed by."""
    longer = len(line) == _LINE_BYTES and not line.endswith(b"\n")
    while longer and (rest := file.readline(_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass
    return longer


def _record(line: bytes) -> dict[str, object] | None:
    """What a line says; None where it is no record."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("symbol"), str) or not _is_instant(row.get("ts_recv")):
        return None
    return row if row.get("ts_event") is None or _is_instant(row["ts_event"]) else None


def _is_instant(value: object) -> bool:
    """Whether a value is a time of the exchange in epoch ms."""
    return isinstance(value, int | float) and not isinstance(value, bool) and _FIRST_MS <= value < _LAST_MS
