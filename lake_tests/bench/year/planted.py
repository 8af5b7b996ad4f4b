"""The defects of the year as data, and how each of them comes about.

Belongs here: the span, the list of plants, the faults by which the simulated exchange makes them.
Does not belong here: what must be found of them (`must`), damaging the finished lake (`damage`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import DAY, HOUR, MINUTE
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.market.specs import Listing

END = datetime(2026, 11, 4, tzinfo=UTC)
_SLOTS = 20
SHORTEST_DAYS = _SLOTS + 1
_REST_PATHS = {
    "klines_1m": "/fapi/v1/klines",
    "mark_price_klines_1m": "/fapi/v1/markPriceKlines",
    "index_price_klines_1m": "/fapi/v1/indexPriceKlines",
}


class Stage(IntEnum):
    """How far the journey is."""

    BACKFILLED = 1
    PROMOTED = 2
    DAMAGED = 3
    REPAIRED = 4
    COMPACTED = 5


@dataclass(frozen=True)
class Span:
    """The days that are simulated, and the instants at which the lake is worked on.

    Attributes:
        days: how many, up to `END`.
        first: a symbol that trades all the time.
        second: a symbol that is delisted part-way.
    """

    days: int = 365
    first: str = "BTCUSDT"
    second: str = "ETHUSDT"

    def __post_init__(self) -> None:
        if self.days < SHORTEST_DAYS:
            raise ValueError(f"{self.days} days have no room for the plants; give {SHORTEST_DAYS} or more")

    @property
    def start(self) -> datetime:
        """First minute."""
        return END - self.days * DAY

    @property
    def symbols(self) -> tuple[str, str]:
        """Both."""
        return self.first, self.second

    @property
    def last_day(self) -> datetime:
        """The day that is built from REST while it goes on."""
        return END - DAY

    @property
    def live_at(self) -> datetime:
        """On that day: its first 20 hours are closed and settled."""
        return self.last_day + 20 * HOUR + 30 * MINUTE

    @property
    def backfilled_at(self) -> datetime:
        """All archives are published, but for those that are planted otherwise."""
        return END + 9 * HOUR

    @property
    def changed_at(self) -> datetime:
        """Since then late files are there, and others are published anew."""
        return END + 20 * HOUR

    @property
    def promoted_at(self) -> datetime:
        """When what changed is looked for."""
        return END + 36 * HOUR

    @property
    def compacted_at(self) -> datetime:
        """Nothing better is expected any more."""
        return END + 12 * DAY

    @property
    def delivery(self) -> datetime:
        """End of trading of the second symbol."""
        return self.slot(14, 9)

    @property
    def listings(self) -> dict[str, Listing]:
        """For the simulator."""
        return {self.second: Listing(delivery=self.delivery)}

    def slot(self, number: int, hour: int = 0, minute: int = 0) -> datetime:
        """An instant on one of 20 days that are spread evenly over the span."""
        return self.start + number * self.days // _SLOTS * DAY + hour * HOUR + minute * MINUTE


@dataclass(frozen=True)
class Plant:
    """One planted defect.

    Attributes:
        kind: key of `must.MUST`.
        symbol: of which symbol.
        stream: of which stream; empty for damage to the finished lake.
        start, end: the minutes that are touched, half-open; for an archive its whole day.
    """

    kind: str
    symbol: str
    stream: str
    start: datetime
    end: datetime

    @property
    def hours(self) -> list[datetime]:
        """Starts of the hours that are touched."""
        first = self.start.replace(minute=0)
        return [first + index * HOUR for index in range(-((first - self.end) // HOUR))]

    @property
    def minutes(self) -> list[datetime]:
        """The minutes that are touched."""
        return [self.start + index * MINUTE for index in range((self.end - self.start) // MINUTE)]

    @property
    def period(self) -> str:
        """The archive's day."""
        return f"{self.start:%Y-%m-%d}"


