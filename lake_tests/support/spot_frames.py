"""Frames of spot streams as Binance sends them, and an intake that hears them without sockets.

Belongs here: building frames, feeding recorded files and scripted ones. Does not belong here: any expectation.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from lake_resources.binance.market import SPOT
from lake_resources.binance.spot_streams import KLINES_1M
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.collector.intake import Intake
from lake_resources.collector.segments import SegmentWriter
from lake_tests.support.observers import SilentObserver

SYMBOL = "BTCUSDT"
START_MS = 1_790_000_040_000


def trade(number: int, ms: int, price: float = 100.0, quantity: float = 1.0, *, sell: bool = False) -> dict[str, Any]:
    return {
        "e": "trade", "E": ms + 2, "s": SYMBOL, "t": number, "p": f"{price:.8f}", "q": f"{quantity:.8f}", "T": ms,
        "m": sell, "M": True,
    }  # fmt: skip


def quote(number: int, bid: float = 99.9, ask: float = 100.1) -> dict[str, Any]:
    return {"u": number, "s": SYMBOL, "b": f"{bid:.8f}", "B": "2.00000000", "a": f"{ask:.8f}", "A": "3.00000000"}


def wrapped(frame: dict[str, Any]) -> bytes:
    name = "trade" if "e" in frame else "bookTicker"
    return orjson.dumps({"stream": f"{frame['s'].lower()}@{name}", "data": frame})


class Hearing:
    """An intake of one spot symbol on a clock that is moved by hand."""

    def __init__(self, segments: Path, **given: Any) -> None:
        self.now_ns = START_MS * 1_000_000
        self.segments = segments
        self.writer = SegmentWriter(segments)
        self.intake = Intake([SYMBOL], self.writer, SilentObserver(), lambda: self.now_ns, 1, market=SPOT, **given)
        self.session = StreamSession("", (SYMBOL,), SessionLimits(), SPOT)
        self.intake.connection("opened", 1)

    def hear(self, payload: bytes, at_ns: int | None = None) -> None:
        """A frame came, at an instant of the local clock."""
        self.now_ns = self.now_ns if at_ns is None else at_ns
        self.intake.frame(1, self.session, payload, self.now_ns / 1e9)

    def play(self, *paths: Path) -> None:
        """Hear recorded files, each frame at its own local stamp; depth was not subscribed."""
        for path in paths:
            with gzip.open(path) as lines:
                for line in lines:
                    stamp, _, payload = line.rstrip().partition(b" ")
                    if b"@depth" not in payload[:60] and payload.startswith(b'{"stream"'):
                        self.hear(payload, int(stamp))

    def close(self) -> None:
        """All that was heard is on the disk."""
        buffers, _ = self.writer.take()
        self.writer.write(buffers, self.intake.next_seq)
        self.writer.close_before(None)


def official_minutes(recorded: Callable[[str], Path], start: datetime, end: datetime) -> pl.DataFrame:
    """The klines of BTCUSDT that the exchange published of 2024-08-08 and 09, as a wire frame."""
    columns = KLINES_1M.columns
    files = [recorded(f"vision/spot/klines_1m/BTCUSDT-1m-2024-08-0{day}.csv") for day in (8, 9)]
    rows = pl.concat(pl.read_csv(path, has_header=False) for path in files)
    named = rows.select(pl.col(old).alias(new) for old, new in zip(rows.columns, columns, strict=False))
    stamps = [pl.from_epoch(name, time_unit="ms").dt.replace_time_zone("UTC") for name in ("open_time", "close_time")]
    typed = named.with_columns(stamps).cast(pl.Schema(columns))
    return typed.filter(pl.col("open_time").is_between(start, end, closed="left"))
