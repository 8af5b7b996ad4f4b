"""What a lie can be: which source of which stream says what is not true, when the lake meets it, how it is scripted.

Belongs here: drawing lies, their faults in the simulator, records of a collector that lie. Does not belong here: lakes,
and what became of a lie (`lies`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.transforms.live.live_fold import fold_records
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.binance.stream import Stream
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.binance.ws.frames import AGG_TRADE, Frame
from lake_resources.clock import DAY as DAY_LONG
from lake_resources.clock import HOUR, MINUTE, MINUTE_MS, SECOND
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.market.specs import Listing
from lake_tests.support.simulated_lake import DAY, ON_THE_DAY, PUBLISHED, SYMBOL

HOURS = (DAY + 9 * HOUR, DAY + 10 * HOUR)
FORGOTTEN = PUBLISHED + 48 * HOUR
"""REST has no trades of the day any more."""
LONG_FORGOTTEN = PUBLISHED + timedelta(days=35)
"""REST has no metrics of the day any more."""
NEXT_MONTH = datetime(2026, 12, 8, 12, tzinfo=UTC)
"""The month's file of settlements appeared on the first Monday after it."""
DAY_OVER = DAY + 24 * HOUR + 40 * MINUTE
"""The day is over, and its archives are not published yet."""
ALONE, AFTER, BESIDE, LAST, REST_ALONE = (
    "archive alone", "after REST", "beside REST", "the only source there is", "REST alone",
)  # fmt: skip
HEARD_ALONE, HEARD_BESIDE, HEARD_AFTER = "heard alone", "heard beside REST", "heard after the archive"


@dataclass(frozen=True)
class Subject:
    """A stream that may be lied about.

    Attributes:
        stream: it.
        archive: regular expression of the path of its archive.
        rest: regular expression of its path of REST.
        values: columns whose values lie, and their elements in a row of REST.
        table: the table that takes it.
        sources: which of its sources lie.
    """

    stream: Stream
    archive: str
    rest: str
    values: Mapping[str, str]
    table: Table = UM_MINUTE
    sources: tuple[str, ...] = ("archive", "REST")


_BARS = {"open": "1", "close": "4"}


def _um(name: str, rest: str, values: Mapping[str, str], **given: object) -> Subject:
    files = UM_STREAMS[name].files
    period = "monthly/fundingRate/.*2026-11" if name == "funding_rate" else f"um/daily/{files.kind}/.*2026-11-18"
    return Subject(UM_STREAMS[name], period, rest, values, **given)  # type: ignore[arg-type]


