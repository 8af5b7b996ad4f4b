"""`lake live`: when the live collector heard the exchange, and which trades it missed.

Belongs here: the command and its tables. Does not belong here: the spans (`collector.outages`), collecting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import AsJson, End, Start, Symbols, chosen_symbols
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.live.folding import epoch_minute
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import floor_minute
from lake_resources.binance.ws.frames import REFUSED, REFUSED_FRAMES
from lake_resources.binance.ws.subscriptions import routes
from lake_resources.collector.journal import CONNECTIONS_KEPT, ConnectionRow, GapRow, Journal
from lake_resources.collector.outages import Outage, outages
from lake_resources.collector.segments import minutes_on_disk, read_records
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog

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
    journal = Journal(settings.resolved_ledger_url, lake.store.layout.market)
    connections = journal.connections(first, last)
    remembered = max(first, now - CONNECTIONS_KEPT)
    silent = [
        each for route in routes(UM_MINUTE.layout.market) for each in outages(connections, route, remembered, last, now)
    ]
    wanted = chosen_symbols(symbols, settings)
    gaps = [gap for gap in journal.gaps(start=first, end=last) if gap.symbol in wanted]
    journal.close()
    frames = _refused(lake.catalog, first, last) if refused else None
    if as_json:
        show_json(_json(first, last, connections, silent, gaps, frames))
    else:
        _print(terminal(), (first, last), connections, silent, gaps, frames)
    if any(gap.status != "healed" for gap in gaps):
        raise typer.Exit(1)


def _refused(catalog: Catalog, first: datetime, last: datetime) -> list[_Refused]:
    found = []
    for minute in minutes_on_disk(catalog.live_records_dir):
        if epoch_minute(first) <= minute < epoch_minute(last):
            records = read_records(catalog.live_records_dir, REFUSED_FRAMES, minute, minute + 1, frozenset((REFUSED,)))
            for record in records:
                at = datetime.fromtimestamp(record.received_ns / 1e9, UTC)
                found.append(_Refused(at, record.conn, record.payload.decode(errors="replace")))
    return found


def _json(
    first: datetime,
    last: datetime,
    connections: Sequence[ConnectionRow],
    silent: Sequence[Outage],
    gaps: Sequence[GapRow],
    frames: Sequence[_Refused] | None,
) -> dict[str, Any]:
    found = {
        "start": first.isoformat(),
        "end": last.isoformat(),
        "connections": [_plain(row) for row in connections],
        "without_connection": [_plain(each) | {"seconds": _seconds(each)} for each in silent],
        "trade_gaps": [_plain(gap) | {"ids": gap.last_id - gap.first_id + 1} for gap in gaps],
    }
    return found if frames is None else found | {"refused_frames": [_plain(each) for each in frames]}


def _plain(row: ConnectionRow | Outage | GapRow | _Refused) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(row).items()}


def _print(
    console: Console,
    window: tuple[datetime, datetime],
    connections: Sequence[ConnectionRow],
    silent: Sequence[Outage],
    gaps: Sequence[GapRow],
    frames: Sequence[_Refused] | None,
) -> None:
    title = f"Connections, {_time(window[0])} to {_time(window[1])} UTC"
    table = _table(title, "route", "opened", "last frame", "closed", "frames", "reason")
    for row in connections:
        times = (_time(row.opened_at), _time(row.last_frame_at), _time(row.closed_at) or "open")
        table.add_row(row.route, *times, f"{row.frames:,}", row.reason or "")
    console.print(table)
    table = _table("Without a connection", "route", "from", "to", "seconds")
    for each in silent:
        table.add_row(each.route, _time(each.start), _time(each.end), f"{_seconds(each):,.1f}")
    console.print(table)
    headings = ("symbol", "first id", "last id", "ids", "found", "became", "reason")
    table = _table("aggTrades that no socket brought", *headings)
    for gap in gaps:
        ids = (str(gap.first_id), str(gap.last_id), f"{gap.last_id - gap.first_id + 1:,}")
        became = coloured(gap.status, _GAP_COLORS[gap.status])
        table.add_row(gap.symbol, *ids, _time(gap.found_at), became, gap.detail)
    console.print(table)
    if frames is not None:
        table = _table("Frames that could not be used", "received", "socket", "frame")
        for frame in frames:
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