def plants(span: Span) -> list[Plant]:
    """All of them."""
    a, b = span.symbols
    klines, mark, index = _REST_PATHS

    def minutes(kind: str, symbol: str, stream: str, start: datetime, length: int) -> Plant:
        return Plant(kind, symbol, stream, start, start + length * MINUTE)

    def day(kind: str, symbol: str, stream: str, start: datetime) -> Plant:
        return Plant(kind, symbol, stream, start, start + DAY)

    def hour(kind: str, symbol: str, start: datetime) -> Plant:
        return Plant(kind, symbol, "", start, start + HOUR)

    return [
        # Minutes that neither the archive nor REST has.
        minutes("hole", a, klines, span.slot(1, 10, 17), 2),
        minutes("hole", a, mark, span.slot(2, 11, 30), 3),
        minutes("hole", a, index, span.slot(3, 12, 5), 1),
        minutes("hole", b, klines, span.slot(1, 23, 58), 4),
        minutes("known hole", a, klines, span.slot(4, 13, 40), 12),
        minutes("known hole", a, mark, span.slot(5, 4), 10),
        minutes("known hole", b, index, span.slot(7, 16, 50), 20),
        minutes("known hole", a, klines, span.slot(6, 2, 30), 180),
        # Minutes that only the archive lacks.
        minutes("gap", a, klines, span.slot(7, 15, 10), 4),
        minutes("gap", a, mark, span.slot(7, 20), 2),
        minutes("gap", b, index, span.slot(3, 0), 61),
        # Files that are not there, come late, or are no good.
        day("unpublished", a, klines, span.slot(8)),
        day("unpublished", a, "agg_trades", span.slot(9)),
        day("unpublished", b, mark, span.slot(5)),
        day("late", a, index, END - 3 * DAY),
        day("wrong checksum", a, klines, span.slot(13)),
        day("torn zip", a, mark, span.slot(14)),
        # Rows that are lost or damaged.
        minutes("lost trades", a, "agg_trades", span.slot(10, 4, 20), 20),
        minutes("lost trades", b, "agg_trades", span.slot(9, 22, 50), 20),
        minutes("lost trades, REST has them", a, "agg_trades", span.last_day + 6 * HOUR + 20 * MINUTE, 20),
        minutes("garbled", a, "metrics", span.slot(11, 6), 15),
        minutes("garbled", a, "metrics", span.slot(12, 13), 180),
        # Values that change afterwards.
        day("republished", a, klines, END - 5 * DAY),
        day("republished long after", a, mark, span.slot(15)),
        day("republished long after", b, "metrics", span.slot(11)),
        day("restated", a, "metrics", span.last_day),
        Plant("live", a, "", span.last_day, span.last_day + 20 * HOUR),
        Plant("delisted", b, "", span.delivery, END),
        # Damage to the finished lake.
        hour("deleted file", a, span.slot(12, 3)),
        hour("deleted file", b, span.slot(4, 7)),
        hour("flipped byte", a, span.slot(17, 4)),
        hour("torn file", a, span.slot(18, 5)),
        hour("forgotten by the ledger", a, span.slot(2, 6)),
        hour("misnoted by the ledger", a, span.slot(3, 8)),
        hour("stray file", b, span.slot(16, 2)),
    ]


def faults(planted: Sequence[Plant], span: Span) -> Iterator[Fault]:
    """What the simulated exchange must do wrong for them."""
    for plant in planted:
        if not plant.stream:
            continue
        stream = UM_STREAMS[plant.stream]
        days = {plant.period, f"{plant.end - MINUTE:%Y-%m-%d}"}
        path = f"daily/{stream.files.kind}/{plant.symbol}/.*({'|'.join(sorted(days))})"
        window = {"start": plant.start, "end": plant.end}
        match plant.kind:
            case "hole" | "known hole":
                yield Fault("missing_minutes", path, **window)
                yield Fault(
                    "missing_minutes", _REST_PATHS[plant.stream], f"(symbol|pair)={plant.symbol}(&|$)", **window
                )
            case "gap" | "lost trades" | "lost trades, REST has them":
                yield Fault("missing_minutes", path, **window)
            case "unpublished":
                yield Fault("missing", path)
            case "late":
                published = plant.end + 8 * HOUR + 35 * MINUTE
                yield Fault("late", path, hours=(span.changed_at - published) / HOUR)
            case "wrong checksum":
                yield Fault("wrong_checksum", path)
            case "torn zip":
                yield Fault("truncated", path, matching=True)
            case "garbled":
                yield Fault("garbled", path, **window)
            case "republished" | "republished long after":
                yield Fault("republished", path, since=span.changed_at)
            case "restated":
                yield Fault("republished", path)
            case _:
                raise ValueError(f"nothing makes {plant.kind!r}")
