"""Seconds of spot: a day from its archive, read back, and an hour of twenty symbols folded again from its records.

Belongs here: making the day (archive, and the same trades as the JSON lines of the earlier system), and the measured
work. Does not belong here: the earlier system's way (`naive_spot`), judging the figures.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl

from lake_assets.build.compaction import run_compaction
from lake_assets.build.hours import build_partitions
from lake_assets.build.spot_rows import SECOND_ROWS
from lake_assets.lake import Lake, open_lake
from lake_assets.live.raw_lines import part_path
from lake_assets.live.spot_records import spot_records
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.transforms.quote_placing import quotes_at_ends
from lake_assets.transforms.trade_fold import folded
from lake_resources.binance.market import SPOT
from lake_resources.binance.spot_streams import KLINES_1S
from lake_resources.binance.ws.stream_session import SessionLimits, StreamSession
from lake_resources.clock import DAY, HOUR, SECOND
from lake_resources.collector.intake import Intake
from lake_resources.collector.segments import SegmentWriter
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import MarketPaths
from lake_resources.storage.reader import scan
from lake_tests.bench.meter import cpu_s, metered
from lake_tests.support.observers import SilentObserver
from lake_tests.support.spot_days import SYMBOL, klines, trades

FIRST = datetime(2026, 9, 13, tzinfo=UTC)
NOW = FIRST + 20 * DAY
TRADES = 2_000_000
"""Of a busy day. The archive of its seconds is as large on any day, the JSON lines of its trades are not."""
NOWHERE = "http://127.0.0.1:9"
SYMBOLS, TRADES_PER_S, QUOTES_PER_S = 20, 5, 15
_READS = 41


def archive_path() -> str:
    """Where the archive lies below a base URL."""
    return KLINES_1S.url_path(SYMBOL, f"{FIRST:%Y-%m-%d}").lstrip("/")


def make_day(root: Path) -> None:
    """The archive below `root`, the JSON lines below `root/raw`; nothing where they are there."""
    path = root / archive_path()
    if path.exists():
        return
    made = trades(FIRST, DAY, count=TRADES)
    bars = klines(made, FIRST, DAY, SECOND)
    stamps = [pl.col(name).dt.epoch("us") for name in ("open_time", "close_time")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        text = bars.with_columns(stamps, ignore=pl.lit(0)).write_csv(include_header=False)
        archive.writestr(path.with_suffix(".csv").name, text)
    told = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{told}  {path.name}\n")
    for start, rows in made.with_columns(minute=pl.col("time").dt.truncate("1m")).group_by(
        "minute", maintain_order=True
    ):
        lines = part_path(root, SYMBOL, start[0])  # type: ignore[arg-type]
        lines.parent.mkdir(parents=True, exist_ok=True)
        with lines.open("wb") as file:
            for row in rows.iter_rows(named=True):
                at = int(row["time"].timestamp() * 1000)
                told_row = {
                    "symbol": SYMBOL, "ts_event": at, "ts_recv": at + 40, "price": row["price"], "qty": row["qty"],
                    "side": "sell" if row["is_buyer_maker"] else "buy", "bid": None, "ask": None, "stream": "trade",
                }  # fmt: skip
                file.write(orjson.dumps(told_row, option=orjson.OPT_APPEND_NEWLINE))


def _lake(root: Path, vision_url: str) -> Lake:
    settings = LakeSettings(
        _env_file=None, root=root, exchange="simulator", rest_url=NOWHERE, spot_rest_url=NOWHERE,
        vision_url=vision_url, start=FIRST.date(),
    )  # fmt: skip
    return replace(open_lake(settings, clock=lambda: NOW), ask_rest=False).of(SPOT_BARS_1S)


def _build(lake: Lake) -> None:
    hours = [FIRST + n * HOUR for n in range(24)]
    for day in build_partitions(lake, SYMBOL, hours, builder=SECOND_ROWS, now=NOW, report=lambda _: None):
        wrong = [(each.hour, each.status, each.reason) for each in day.hours if each.status != "committed"]
        if wrong:
            raise SystemExit(f"{wrong[:2]}")


def build(url: str, scratch: str) -> None:
    """A day from its archive: downloaded, verified, 24 hours gated and committed."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="spot-") as root, metered():
        _build(_lake(Path(root), url))