SUBJECTS: dict[str, Subject] = {
    "agg_trades": _um(
        "agg_trades", "/fapi/v1/aggTrades", {"quantity": "q", "price": "p"},
        sources=("archive", "REST", "socket", "socket"),
    ),
    "klines_1m": _um(
        "klines_1m", "/fapi/v1/klines",
        _BARS | {"volume": "5", "quote_volume": "7", "count": "8", "high": "2", "low": "3", "taker_buy_volume": "9"},
    ),
    "mark_price_klines_1m": _um("mark_price_klines_1m", "/fapi/v1/markPriceKlines", _BARS),
    "index_price_klines_1m": _um("index_price_klines_1m", "/fapi/v1/indexPriceKlines", _BARS),
    "premium_index_klines_1m": _um("premium_index_klines_1m", "/fapi/v1/premiumIndexKlines", {"close": "4"}),
    "metrics": _um(
        "metrics", "/futures/data/",
        {"sum_open_interest": "sumOpenInterest", "count_long_short_ratio": "longShortRatio"},
    ),
    "funding_rate": _um("funding_rate", "/fapi/v1/fundingRate", {"last_funding_rate": "fundingRate"}),
    "spot klines_1m": Subject(
        SPOT_STREAMS["klines_1m"], "spot/daily/klines/.*2026-11-18", "/api/v3/klines",
        {"volume": "5", "quote_volume": "7", "count": "8", "high": "2", "taker_buy_volume": "9"}, SPOT_KLINES["1m"],
    ),
    "spot klines_1s": Subject(
        SPOT_STREAMS["klines_1s"], "spot/daily/klines/.*2026-11-18", "/api/v3/klines",
        {"volume": "5", "quote_volume": "7", "count": "8", "high": "2", "taker_buy_volume": "9"}, SPOT_BARS_1S,
    ),
    "spot trades": Subject(
        SPOT_STREAMS["trades"], "spot/daily/trades/.*2026-11-18", "/api/v3/klines", {"qty": "", "price": ""},
        SPOT_BARS_1S, sources=("archive",),
    ),
}  # fmt: skip
_ROW_LIES = ("head", "middle", "tail", "all", "nothing at all", "doubled", "reordered")
_MISTAKEN = {"of another day": "other_day", "of another symbol": "other_symbol"}
_OFF = {"a minute off": MINUTE, "an hour off": HOUR, "an hour early": -HOUR, "a day off": DAY_LONG}
"""Whole archives whose rows are put off."""
OTHER = "ETHUSDT"
"""Whose rows are told in the name of the other one."""
CONTRACT = "BTCUSDT_261225"
"""It is no pair, and is never settled."""
NEW, GONE = "SOLUSDT", "XRPUSDT"
LISTINGS = {NEW: Listing(HOURS[0] + 20 * MINUTE), GONE: Listing(delivery=HOURS[1] + 40 * MINUTE)}
"""Symbols that are traded in a part of the hours."""
OUTSIDE = "of another symbol outside its trading"
"""Rows at times at which the symbol is not traded, beside its own."""
WITNESSES = {"agg_trades": "klines_1m", "klines_1m": "agg_trades"}
"""Streams that state the same: both may lie at once."""
_VALUE_LIES = ("zeroed", "scaled", "shifted")
_STRAYING = 0.4
"""How often a lie about a symbol that is not traded all the time is one about the other time."""
_WAYS = ("at once", "hour by hour", "rebuilt")


@dataclass(frozen=True)
class Lie:
    """One lie: which source of which stream says what, and when and how the lake meets it.

    Attributes:
        beside: what the archive of its witness says at the same time.
        symbol: of whom.
    """

    subject: str
    source: str
    what: str
    column: str
    order: str
    way: str
    times: int | None
    beside: Lie | None = None
    symbol: str = SYMBOL

    def __str__(self) -> str:
        value = f" {self.column}" if self.column else ""
        second = "" if self.beside is None else f", and {self.beside}"
        whose = "" if self.symbol == SYMBOL else f" of {self.symbol}"
        told = f"{self.subject} {self.source}{whose}: {self.what}{value}"
        return f"{told}, {self.order}, {self.way}, times {self.times}{second}"

    @property
    def about(self) -> Subject:
        """The stream it is about."""
        return SUBJECTS[self.subject]

    @property
    def lake(self) -> tuple[str, ...]:
        """The name of the lake that it is told to."""
        return "+".join(each.subject for each in self.all), self.source, self.order, self.symbol

    @property
    def all(self) -> tuple[Lie, ...]:
        """It, and what is told beside it."""
        return (self,) if self.beside is None else (self, self.beside)

    @property
    def starts(self) -> tuple[datetime, ...]:
        """Starts of the partitions that it reaches."""
        return (DAY,) if self.about.table.layout.span == "day" else HOURS

    @property
    def now(self) -> datetime:
        """When the lake meets it."""
        if self.about.table is not UM_MINUTE:
            return PUBLISHED if self.source == "archive" else DAY_OVER
        if self.subject == "funding_rate" and self.source == "archive":
            return NEXT_MONTH
        times = {REST_ALONE: ON_THE_DAY, HEARD_ALONE: ON_THE_DAY, HEARD_BESIDE: ON_THE_DAY, ALONE: FORGOTTEN}
        return (times | {LAST: LONG_FORGOTTEN}).get(self.order, PUBLISHED)

    @property
    def has_no_second_source(self) -> bool:
        """Whether nobody else ever states the value that it is about: REST has forgotten it."""
        return self.what in (*_VALUE_LIES, *_MISTAKEN, *_OFF) and self.order == LAST


