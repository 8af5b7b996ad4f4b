"""Old trees of raw JSON lines put into the lake as records, beside those that its collector writes.

Belongs here: finding files, lines to records, importing each file once. Does not belong here: the lines (`raw_lines`),
reading records (`spot_records`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lake_assets.live.raw_lines import HEALED_FIELD, ReadLines, is_something_else, read_lines
from lake_resources.binance.market import SPOT
from lake_resources.binance.ws.frames import BOOK_TICKER, CLOCK, EVERY_SYMBOL, HEALED, TRADE
from lake_resources.clock import MINUTE_MS
from lake_resources.collector.segments import SegmentWriter, recover
from lake_resources.errors import NotYet, SettingsError
from lake_resources.storage.catalog import MarketPaths
from lake_resources.storage.disk import replace_text
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.locks import writer_lock
from lake_resources.symbols import parse_symbol

_IMPORTED = "imported.json"


@dataclass
class Imported:
    """What an import did.

    Attributes:
        files: that were imported.
        known: files that an earlier import had brought already.
        lines: records taken.
        without_id: trades among them without an id, which prove nothing and so are in no bar.
        torn: files whose last line was torn.
        refused: lines that are no record.
        foreign: files with lines of which none is a record: they are something else, and were left out.
    """

    files: int = 0
    known: int = 0
    lines: int = 0
    without_id: int = 0
    torn: int = 0
    refused: int = 0
    foreign: list[str] = field(default_factory=list)


def import_raw(root: Path, tree: Path, clock_ns: Callable[[], int]) -> Imported:
    """Import every `*.jsonl` file below a directory, each once, whatever it is called.

    Args:
        root: directory of the lake.
        tree: directory, or one file.
        clock_ns: local time, epoch ns; records are numbered from it.

    Raises:
        SettingsError: there is no such directory or file, or none of the files is one of raw lines.
        NotYet: no such file is below it.
        StorageError: a file cannot be read, or another import is running.
        DiskFull: no space; what was imported stays, and the next import goes on.
    """
    # A pipe of that name would be waited for.
    paths = [tree] if tree.is_file() else sorted(path for path in tree.rglob("*.jsonl") if path.is_file())
    if not tree.exists():
        raise SettingsError(f"there is no {tree}", remedy="Name the directory above raw/, or a file")
    if not paths:
        raise NotYet(f"there is no *.jsonl file below {tree}", remedy="Name the directory above raw/, or a file")
    foreign = [path for path in paths if is_something_else(path)]
    if len(foreign) == len(paths):
        raise SettingsError(
            f"{tree} holds no raw lines: no line of its {len(paths)} file(s) is a record",
            remedy="Name the directory above raw/, or a file of JSON lines as `lake raw-export` writes them",
        )
    paths = [path for path in paths if path not in set(foreign)]
    places = MarketPaths(root, SPOT.name)
    segments, told = places.imported_records_dir, Imported(foreign=[str(path) for path in foreign])
    with writer_lock(places.import_lock_path, timeout_s=0):
        recover(segments)
        known = _known(segments)
        taking = _Taking(SegmentWriter(segments), clock_ns() // 1000)
        for directory in dict.fromkeys(path.parent for path in paths):
            for path in (each for each in paths if each.parent == directory):
                digest = file_hash(path)
                if digest in known:
                    told.known += 1
                    continue
                taking.take(read_lines(path), told)
                known[digest] = path.name
                told.files += 1
            taking.writer.close_before(None)
            replace_text(segments / _IMPORTED, json.dumps(known, indent=0) + "\n")
    return told


def _known(segments: Path) -> dict[str, str]:
    """Files that were imported, by their sha256."""
    try:
        held = json.loads((segments / _IMPORTED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # imported again, its trades are still there once
        return {}
    return held if isinstance(held, dict) else {}


@dataclass
class _Taking:
    """Puts lines of files into records.

    Attributes:
        writer: of the segments.
        seq: number of the next record.
    """

    writer: SegmentWriter
    seq: int
    _newest_ms: int = 0
    _run: int = 0
    _offset_ms: int = 0

    def take(self, chunks: Iterable[ReadLines], told: Imported) -> None:
        """The lines of one file."""
        own = False
        for found in chunks:
            told.torn += found.torn
            told.refused += found.refused
            self._offset_ms = _measured(found.rows, self._offset_ms)
            own |= any(row.get("price") is None and row.get("ts_event") != row["ts_recv"] for row in found.rows)
            self._take(found, told, own=own)

    def _take(self, found: ReadLines, told: Imported, *, own: bool) -> None:
        for row in found.rows:
            try:
                for symbol, kind, received_ms, minute, payload in self._records(row, own=own):
                    self._note(received_ms, kind)
                    body = orjson.dumps(payload)
                    self.writer.add(self.seq, received_ms * 1_000_000, self._run, kind, symbol, minute, body)
                    self.seq += 1
            except (SettingsError, ValueError, TypeError, KeyError, OverflowError):
                told.refused += 1
                continue
            told.lines += 1
            told.without_id += row.get("price") is not None and row.get("trade_id") is None
        buffers, _ = self.writer.take()
        if buffers:
            self.writer.write(buffers, self.seq)

    def _note(self, received_ms: int, kind: int) -> None:
        """Frames that follow each other within a minute were heard on one connection; what heals a gap was not."""
        if kind == HEALED:
            return
        if not -MINUTE_MS <= received_ms - self._newest_ms <= MINUTE_MS:
            self._run, self._newest_ms = self._run + 1, received_ms
        self._newest_ms = max(self._newest_ms, received_ms)

    def _records(self, row: dict[str, Any], *, own: bool) -> Iterator[tuple[str, int, int, int, Any]]:
        """Symbol, kind, receive time (ms), minute and content of each record of a line."""
        symbol, received = parse_symbol(row["symbol"]), int(row["ts_recv"])
        if row.get("price") is None:
            placed = int(row["ts_event"]) if own else received + self._offset_ms
            minute = placed // MINUTE_MS
            bid, ask = _finite(row["bid"]), _finite(row["ask"])
            yield EVERY_SYMBOL, CLOCK, received, minute, {"offset_ns": (placed - received) * 1_000_000}
            yield symbol, BOOK_TICKER, received, minute, {"u": 0, "s": symbol, "b": str(bid), "a": str(ask)}
            return
        at, number = int(row["ts_event"]), row.get("trade_id")
        number = None if number is None else int(number)
        price, qty, maker = str(_finite(row["price"])), str(_finite(row["qty"])), row["side"] == "sell"
        last = row.get(HEALED_FIELD)
        if last is not None and number is not None:
            told = {"a": number, "p": price, "q": qty, "f": number, "l": int(last), "T": at, "m": maker}
            yield symbol, HEALED, received, at // MINUTE_MS, [told]
            return
        told = {"e": "trade", "E": at, "s": symbol, "t": number, "p": price, "q": qty, "T": at, "m": maker}
        yield symbol, TRADE, received, at // MINUTE_MS, told


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no price or quantity")
    return number


def _measured(rows: list[dict[str, Any]], before_ms: int) -> int:
    """Exchange's clock minus the local one, ms, as the trades of a file show it; as before where it has none."""
    took = [
        int(row["ts_recv"]) - int(row["ts_event"])
        for row in rows
        if row.get("price") is not None and row.get("ts_event") is not None
    ]
    return -min(took) if took else before_ms
