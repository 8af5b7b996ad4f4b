"""`lake live`: when the live collector heard the exchange, and which trades it missed.

Belongs here: the command and its tables. Does not belong here: the spans (`collector.outages`), collecting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import AsJson, End, Start, Symbols
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.live.folding import epoch_minute
from lake_assets.windows import floor_minute
from lake_resources.binance.market import MARKETS, UM, Market
from lake_resources.binance.ws.frames import REFUSED, REFUSED_FRAMES
from lake_resources.binance.ws.subscriptions import routes
from lake_resources.clock import from_epoch_ns
from lake_resources.collector.journal import CONNECTIONS_KEPT, ConnectionRow, GapRow, Journal
from lake_resources.collector.outages import Outage, outages
from lake_resources.collector.segments import minutes_on_disk, read_records
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import MarketPaths

app = typer.Typer()
_DEFAULT_RANGE = timedelta(hours=24)
_GAP_COLORS = {"healed": "green", "open": "yellow", "lost": "red"}
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class _Refused:
    """A frame that could not be used."""

    received_at: datetime
    conn: int
    frame: str


@app.command()
def live(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    refused: Annotated[bool, typer.Option("--refused", help="also look for frames that could not be used")] = False,
    as_json: AsJson = False,
) -> None:
    """List the collector's connections, its silence, and lost trades.

    Both markets are shown; `--json` has spot under the key `spot`.
    Silence are spans without a connection, lost the trades that no socket brought. Exit code 1 when a gap of trades
    found in the range is open (not fetched yet) or lost (for ever); spans without a connection alone are 0. The default
    range is the last 24 hours. Connections are remembered for 30 days, gaps for ever. `--refused` reads the raw records
    of the range, which takes about as long as copying them.

    Examples: `lake live --start 2026-01-31` · `lake live BTCUSDT --start 2026-01-31 --end 2026-02-01 --json`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings)
    now = lake.clock()
    last = floor_minute(now) + timedelta(minutes=1) if end is None else end
    first = last - _DEFAULT_RANGE if start is None else start
    if first >= last:
        raise SettingsError(f"the range {first} to {last} is empty", remedy="The end is the first minute after it")
    window = (first, last)
    heard = {
        market.name: _heard(settings, market, window, now, symbols, refused=refused)
        for market in MARKETS.values()
        if settings.symbols_of(market)
    }
    if as_json:
        others = {name: found.as_json() for name, found in heard.items() if name != UM.name}
        show_json({"start": first.isoformat(), "end": last.isoformat()} | heard[UM.name].as_json() | others)
    else:
        for name, found in heard.items():
            _print(terminal(), MARKETS[name], window, found)
    if any(gap.status != "healed" for found in heard.values() for gap in found.gaps):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Heard:
    """What the collector of one market noted in a window."""

    connections: Sequence[ConnectionRow]
    silent: Sequence[Outage]
    gaps: Sequence[GapRow]
    frames: Sequence[_Refused] | None

    def as_json(self) -> dict[str, Any]:
        found = {
            "connections": [_plain(row) for row in self.connections],
            "without_connection": [_plain(each) | {"seconds": _seconds(each)} for each in self.silent],
            "trade_gaps": [_plain(gap) | {"ids": gap.last_id - gap.first_id + 1} for gap in self.gaps],
        }
        return found if self.frames is None else found | {"refused_frames": [_plain(each) for each in self.frames]}


def _heard(
    settings: LakeSettings,
    market: Market,
    window: tuple[datetime, datetime],
    now: datetime,
    symbols: Sequence[str] | None,
    *,
    refused: bool,
) -> _Heard:
    first, last = window
    journal = Journal(settings.resolved_ledger_url, market.name, shard=settings.shard)
    connections = journal.connections(first, last)
    remembered = max(first, now - CONNECTIONS_KEPT)
    silent = [each for route in routes(market.name) for each in outages(connections, route, remembered, last, now)]
    wanted = symbols or settings.symbols_of(market)
    gaps = [gap for gap in journal.gaps(start=first, end=last) if gap.symbol in wanted]
    journal.close()
    segments = MarketPaths(settings.lake_root, market.name).live_records_dir
    return _Heard(connections, silent, gaps, _refused(segments, first, last) if refused else None)


def _refused(segments: Path, first: datetime, last: datetime) -> list[_Refused]:
    found = []
    for minute in minutes_on_disk(segments):
        if epoch_minute(first) <= minute < epoch_minute(last):
            for record in read_records(segments, REFUSED_FRAMES, minute, minute + 1, frozenset((REFUSED,))):
                at = from_epoch_ns(record.received_ns)
                found.append(_Refused(at, record.conn, record.payload.decode(errors="replace")))
    return found


def _plain(row: ConnectionRow | Outage | GapRow | _Refused) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(row).items()}


def _print(console: Console, market: Market, window: tuple[datetime, datetime], found: _Heard) -> None:
    of = "" if market is UM else f" of {market.name}"
    title = f"Connections{of}, {_time(window[0])} to {_time(window[1])} UTC"
    table = _table(title, "route", "opened", "last frame", "closed", "frames", "reason")
    for row in found.connections:
        times = (_time(row.opened_at), _time(row.last_frame_at), _time(row.closed_at) or "open")
        table.add_row(row.route, *times, f"{row.frames:,}", row.reason or "")
    console.print(table)
    table = _table(f"Without a connection{of}", "route", "from", "to", "seconds")
    for each in found.silent:
        table.add_row(each.route, _time(each.start), _time(each.end), f"{_seconds(each):,.1f}")
    console.print(table)
    headings = ("symbol", "first id", "last id", "ids", "found", "became", "reason")
    table = _table(f"{'aggTrades' if market is UM else 'Trades'}{of} that no socket brought", *headings)
    for gap in found.gaps:
        ids = (str(gap.first_id), str(gap.last_id), f"{gap.last_id - gap.first_id + 1:,}")
        became = coloured(gap.status, _GAP_COLORS[gap.status])
        table.add_row(gap.symbol, *ids, _time(gap.found_at), became, gap.detail)
    console.print(table)
    if found.frames is not None:
        table = _table(f"Frames{of} that could not be used", "received", "socket", "frame")
        for frame in found.frames:
            table.add_row(_time(frame.received_at), str(frame.conn), frame.frame[:_SHOWN_CHARACTERS])
        console.print(table)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("frames", "seconds", "ids") else "left")
    return table


def _time(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"


def _seconds(each: Outage) -> float:
    return (each.end - each.start).total_seconds()