def draw(chance: random.Random) -> Lie:
    """A lie."""
    subject = chance.choice(list(SUBJECTS))
    about = SUBJECTS[subject]
    source = chance.choice(about.sources)
    orders = {"REST": (REST_ALONE,), "socket": (HEARD_ALONE, HEARD_BESIDE, HEARD_AFTER)}.get(
        source, (ALONE, AFTER, BESIDE)
    )
    if subject == "metrics" and source == "archive":
        orders = (*orders, LAST)
    if subject == "spot trades":
        orders = (ALONE, BESIDE)
    order = chance.choice(orders)
    of_source = {"archive": (*_MISTAKEN, *_OFF), "REST": tuple(_MISTAKEN)}.get(source, ())
    what = chance.choice([*_ROW_LIES, *_VALUE_LIES, *of_source])
    if what == "nothing at all" and source != "archive":
        what = "all"
    column = chance.choice(list(about.values)) if what in ("zeroed", "scaled") else ""
    times = chance.choice((1, 2, None)) if source == "REST" else None
    symbol = chance.choice(_whose(about, source))
    if symbol in LISTINGS and chance.random() < _STRAYING:
        what, column = OUTSIDE, ""
    lie = Lie(subject, source, what, column, order, chance.choice(_WAYS), times, symbol=symbol)
    return replace(lie, beside=_second(lie, chance)) if source == "archive" and subject in WITNESSES else lie


def _whose(about: Subject, source: str) -> list[str]:
    """Symbols of which a lie may be told, most often that of a perpetual that is traded all the time."""
    if about.table is not UM_MINUTE:
        # Nobody says when trading on spot ends.
        return [*[SYMBOL] * 5, NEW]
    if source == "socket":
        return [SYMBOL]
    contracts = [] if about.stream.perpetuals_only else [CONTRACT]
    return [*[SYMBOL] * 5, *LISTINGS, *contracts]


def _second(lie: Lie, chance: random.Random) -> Lie | None:
    """What the witness says at the same time: as often as not the truth, sometimes the same, or something else."""
    what = chance.choice([None, None, None, lie.what, lie.what, *_ROW_LIES, *_VALUE_LIES])
    if what is None:
        return None
    subject = WITNESSES[lie.subject]
    column = chance.choice(list(SUBJECTS[subject].values)) if what in ("zeroed", "scaled") else ""
    return replace(lie, subject=subject, what=what, column=column)


def spans_of(lie: Lie) -> dict[str, tuple[datetime, datetime]]:
    """The spans of rows that lies are about, by their names."""
    month = DAY.replace(day=1)
    funding = lie.subject == "funding_rate"
    first, last = (month, month + timedelta(days=30)) if funding else (DAY, DAY + 24 * HOUR)
    spans = {
        "head": (first, HOURS[0] + 20 * MINUTE),
        "middle": (HOURS[0] + 20 * MINUTE, HOURS[0] + 45 * MINUTE),
        "tail": (HOURS[0] + 29 * MINUTE, last),
        "all": (first, last),
        "nothing at all": (first, last),
    }
    return spans | ({"middle": (DAY + 7 * HOUR, DAY + 9 * HOUR), "tail": (DAY + 7 * HOUR, last)} if funding else {})


