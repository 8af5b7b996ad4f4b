"""What the rows of a stream say against an hour: rows that are due and lack, bars that contradict themselves.

Belongs here: grids (every instant, each once), funding settlements (the interval before and after), bars that cannot be
true whatever another source says. Does not belong here: aggTrades (`trade_sources`), bars against trades
(`transforms.trades`), asking a source again, what is made of the hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from lake_assets.schema.stream_use import StreamUse
from lake_resources.binance.witness import Grid, Settlements
from lake_resources.clock import EPOCH, HOUR
from lake_resources.storage.ledger.ledger import Listing

_NEEDED = {"open_time", "high", "low", "volume", "quote_volume", "count"}
_DIGITS = 1e-6
"""Relative: notionals are printed with few digits."""
_UNIT = 1e-6
"""How far a printed notional may be from its product."""


def lacking_hours(
    use: StreamUse, rows: pl.DataFrame, hours: Sequence[datetime], now: datetime, listing: Listing | None = None
) -> dict[datetime, str]:
    """Hours that have a source and lack rows that are due, with what is lacking.

    Args:
        use: the stream as the table uses it.
        rows: its rows, of the hours and what is known around them; one that lacks a value is none.
        hours: hours with a source, UTC. One that is not over and settled is not judged.
        now: the instant of asking, UTC.
        listing: when the symbol is traded; outside nothing is due.
    """
    settled = settled_hours(use, hours, now)
    if not settled:
        return {}
    traded = Listing("", None, None) if listing is None else listing
    match use.stream.witness:
        case Grid(step):
            return _off_grid(use, rows, settled, step, traded)
        case Settlements() as witness:
            return _unsettled(use, rows, settled, witness, traded)
    return {}


def settled_hours(use: StreamUse, hours: Sequence[datetime], now: datetime) -> list[datetime]:
    """Hours that are over and settled, of which alone rows can lack."""
    return [hour for hour in hours if hour + HOUR + use.settle <= now]


def reached_hours(use: StreamUse, rows: pl.DataFrame, lacking: Mapping[datetime, str]) -> dict[datetime, str]:
    """Hours whose first minutes need a row of the hour before that it lacks, with what is lacking.

    Args:
        use: the stream as the table uses it; of one that is not carried forward there are none.
        rows: its rows.
        lacking: hours that lack rows, with what is lacking.
    """
    if not isinstance(use.stream.witness, Grid) or use.carried_after is None:
        return {}
    step = use.stream.witness.step
    found = {}
    for hour, text in lacking.items():
        after = hour + HOUR
        # A row of 12:50 that is carried from 12:55 on, until the next one is, still speaks at 13:00.
        needed = [hour + n * step for n in range(HOUR // step) if hour + (n + 1) * step + use.carried_after > after]
        if needed and not set(needed) <= set(_instants(use, rows, step).to_list()):
            found[after] = text
    return found


def values_told(use: StreamUse, rows: pl.DataFrame) -> pl.Expr:
    """Whether a row of a grid tells all its values; of other streams each does."""
    values = [name for name, dtype in use.stream.columns.items() if dtype.is_numeric() and name in rows.columns]
    if not isinstance(use.stream.witness, Grid) or not values:
        return pl.lit(value=True)
    return pl.all_horizontal(pl.col(name).is_not_null() for name in values)


def _instants(use: StreamUse, rows: pl.DataFrame, step: timedelta) -> pl.Series:
    """Instants of the grid that have a row with all its values."""
    time = pl.col(use.stream.time_column)
    on_grid = time == time.dt.truncate(step)
    return rows.filter(on_grid & values_told(use, rows)).select(time.unique().sort()).to_series()


def _off_grid(
    use: StreamUse, rows: pl.DataFrame, hours: Sequence[datetime], step: timedelta, traded: Listing
) -> dict[datetime, str]:
    first = traded.first
    if first is not None:
        # A row of a series that is carried is about the step before it; a bar is about all that it spans.
        first = first + step if use.carried_after is not None else first - (first - EPOCH) % step
    instants, whole = _instants(use, rows, step), HOUR // step
    counts = dict(instants.dt.truncate("1h").value_counts().iter_rows())
    found = {}
    for hour in hours:
        held, due = counts.get(hour, 0), whole
        if held < whole and (first is not None or traded.end is not None):
            wanted = [hour + n * step for n in range(whole)]
            wanted = [at for at in wanted if (first is None or at >= first) and (traded.end is None or at < traded.end)]
            held, due = len({*wanted} & {*instants.to_list()}), len(wanted)
        if held < due:
            found[hour] = f"{use.name}: {held} of {due} rows of the hour {hour:%Y-%m-%d %H:%M}"
    return found


def _unsettled(
    use: StreamUse, rows: pl.DataFrame, hours: Sequence[datetime], witness: Settlements, traded: Listing
) -> dict[datetime, str]:
    """Hours after the instant at which a settlement was due that nobody has, up to the next that is known."""
    published = rows.select(
        pl.col(use.stream.time_column).dt.round("1m").alias("at"), hours=pl.col(witness.interval_hours)
    )
    told = dict(published.sort("at", "hours").iter_rows())
    times = list(told)
    # There is a settlement within the longest interval, whatever was due.
    first = times[0] if times else hours[-1] + HOUR
    text = f"{use.name}: no settlement within {witness.longest // HOUR} h"
    since = hours[0] if traded.first is None else max(hours[0], traded.first)
    found = {hour: text for hour in hours if hour < first} if first - since > witness.longest else {}
    gaps = {earlier: later - earlier for earlier, later in pairwise(times)}
    before = {later: later - earlier for earlier, later in pairwise(times)}
    if times and traded.first is not None and traded.first >= hours[0]:
        # The first settlement that is known says how long before it there was another one, if there was trading then.
        interval = told[first] * HOUR if told[first] is not None else gaps.get(first)
        if interval is not None and (due := first - interval) >= traded.first:
            text = f"{use.name}: no settlement at {due:%Y-%m-%d %H:%M}, {interval // HOUR} h before the first"
            found |= {hour: text for hour in hours if due < hour + HOUR and hour < first}
    for at in times:
        interval = told[at] * HOUR if told[at] is not None else before.get(at)
        gap = gaps.get(at)
        if interval is None or interval > witness.longest:
            continue
        if gap is not None:
            # Binance lengthens the interval: then the next settlement says so, or the one after it.
            then = told[at + gap]
            after = then * HOUR if then is not None else gaps.get(at + gap)
            if gap == interval or (gap <= witness.longest and after in (None, gap)):
                continue
        due = at + interval
        if traded.end is not None and due >= traded.end:
            continue
        until = hours[-1] + HOUR if gap is None else at + gap
        text = f"{use.name}: no settlement at {due:%Y-%m-%d %H:%M}, {interval // HOUR} h after the last that is known"
        found |= {hour: text for hour in hours if due < hour + HOUR and hour < until}
    return found


def settled_too_early(
    rows: pl.DataFrame, time_column: str, hours: Sequence[datetime], first: datetime | None
) -> dict[datetime, str]:
    """Hours in which a settlement stands that came before the symbol was traded at all, with that settlement.

    Args:
        rows: wire frame of settlements, of the hours and what is known around them.
        time_column: their instants.
        hours: starts of the hours to look at, UTC.
        first: first instant of trading, UTC; None where nobody says.
    """
    instants = rows[time_column].dt.round("1m").unique().sort().to_list()
    early = [at for at in instants if first is not None and at < first]
    if not early:
        return {}
    until = next((at for at in instants if at not in early), None)
    text = f"a settlement at {early[-1]:%Y-%m-%d %H:%M}, and trading began at {first:%Y-%m-%d %H:%M}"
    return {hour: text for hour in hours if hour + HOUR > early[0] and (until is None or hour < until)}


def senseless_hours(klines: pl.DataFrame, hours: Sequence[datetime]) -> dict[datetime, str]:
    """Hours with bars whose numbers do not belong together, with the first of them in words.

    Either there are trades, a volume and a quote volume, or there is none of them; and the average price, quote volume
    over volume, lies between low and high. (All of 144,000 recorded bars of Binance do so.) Without a trade no price
    moves.

    Args:
        klines: wire frame of klines of any length up to an hour; a frame without these columns has no such hour.
        hours: starts of the hours to look at, UTC.
    """
    if not set(klines.columns) >= _NEEDED or klines.is_empty():
        return {}
    volume, quote, high, low = (pl.col(name) for name in ("volume", "quote_volume", "high", "low"))
    some = volume > 0
    beyond = (quote > volume * high * (1 + _DIGITS) + _UNIT) | (quote < volume * low * (1 - _DIGITS) - _UNIT)
    wrong = (some != (pl.col("count") > 0)) | (some != (quote > 0)) | (some & beyond) | (~some & (high > low))
    hour = pl.col("open_time").dt.truncate("1h")
    found = klines.filter(wrong, hour.is_in(list(hours))).sort("open_time").group_by(hour.alias("hour")).agg(
        pl.len(), pl.col("open_time", "volume", "quote_volume", "count", "low", "high").first()
    )  # fmt: skip
    return {
        row["hour"]: f"{row['len']} bar(s) contradict themselves, first {row['open_time']:%Y-%m-%d %H:%M}: volume"
        f" {row['volume']:.12g} and quote volume {row['quote_volume']:.12g} in {row['count']} trades between"
        f" {row['low']:.12g} and {row['high']:.12g}"
        for row in found.iter_rows(named=True)
    }
