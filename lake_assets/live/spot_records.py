"""What sockets delivered of a spot symbol, from the collector's records: trades, quotes, when the socket stood.

Belongs here: records to frames, all at once. Does not belong here: folding trades and placing quotes (`transforms`),
recording (`lake_resources.collector`).
A quote carries no time of the exchange: it is placed by the offset of the clocks that was in force when it came, which
lies among the records.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl

from lake_assets.live.frame_columns import columns_of_frames
from lake_assets.transforms.quote_placing import QUOTES, Span
from lake_assets.transforms.trade_fold import FILLS
from lake_resources.binance.market import SPOT
from lake_resources.binance.wire_columns import UTC_US
from lake_resources.binance.ws.frames import BOOK_TICKER, CLOCK, CONNECTION, HEALED, KLINE, TRADE
from lake_resources.clock import MINUTE_MS, epoch_ms
from lake_resources.collector.segments import RecordColumns, read_columns
from lake_resources.spans import within
from lake_resources.storage.catalog import MarketPaths

_KINDS = frozenset((TRADE, HEALED, BOOK_TICKER, KLINE, CLOCK, CONNECTION))
_TRADE_FIELDS: dict[str, pl.DataType] = {
    "t": pl.Int64(),
    "T": pl.Int64(),
    "p": pl.String(),
    "q": pl.String(),
    "m": pl.Boolean(),
}
_QUOTE_FIELDS: dict[str, pl.DataType] = dict.fromkeys(("b", "B", "a", "A"), pl.String())
HEALED_SOURCE, SOCKET_SOURCE = "rest", "ws"
TRADES_HEARD: dict[str, pl.DataType] = {**FILLS, "source": pl.String(), "received_ns": pl.Int64()}
"""`FILLS`, with where each row comes from (`ws`, or `rest` where it heals a gap) and when it was received, epoch ns."""
QUOTES_HEARD: dict[str, pl.DataType] = {**QUOTES, "received_ns": pl.Int64()}
"""`QUOTES`, and when each was received by the local clock, epoch ns."""


@dataclass(frozen=True)
class SpotRecords:
    """What was heard of one symbol in a window.

    Attributes:
        trades: columns `TRADES_HEARD`, in the order of ids; a row of several heals a gap and may repeat single ones.
        quotes: columns `QUOTES_HEARD`, in the order in which they were received.
        connected: spans, half-open, on the exchange's clock (UTC), in which the socket was up without a break.
        clock_offset: exchange's clock minus the local one, as it was last in the window; None where it is not known.
        closed: frames that close klines of a second, as they came; none of imported records.
    """

    trades: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TRADES_HEARD))
    quotes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=QUOTES_HEARD))
    connected: Sequence[Span] = ()
    clock_offset: timedelta | None = None
    closed: Sequence[bytes] = ()

    @property
    def fills(self) -> pl.DataFrame:
        """The trades alone, columns `FILLS`."""
        return self.trades.select(list(FILLS))


def spot_records(root: Path, symbol: str, start: datetime, end: datetime) -> SpotRecords:
    """What was heard of a symbol in `[start, end)`, from collected and from imported records.

    Args:
        root: directory of the lake.
        symbol: upper case.
        start: UTC.
        end: UTC.
    """
    paths = MarketPaths(root, SPOT.name)
    parts = [read_spot(each, symbol, start, end) for each in (paths.live_records_dir, paths.imported_records_dir)]
    heard, imported = parts
    if imported.trades.is_empty() and imported.quotes.is_empty():
        return heard
    return SpotRecords(
        pl.concat([heard.trades, imported.trades]).sort("first_id", maintain_order=True),
        pl.concat([heard.quotes, imported.quotes]).sort("at", maintain_order=True),
        _merged([*heard.connected, *imported.connected]),
        heard.clock_offset if heard.clock_offset is not None else imported.clock_offset,
        heard.closed,
    )


def read_spot(segments: Path, symbol: str, start: datetime, end: datetime) -> SpotRecords:
    """What the records of one directory hold of a symbol in `[start, end)`.

    Args:
        segments: directory of raw records.
        symbol: upper case.
        start: UTC.
        end: UTC.
    """
    first, last = _minute(start), _minute(end - timedelta(microseconds=1)) + 1
    found = read_columns(segments, symbol, first, last, _KINDS)
    clock = _Clock.of(found[CLOCK])
    trades = pl.concat([_heard_trades(found[TRADE]), _healed_trades(found[HEALED])])
    inside = within("time", start, end)
    quotes = _quotes(found[BOOK_TICKER], clock)
    return SpotRecords(
        trades.filter(inside).sort("first_id", "last_id", maintain_order=True),
        quotes.filter(within("at", start, end)),
        _connected(found, clock),
        clock.last,
        found[KLINE].payload,
    )


@dataclass(frozen=True)
class _Clock:
    """The offsets that were in force, by the local time from which on."""

    since_ns: list[int]
    offset_ns: list[int]

    @classmethod
    def of(cls, told: RecordColumns) -> _Clock:
        rows = sorted(zip(told.seq, told.received_ns, told.payload, strict=True))
        return cls([received for _, received, _ in rows], [orjson.loads(body)["offset_ns"] for _, _, body in rows])

    @property
    def last(self) -> timedelta | None:
        return timedelta(microseconds=self.offset_ns[-1] // 1000) if self.offset_ns else None

    def at(self, received_ns: int) -> datetime:
        """An instant of the local clock on the exchange's."""
        place = max(bisect_right(self.since_ns, received_ns) - 1, 0)
        offset = self.offset_ns[place] if self.offset_ns else 0
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=(received_ns + offset) // 1000)

    def offsets(self, received_ns: pl.Series) -> pl.Series:
        """The offset for each instant; before the first that was told, that one."""
        if not self.offset_ns:
            return pl.zeros(len(received_ns), pl.Int64, eager=True)
        told = pl.DataFrame({"since": self.since_ns, "offset": self.offset_ns}).sort("since", maintain_order=True)
        asked = pl.DataFrame({"since": received_ns, "row": range(len(received_ns))}).sort("since")
        joined = asked.join_asof(told.unique("since", keep="last", maintain_order=True), on="since").sort("row")
        return joined["offset"].fill_null(self.offset_ns[0])


