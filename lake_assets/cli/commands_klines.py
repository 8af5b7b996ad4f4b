"""`lake backfill-klines`: klines of the spot market for some days back, through Dagster.

Belongs here: the command, which days are launched. Does not belong here: building days (`build`), following a repair of
the minute table (`commands_backfill`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from lake_assets.cli.backfill_progress import Followed, follow_backfills
from lake_assets.cli.commands_backfill import dagster_for
from lake_assets.cli.options import AsJson, refusing
from lake_assets.cli.printing import coloured, messages, show_json
from lake_assets.dagster_names import partition_key, table_names
from lake_assets.lake import Lake, open_existing, open_lake
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.schema.table import Table
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.windows import expected_end, runs_of
from lake_resources.clock import DAY
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.symbols import parse_symbol

app = typer.Typer()


Interval = Literal["1s", "1m", "5m", "15m", "1h", "1d"]


def _symbol_list(text: str) -> list[str]:
    """Symbols that a comma separates, each once.

    Raises:
        SettingsError: one of them is no symbol, or there is none.
    """
    return list(dict.fromkeys(parse_symbol(part) for part in text.split(",") if part.strip())) or [parse_symbol(text)]


@app.command("backfill-klines")
def backfill_klines(
    symbols: Annotated[
        Any,
        typer.Option(
            parser=refusing(_symbol_list),
            metavar="SYMBOLS",
            help="spot symbols, comma separated; default all of the settings",
            show_default=False,
        ),
    ] = None,
    lookback_days: Annotated[int, typer.Option(min=1, max=3650, help="days back from today, today too")] = 180,
    interval: Annotated[Interval, typer.Option(help="length of a candle")] = "1m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the days and launch nothing")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="stay until it is done")] = True,
    as_json: AsJson = False,
) -> None:
    """Load spot klines of the last days, in Dagster.

    Archives come first, REST gives the rest, each day whole; a candle is stored once it is over, never before. Days
    that are whole are left alone; started again it does what is left. Exit code 1 when a day stays open.

    Examples: `lake backfill-klines --symbols SOLUSDT,BTCUSDT --lookback-days 180 --interval 1m`
    """
    settings = LakeSettings()
    table = _table(settings, interval)
    chosen = _symbols(settings, symbols or [])
    lake = (open_existing(settings) if dry_run else open_lake(settings)).of(table)
    log = messages()
    now = lake.clock()
    first = max(settings.start_utc, table.layout.start_of(now - lookback_days * DAY))
    wanted = {symbol: days_to_build(lake, symbol, first, now) for symbol in chosen}
    if as_json:
        show_json([_told(table, symbol, days) for symbol, days in wanted.items()])
    else:
        for symbol, days in wanted.items():
            log.print(f"{symbol} {table.layout.directory}: {len(days):,} day(s) from {first:%Y-%m-%d} on are not whole")
    todo = {symbol: days for symbol, days in wanted.items() if days}
    if dry_run or not todo:
        log.print("nothing is launched (--dry-run)" if todo else coloured("nothing to load", "green"))
        return
    with dagster_for(settings, log) as api:
        backfill = _launch(api, table, todo)
        log.print(f"backfill {api.url}/runs/b/{backfill}")
        if not follow:
            return
        follow_backfills(
            api,
            [
                Followed(symbol, backfill, tuple(table_names(table.layout, symbol)), lake.ledger, frozenset(days), now)
                for symbol, days in todo.items()
            ],
            log,
        )
    left = {symbol: len(days_to_build(lake, symbol, first, now)) for symbol in todo}
    log.print("left open: " + ", ".join(f"{symbol} {count:,} day(s)" for symbol, count in left.items()))
    if any(left.values()):
        raise typer.Exit(1)


def days_to_build(lake: Lake, symbol: str, first: datetime, now: datetime) -> list[datetime]:
    """Starts of the days from `first` on that do not have every candle that is over, or that are in doubt.

    Candles from before the symbol was traded are none that lack.
    """
    layout = lake.store.layout
    held = {row.start: row for row in lake.ledger.partitions(symbol, first, now)}
    listing = lake.ledger.listing(symbol)
    listed = None if listing is None else listing.first
    found = []
    for start in layout.between(first, now):
        begun = start if listed is None else max(start, layout.row_start(listed))
        due = (expected_end(layout, start, now, lake.safety_lag_minutes) - begun) // layout.grain
        row = held.get(start)
        if due > 0 and (row is None or row.row_count < due or row.verdict in ("contradicted", "partial")):
            found.append(start)
    return found


def _table(settings: LakeSettings, interval: Interval) -> Table:
    if interval not in settings.spot_kline_intervals:
        raise SettingsError(
            f"klines of {interval} have no assets in Dagster", remedy="Add it to LAKE_SPOT_KLINE_INTERVALS"
        )
    return SPOT_KLINES[interval]


def _symbols(settings: LakeSettings, wanted: Sequence[str]) -> Sequence[str]:
    unknown = [symbol for symbol in wanted if symbol not in settings.spot_symbols]
    if unknown or not (wanted or settings.spot_symbols):
        raise SettingsError(
            f"{', '.join(unknown) or 'spot'} has no assets in Dagster", remedy="Add it to LAKE_SPOT_SYMBOLS"
        )
    return list(dict.fromkeys(wanted)) or settings.spot_symbols


def _told(table: Table, symbol: str, days: Sequence[datetime]) -> dict[str, Any]:
    return {"table": table.name, "symbol": symbol, "days": [partition_key(table.layout, day) for day in days]}


def _launch(api: DagsterApi, table: Table, todo: dict[str, list[datetime]]) -> str:
    layout = table.layout
    one = timedelta(days=1)
    ranges = [
        (table_names(layout, symbol), partition_key(layout, start), partition_key(layout, end - one))
        for symbol, days in todo.items()
        for start, end in runs_of(days, step=layout.step)
    ]
    return api.launch_backfill(ranges, title=f"{layout.directory} of {', '.join(todo)}")
