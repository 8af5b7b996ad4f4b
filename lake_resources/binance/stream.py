"""What a stream of Binance is: its rows, where they can be read from, and what proves that they are whole.

Belongs here: the record `Stream` and its parts. Does not belong here: the streams of a market (`um_streams`,
`spot_streams`), any column of the lake, any request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Literal

import polars as pl

from lake_resources.binance.market import Endpoint, Market
from lake_resources.binance.witness import Witness
from lake_resources.clock import DAY

_DAILY_AFTER = timedelta(hours=8, minutes=30)
"""Files of a day appear at about 08:32 to 08:40 UTC of the next day; asking earlier is a wasted request."""
_MONTHLY_AFTER = timedelta(days=1, hours=8)


@dataclass(frozen=True)
class ArchiveFiles:
    """The files of a stream in the archives.

    Attributes:
        kind: Binance's directory, e.g. `markPriceKlines`.
        interval: directory of the interval, or None.
        cadence: whether a file holds a day or a month.
        csv_columns: how many columns the CSV has; those behind the stream's own are not read.
        first_day: first day that can exist.
        last_day: last day that exists, or None while it goes on.
        typical_bytes: about how large a file of a large symbol is, for estimates of a download.
    """

    kind: str
    interval: str | None
    cadence: Literal["daily", "monthly"]
    csv_columns: int
    first_day: date
    last_day: date | None = None
    typical_bytes: int = 40_000

    def covers(self, day: date) -> bool:
        """Whether a file that holds the day was ever published, or will be."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)

    def due_at(self, day: date) -> datetime:
        """When the file that holds the day should be there, UTC."""
        if self.cadence == "monthly":
            return _midnight((day.replace(day=1) + timedelta(days=32)).replace(day=1)) + _MONTHLY_AFTER
        return _midnight(day) + DAY + _DAILY_AFTER

    def period(self, day: date) -> str:
        """The period in the name of the file that holds the day: `YYYY-MM-DD`, or `YYYY-MM` of a month."""
        return f"{day:%Y-%m}" if self.cadence == "monthly" else day.isoformat()


@dataclass(frozen=True)
class Part:
    """One of several endpoints that together serve the columns of a stream.

    Attributes:
        endpoint: it.
        shift: its time stamp minus that of the archive's row.
        fields: column of the stream → its field.
    """

    endpoint: Endpoint
    shift: timedelta
    fields: Mapping[str, str]


@dataclass(frozen=True)
class RestHistory:
    """How REST serves the past of a stream.

    Attributes:
        endpoint: the market's endpoint that serves it, the first one of `parts` where there are several.
        paging: how a long window is cut: on the `grid` of bars, by `ids`, in `periods` of each of the parts, or by the
            last row's time (`cursor`).
        retention: how far back it reaches, None for the beginning.
        interval: value of the parameter `interval` or `period`, where there is one.
        by_pair: it is asked for by the pair instead of by the symbol.
        decimals: columns that have fewer decimals here than in the archive.
        parts: the endpoints of its columns, where there are several.
    """

    endpoint: Endpoint
    paging: Literal["grid", "ids", "periods", "cursor"]
    retention: timedelta | None = None
    interval: str | None = None
    by_pair: bool = False
    decimals: Mapping[str, int] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class SocketFrames:
    """The frames of a stream on a WebSocket.

    Attributes:
        name: Binance's name behind the symbol, e.g. `depth@100ms`.
        event: value of the field `e` of a frame; None where frames carry none.
        kind: number of the record in the collector's files (`ws.frames`).
        route: the market's route that delivers it.
        proves_route: some symbol's first frame must come soon after subscribing, or the route is the wrong one.
        silence_s: a symbol's stream that was heard and is silent for longer has probably been dropped by the exchange;
            None where one may rest for any time.
        together_s: the same of all symbols together, for streams of which one alone may rest for long.
        row_id: field of a frame with an id that grows by one from frame to frame, so that a jump is a loss; None where
            there is none.
        healed_by: fields of an aggTrade of REST with the first and the last of these ids that it stands for.
        spared: it only makes something known sooner, and is left out where a socket would carry too many streams.
    """

    name: str
    event: str | None
    kind: int
    route: str
    proves_route: bool = False
    silence_s: float | None = None
    together_s: float | None = None
    row_id: str | None = None
    healed_by: tuple[str, str] = ("f", "l")
    spared: bool = False


@dataclass(frozen=True)
class Stream:
    """One stream of one market.

    Attributes:
        name: the lake's name of it, unique within its market; the last part of its asset key.
        market: where it comes from.
        columns: typed columns of its wire frame, in the order of the archive's CSV.
        key: columns that identify a row; rows are stored sorted by them.
        time_column: the event time a row is bucketed by.
        text: one line of what a row is.
        witness: what proves that a span of it is whole.
        archive: its files, or None.
        rest: its history over REST, or None.
        socket: its frames, or None.
        perpetuals_only: delivery contracts have no such thing.
    """

    name: str
    market: Market
    columns: dict[str, pl.DataType]
    key: tuple[str, ...]
    time_column: str
    text: str
    witness: Witness
    archive: ArchiveFiles | None = None
    rest: RestHistory | None = None
    socket: SocketFrames | None = None
    perpetuals_only: bool = False

    @cached_property
    def files(self) -> ArchiveFiles:
        """Its files in the archives.

        Raises:
            LookupError: it is not archived.
        """
        if self.archive is None:
            raise LookupError(f"{self.name} of {self.market.title} has no archive")
        return self.archive

    @property
    def is_klines(self) -> bool:
        """Whether a row is a bar of a fixed length."""
        return self.rest is not None and self.rest.paging == "grid"

    def exists_for(self, symbol: str) -> bool:
        """Whether the exchange has such a stream for a symbol at all."""
        return not self.perpetuals_only or self.market.pair(symbol) == symbol

    @property
    def rest_decimals(self) -> Mapping[str, int]:
        """Columns that REST publishes with fewer decimals than the archive."""
        return {} if self.rest is None else self.rest.decimals

    def file_name(self, symbol: str, period: str) -> str:
        """Name of the zip; `period` is `YYYY-MM-DD`, or `YYYY-MM` for a monthly stream."""
        return f"{symbol}-{self.files.interval or self.files.kind}-{period}.zip"

    def url_path(self, symbol: str, period: str) -> str:
        """Path of the zip below the base URL of the archives; its checksum is the same path + `.CHECKSUM`."""
        files = self.files
        interval = f"{files.interval}/" if files.interval else ""
        directory = f"/data/{self.market.directory}/{files.cadence}/{files.kind}/{symbol}/{interval}"
        return directory + self.file_name(symbol, period)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