def _heard_trades(records: RecordColumns) -> pl.DataFrame:
    rows = columns_of_frames(records.payload, _TRADE_FIELDS)
    return (
        rows.with_columns(received_ns=pl.Series(records.received_ns, dtype=pl.Int64))
        .filter(pl.col("t").is_not_null())
        .select(
            first_id="t",
            last_id="t",
            time=(pl.col("T") * 1000).cast(UTC_US),
            price=pl.col("p").cast(pl.Float64),
            qty=pl.col("q").cast(pl.Float64),
            is_buyer_maker="m",
            source=pl.lit(SOCKET_SOURCE),
            received_ns="received_ns",
        )
        .cast(pl.Schema(TRADES_HEARD))
    )


def _healed_trades(records: RecordColumns) -> pl.DataFrame:
    rows = [
        (row["f"], row["l"], row["T"] * 1000, float(row["p"]), float(row["q"]), row["m"], HEALED_SOURCE, received_ns)
        for received_ns, payload in zip(records.received_ns, records.payload, strict=True)
        for row in orjson.loads(payload)
    ]
    schema = {**TRADES_HEARD, "time": pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row").cast(pl.Schema(TRADES_HEARD))


def _quotes(records: RecordColumns, clock: _Clock) -> pl.DataFrame:
    received = pl.Series("received_ns", records.received_ns, dtype=pl.Int64)
    rows = columns_of_frames(records.payload, _QUOTE_FIELDS).with_columns(
        received, offset=clock.offsets(received), seq=pl.Series(records.seq, dtype=pl.UInt64)
    )
    return (
        rows.sort("seq", maintain_order=True)
        .select(
            at=((pl.col("received_ns") + pl.col("offset")) // 1000).cast(UTC_US),
            bid=pl.col("b").cast(pl.Float64, strict=False),
            bid_qty=pl.col("B").cast(pl.Float64, strict=False),
            ask=pl.col("a").cast(pl.Float64, strict=False),
            ask_qty=pl.col("A").cast(pl.Float64, strict=False),
            received_ns="received_ns",
        )
        .cast(pl.Schema(QUOTES_HEARD))
    )


def _connected(found: dict[int, RecordColumns], clock: _Clock) -> list[Span]:
    """When the sockets stood, from the first to the last frame that each is known to have brought."""
    spans: dict[int, tuple[int, int]] = {}
    for kind in (TRADE, BOOK_TICKER, KLINE):
        columns = found[kind]
        frame = pl.DataFrame(
            [pl.Series("conn", columns.conn, pl.Int64), pl.Series("ns", columns.received_ns, pl.Int64)]
        )
        for conn, first, last in frame.group_by("conn").agg(pl.min("ns").alias("a"), pl.max("ns").alias("b")).rows():
            low, high = spans.get(conn, (first, last))
            spans[conn] = min(low, first), max(high, last)
    for conn, payload in zip(found[CONNECTION].conn, found[CONNECTION].payload, strict=True):
        told = orjson.loads(payload)
        if conn in spans and told["event"] == "closed" and "last_frame_ns" in told:
            spans[conn] = spans[conn][0], max(spans[conn][1], int(told["last_frame_ns"]))
    moment = timedelta(microseconds=1)
    return _merged([(clock.at(first), clock.at(last) + moment) for first, last in spans.values()])


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans that touch or overlap as one: at a rollover two sockets stand."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _minute(instant: datetime) -> int:
    return epoch_ms(instant) // MINUTE_MS
