"""Which tables, archive streams and symbols the settings ask for, and so have assets in Dagster.

Belongs here: asking that of the settings, and refusing what they do not ask for. Does not belong here: the assets
(`assets.table_list`); commands that only talk to Dagster's web server do not import it.
"""

from __future__ import annotations

from collections.abc import Iterable

from lake_assets.schema.table import Table
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.binance.market import MARKETS, SPOT, UM
from lake_resources.binance.spot_streams import KLINES_1M, KLINES_1S, SPOT_STREAMS
from lake_resources.binance.stream import Stream
from lake_resources.binance.streams import STREAMS
from lake_resources.binance.um_streams import BOOK_DEPTH, TRADES
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings

_INTERVALS = {table.name: interval for interval, table in SPOT_KLINES.items()}


def is_offered(table: Table, settings: LakeSettings) -> bool:
    """Whether a table of Binance's data has assets: its market has symbols, and an interval of klines is named."""
    market = MARKETS.get(table.layout.market)
    if market is None or not settings.symbols_of(market):
        return False
    return table.name not in _INTERVALS or _INTERVALS[table.name] in settings.spot_kline_intervals


def require_offered(table: Table, symbols: Iterable[str], settings: LakeSettings) -> None:
    """Refuse what has no assets in Dagster: a table, or symbols of it.

    Raises:
        SettingsError: the settings do not ask for the table, or for one of the symbols.
    """
    market = MARKETS.get(table.layout.market)
    if market is None:
        raise SettingsError(f"{table.name} is no table of Binance's data", remedy="It is loaded by its own schedule")
    setting = "LAKE_SYMBOLS" if market.name == UM.name else "LAKE_SPOT_SYMBOLS"
    unknown = [symbol for symbol in symbols if symbol not in settings.symbols_of(market)]
    if unknown:
        raise SettingsError(f"{', '.join(unknown)} has no assets in Dagster", remedy=f"Add it to {setting}")
    if not is_offered(table, settings):
        named = "LAKE_SPOT_KLINE_INTERVALS" if settings.symbols_of(market) else setting
        raise SettingsError(f"{table.name} has no assets in Dagster", remedy=f"Add it to {named}")


def offered_streams(settings: LakeSettings, market: str = UM.name) -> list[Stream]:
    """Archive streams of each symbol of a market.

    Of USD-M futures, `trades` and `book_depth` are large and off by default. Of spot, klines are those of one second
    and of one minute, which other tables are compared with, and of the intervals that the settings name.
    """
    if market == SPOT.name:
        wanted = {KLINES_1S.name, KLINES_1M.name, *(f"klines_{each}" for each in settings.spot_kline_intervals)}
        optional = {name: name in wanted for name, stream in SPOT_STREAMS.items() if stream.is_klines}
    else:
        optional = {TRADES.name: settings.archive_trades, BOOK_DEPTH.name: settings.archive_book_depth}
    return [
        stream
        for name, stream in STREAMS[market].items()
        if stream.archive is not None and optional.get(name, True) and has_archive_partitions(stream, settings)
    ]


def has_archive_partitions(stream: Stream, settings: LakeSettings) -> bool:
    """Whether the stream's archive overlaps the lake's life at all (book_ticker ended in March 2024)."""
    return stream.files.last_day is None or stream.files.last_day >= settings.start