def faults_of(lie: Lie, *, told: bool = True) -> list[Fault]:
    """The lie as faults of the simulator, none where a collector tells it; and whoever is silent meanwhile."""
    beside: list[Fault] = []
    if lie.order == HEARD_ALONE:
        beside.append(Fault("5xx", lie.about.rest))
    if lie.subject == "spot trades":
        # What trades prove is taken where nobody publishes the seconds.
        beside.append(Fault("missing", "spot/daily/klines/"))
        beside += [Fault("5xx", lie.about.rest)] if lie.order == ALONE else []
    if lie.source == "socket" or not told:
        return beside
    if lie.beside is not None:
        beside += faults_of(lie.beside)
    path = lie.about.archive if lie.source == "archive" else lie.about.rest
    if lie.what == OUTSIDE:
        traded = LISTINGS[lie.symbol]
        first, last = spans_of(lie)["all"]
        outside = (traded.delivery or first, traded.onboard or last)
        return [*beside, Fault("other_symbol", path, body=OTHER, times=lie.times, start=outside[0], end=outside[1])]
    if lie.what in _MISTAKEN:
        return [*beside, Fault(_MISTAKEN[lie.what], path, body=OTHER, times=lie.times)]
    if lie.what in _OFF:
        return [*beside, Fault("moved", path, by=_OFF[lie.what] / SECOND)]
    spans = spans_of(lie)
    start, end = spans.get(lie.what, spans["middle"])
    kind = {"doubled": "duplicated", "reordered": "unordered", "zeroed": "scaled"}.get(lie.what, lie.what)
    given: dict[str, object] = {"start": start, "end": end, "times": lie.times, "every": 1}
    if lie.column:
        column = lie.column if lie.source == "archive" else lie.about.values[lie.column]
        given |= {"column": column, "by": 0.0 if lie.what == "zeroed" else 1.5}
    if lie.what == "nothing at all":
        beside.append(Fault("headerless", path))
    return [*beside, Fault("missing_minutes" if kind in spans else kind, path, **given)]  # type: ignore[arg-type]


def heard_rows(trades: pl.DataFrame, lie: Lie | None = None) -> pl.DataFrame:
    """Live rows of the hours as a collector makes them that heard trades, or was lied to.

    Args:
        trades: wire frame of aggTrades, of the hours and minutes around them.
        lie: what is told of them; None for the truth.
    """
    said = trades if lie is None else _lied(trades, lie)
    frames = [_record(seq, row) for seq, row in enumerate(said.iter_rows(named=True), start=1)]
    first, end = (int(at.timestamp()) // 60 for at in (HOURS[0], HOURS[-1] + HOUR))
    return fold_records(SYMBOL, frames, first - 10, end + 10)


def _lied(trades: pl.DataFrame, lie: Lie) -> pl.DataFrame:
    spans, time = spans_of(lie), pl.col("transact_time")
    start, end = spans.get(lie.what, spans["middle"])
    inside = time.is_between(start, end, closed="left")
    before, span, after = (
        trades.filter(time < start), trades.filter(inside), trades.filter(time >= end)
    )  # fmt: skip
    if lie.what in spans:
        span = span.clear()
    elif lie.what == "doubled":
        span = pl.concat([span, span])
    elif lie.what == "reordered":
        span = span.reverse()
    elif lie.what == "shifted":
        span = span.with_columns(transact_time=time.shift(-1).fill_null(time.first()))
    else:
        span = span.with_columns(pl.col(lie.column) * (0.0 if lie.what == "zeroed" else 1.5))
    return pl.concat([before, span, after])


def _record(seq: int, row: Mapping[str, object]) -> Frame:
    at = row["transact_time"]
    assert isinstance(at, datetime)
    ms = round(at.timestamp() * 1000)
    data = {
        "e": "aggTrade", "E": ms + 2, "s": SYMBOL, "a": row["agg_trade_id"], "p": str(row["price"]),
        "q": str(row["quantity"]), "f": row["first_trade_id"], "l": row["last_trade_id"], "T": ms,
        "m": row["is_buyer_maker"],
    }  # fmt: skip
    return Frame(seq, (ms + 20) * 1_000_000, 1, AGG_TRADE, SYMBOL, ms // MINUTE_MS, b"", data)