def read(url: str, scratch: str) -> None:
    """The day by the lake's reader and by bare polars on the same files, in turns: as hour files, then as one file."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="spot-") as root, metered() as figures:
        lake = _lake(Path(root), url)
        _build(lake)
        hours = [lake.catalog.partition_path(SYMBOL, FIRST + n * HOUR) for n in range(24)]
        figures |= {f"hours_{name}": value for name, value in _reads(lake, hours).items()}
        done = list(run_compaction(SPOT_BARS_1S, lake.store, SYMBOL, now=NOW, clock=lake.clock))
        assert [each.status for each in done] == ["compacted"]
        assert done[0].path is not None
        figures |= {f"day_{name}": value for name, value in _reads(lake, [done[0].path]).items()}


def _reads(lake: Lake, files: list[Path]) -> dict[str, float]:
    def ours() -> pl.DataFrame:
        return scan(lake.store, SYMBOL, FIRST, FIRST + DAY, schema=SPOT_BARS_1S.polars_schema).collect()

    def bare() -> pl.DataFrame:
        return pl.read_parquet(files, glob=False, hive_partitioning=False)

    spent: dict[str, list[float]] = {}
    for name, work in (("ours", ours), ("bare", bare)) * _READS:
        wall, cpu = time.perf_counter(), cpu_s()
        assert work().height == 86_400
        spent.setdefault(f"{name}_ms", []).append((time.perf_counter() - wall) * 1000)
        spent.setdefault(f"{name}_cpu_ms", []).append((cpu_s() - cpu) * 1000)
    return {name: statistics.median(found) for name, found in spent.items()}


def refold(scratch: str, minutes: int) -> None:
    """An hour's records of twenty symbols folded to seconds with quotes; minutes are all alike, so a few are enough."""
    symbols = [f"A{number:02}USDT" for number in range(SYMBOLS)]
    with tempfile.TemporaryDirectory(dir=scratch, prefix="spot-") as folder, metered() as figures:
        root = Path(folder)
        _record(root, symbols, minutes)
        cpu = cpu_s()
        for symbol in symbols:
            found = spot_records(root, symbol, FIRST, FIRST + minutes * 60 * SECOND)
            bars = folded(found.fills, SECOND)
            quotes_at_ends(bars["open_time"], SECOND, found.quotes.drop("received_ns"), found.connected)
            assert bars.height > 60 * minutes - 5
        figures["refold_x"] = 60 * minutes / (cpu_s() - cpu)


def _record(root: Path, symbols: list[str], minutes: int) -> None:
    """What a collector writes of so many minutes."""
    now_ns = 0
    writer = SegmentWriter(MarketPaths(root, SPOT.name).live_records_dir)
    intake = Intake(symbols, writer, SilentObserver(), lambda: now_ns, 1, market=SPOT)
    session = StreamSession("", tuple(symbols), SessionLimits(), SPOT)
    frames = _frames()
    start_ms = int(FIRST.timestamp() * 1000)
    for second in range(60 * minutes):
        for number in range(TRADES_PER_S + QUOTES_PER_S):
            ms = start_ms + 1000 * second + number * 45
            now_ns = (ms + 20) * 1_000_000
            for symbol in symbols:
                if number % 4 == 0:
                    payload = frames["trade"](symbol, second * TRADES_PER_S + number // 4, ms)
                else:
                    payload = frames["quote"](symbol, second * QUOTES_PER_S + number, ms)
                intake.frame(1, session, payload, ms / 1000)
        buffers, _ = writer.take()
        writer.write(buffers, intake.next_seq)
    writer.close_before(None)


def _frames() -> dict[str, Callable[[str, int, int], bytes]]:
    def trade(symbol: str, number: int, ms: int) -> bytes:
        return (
            f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade","E":{ms + 2},"s":"{symbol}","t":{number},'
            f'"p":"{150 + number % 7 / 100:.8f}","q":"{1 + number % 5 / 10:.8f}","T":{ms},"m":false,"M":true}}}}'
        ).encode()

    def quote(symbol: str, number: int, ms: int) -> bytes:
        del ms
        return (
            f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"u":{number},"s":"{symbol}","b":"149.99000000",'
            f'"B":"2.00000000","a":"150.10000000","A":"3.00000000"}}}}'
        ).encode()

    return {"trade": trade, "quote": quote}


def main() -> None:
    """`spot make ROOT`, `spot build URL SCRATCH`, `spot read URL SCRATCH`, `spot refold SCRATCH MINUTES`."""
    what, *rest = sys.argv[1:]
    if what == "make":
        make_day(Path(rest[0]))
    elif what == "refold":
        refold(rest[0], int(rest[1]))
    else:
        {"build": build, "read": read}[what](*rest)


if __name__ == "__main__":
    main()
