"""Days of macro minutes: what Yahoo says of a ticker, held against its sessions and against what it said before.

Belongs here: from answers to committed days. Does not belong here: asking Yahoo (`lake_resources.yahoo`), Dagster.

What was said once and is no longer said stays; what is said differently replaces it and is a row of `revisions`. Hours
in which the ticker does not trade are known holes by its calendar. A minute of a session without a row is unexplained
until Yahoo has left it out again at a later look, at least an hour after the day was over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Unpack

import polars as pl

from lake_assets.build.hours import BuildOptions
from lake_assets.inputs.results import DayResult, HourResult
from lake_assets.lake import CODE_VERSION, Lake
from lake_assets.schema.macro_columns import YAHOO_STREAM
from lake_assets.source import Offer, Report, Source, Wanted
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.validation.gate import PartitionWindow, gate, passes
from lake_assets.validation.hour_verdict import Reason, hour_verdict, verdict_detail, verdict_outcome
from lake_assets.validation.outcome import CheckOutcome, outcomes_to_json
from lake_assets.windows import runs_of
from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.clock import DAY, MINUTE
from lake_resources.errors import ExchangeError
from lake_resources.known_hole import KnownHole
from lake_resources.spans import within
from lake_resources.storage.commit import (
    PartitionCandidate,
    Rejection,
    commit_partitions,
    quarantine_partition,
    recover_unless_busy,
)
from lake_resources.storage.ledger.ledger import Partition, Revision
from lake_resources.storage.placement import is_intact
from lake_resources.storage.provenance import SourceRef
from lake_resources.storage.reader import read_partition
from lake_resources.yahoo.sessions import closed_spans, sessions
from lake_resources.yahoo.tickers import calendar_of, ticker_of
from lake_resources.yahoo.yahoo_minutes import YahooMinutes

SAID_TWICE = "Yahoo has no price of it, and said so again"
_SETTLED = timedelta(minutes=15)
"""A session that has been over for so long forms no minute any more, whatever the time of its newest price."""
_DAYS_AT_ONCE = 7


@dataclass(frozen=True)
class _Day:
    """A day that is built: what was said of it before, and now."""

    start: datetime
    held: Partition | None
    before: pl.DataFrame
    answer: Offer | None

    @property
    def end(self) -> datetime:
        return self.start + DAY


def build_macro_days(
    lake: Lake,
    symbol: str,
    hours: Sequence[datetime],
    *,
    now: datetime,
    report: Report,
    yahoo: YahooMinutes,
    **_: Unpack[BuildOptions],
) -> Iterator[DayResult]:
    """Ask for days of a ticker and commit them; a day that fails does not touch its neighbours.

    Args:
        lake: on the table of macro minutes.
        symbol: name of the ticker (`ticker_name`).
        hours: starts of the days, UTC, any order.
        now: the moment, UTC.
        report: takes a line of progress or warning.
        yahoo: who is asked.
        _: options of other tables: days are asked for as far as they are by now, and each build asks again.

    Yields:
        One result per day, durable when it is yielded.

    Raises:
        SettingsError: the symbol is no name of a ticker.
    """
    recover_unless_busy(lake.store)
    ticker = ticker_of(symbol)
    for start, end in runs_of(hours, longest=_DAYS_AT_ONCE, step=DAY):
        days = list(lake.store.layout.between(start, end))
        answer, failure = _ask(YahooSource(yahoo), Wanted(symbol, days, now, report))
        if failure:
            report(f"{ticker} {start:%F} to {end - DAY:%F}: {failure}")
        for at in days:
            if at >= now:
                yield DayResult((HourResult(at, "not_yet", reason="the day has not begun"),), ())
            elif failure and sessions(ticker, at, min(at + DAY, now)):
                yield DayResult((_without(lake, symbol, at, failure),), ())
            else:
                yield DayResult((_build(lake, symbol, ticker, _day(lake, symbol, at, answer), now),), ())


@dataclass(frozen=True)
class YahooSource:
    """Yahoo's minutes as a source of days of a ticker.

    Attributes:
        yahoo: who is asked.
    """

    yahoo: YahooMinutes
    title = "Yahoo"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """A run of contiguous days, the minutes of its sessions; a run without a session is not asked for."""
        ticker, starts, now = ticker_of(wanted.symbol), tuple(wanted.starts), wanted.now
        start, end = starts[0], starts[-1] + DAY
        if start >= now or not sessions(ticker, start, min(end, now)):
            return
        try:
            said = self.yahoo.minutes(ticker, start, end, now=now)
        except ExchangeError as error:
            yield Offer(starts, failure=str(error))
        else:
            by = f"Yahoo {ticker}"
            yield Offer(starts, rows=said.frame, asked_at=said.asked_at, by=by, settled_until=said.known_until)


def _ask(source: Source, wanted: Wanted) -> tuple[Offer | None, str]:
    """What a source says of a run of days, or why it does not; neither where there is nothing to ask for."""
    offer = next(source.offers(wanted), None)
    return (None, offer.failure) if offer is not None and offer.failure else (offer, "")


def _without(lake: Lake, symbol: str, start: datetime, failure: str) -> HourResult:
    """A day of which Yahoo said nothing: what is committed stays, and the source is missing."""
    lake.ledger.record_missing(symbol, YAHOO_STREAM, start.date().isoformat(), "rest", failure, at=lake.clock())
    return HourResult(start, "source_missing", reason=failure)


def _day(lake: Lake, symbol: str, start: datetime, answer: Offer | None) -> _Day:
    held = lake.ledger.partition(symbol, start)
    if held is not None and not is_intact(lake.store, held):
        held = None
    before = pl.DataFrame(schema=MACRO_MINUTE.polars_schema) if held is None else read_partition(lake.store, held)
    return _Day(start, held, before, answer)


def _build(lake: Lake, symbol: str, ticker: str, day: _Day, now: datetime) -> HourResult:
    new = _rows(ticker, day, now)
    merged = pl.concat([day.before.join(new, on="ts", how="anti"), new]).sort("ts").select(MACRO_MINUTE.names)
    closed = now >= day.end
    expected_end = day.end if closed else _known_until(day, now)
    _declare_closed(lake, symbol, ticker, day)
    _declare_silent(lake, symbol, ticker, day, merged, now)
    # The running minute need not be there; where it is, the gate judges it like any other.
    newest = merged["ts"].max()
    last = expected_end if not isinstance(newest, datetime) else max(expected_end, newest + MINUTE)
    window = PartitionWindow(day.start, last)
    holes = lake.ledger.known_holes(symbol, day.start, day.end)
    outcomes = gate(MACRO_MINUTE, merged, [window], holes)[day.start]
    reasons = _reasons(outcomes)
    verdict = hour_verdict(outcomes, reasons, closed=closed)
    outcomes = [*outcomes, verdict_outcome(verdict)]
    expected = sum((each.end - each.start) // MINUTE for each in sessions(ticker, day.start, expected_end))
    base = HourResult(
        day.start, "committed", row_count=merged.height, expected_rows=expected, outcomes=tuple(outcomes), frame=merged
    )
    if not expected and merged.is_empty() and not closed:
        return HourResult(day.start, "not_yet", reason="no session has begun")
    if not passes(outcomes) and expected:
        return _refused(lake, symbol, base)
    digest = hashlib.sha256(merged.write_csv().encode()).hexdigest()
    source = SourceRef(YAHOO_STREAM, "rest", digest)
    candidate = PartitionCandidate(
        start=day.start,
        frame=merged,
        metadata={"lake.ticker": ticker},
        sources={YAHOO_STREAM: source},
        complete=closed,
        expected_rows=expected,
        inputs_hash=digest,
        schema_hash=MACRO_MINUTE.schema_hash,
        code_version=CODE_VERSION,
        checks=outcomes_to_json(outcomes),
        verdict=verdict.kind,
        verdict_detail=verdict_detail(verdict, reasons),
    )
    (done,) = commit_partitions(lake.store, symbol, [candidate], clock=lake.clock)
    if day.answer is not None:
        lake.ledger.record_revisions(_revisions(symbol, day.before, new, now))
        lake.ledger.resolve_missing(symbol, YAHOO_STREAM, day.start.date().isoformat(), at=lake.clock())
    return HourResult(
        day.start, done.status, done.reason, done.path, done.row_count, expected, done.content_hash,
        {YAHOO_STREAM: source}, tuple(outcomes), merged,
    )  # fmt: skip


def _rows(ticker: str, day: _Day, now: datetime) -> pl.DataFrame:
    """Rows of the day as Yahoo tells them now."""
    if day.answer is None or day.answer.rows is None:
        return pl.DataFrame(schema=MACRO_MINUTE.polars_schema)
    frame = day.answer.rows.filter(within("ts", day.start, day.end))
    over = [each.end for each in sessions(ticker, day.start, day.end) if each.end + _SETTLED <= now]
    settled_until = day.answer.settled_until or day.start
    final = (pl.col("ts") + MINUTE <= settled_until) | (pl.col("ts") < max(over, default=day.start))
    return frame.with_columns(pl.lit(ticker).alias("ticker"), final.alias("is_final")).select(MACRO_MINUTE.names)


def _known_until(day: _Day, now: datetime) -> datetime:
    """Time of the first minute of an open day that need not be there."""
    settled = None if day.answer is None else day.answer.settled_until
    known = now if settled is None else min(now, settled)
    return max(day.start, known.replace(second=0, microsecond=0))


def _declare_closed(lake: Lake, symbol: str, ticker: str, day: _Day) -> None:
    """The hours of the day without trading are known holes, by the calendar."""
    reference = "London's days of currencies" if calendar_of(ticker) == "FX" else "exchange_calendars"
    holes = [
        KnownHole(YAHOO_STREAM, symbol, each.start, each.end, f"{calendar_of(ticker)} is closed", reference)
        for each in closed_spans(ticker, day.start, day.end)
    ]
    _declare(lake, symbol, day, holes)


def _declare_silent(lake: Lake, symbol: str, ticker: str, day: _Day, rows: pl.DataFrame, now: datetime) -> None:
    """Minutes of a session that Yahoo left out at two looks after the day was over are known holes."""
    held, pause = day.held, MACRO_MINUTE.second_look_after
    if held is None or day.answer is None or not held.complete or pause is None or now < held.committed_at + pause:
        return
    there = set(rows["ts"].to_list())
    minutes = [
        each.start + at * MINUTE
        for each in sessions(ticker, day.start, day.end)
        for at in range((each.end - each.start) // MINUTE)
    ]
    silent = [at for at in minutes if at not in there]
    reference = f"Yahoo chart API, {held.committed_at:%F %R} and {now:%F %R}"
    _declare(
        lake,
        symbol,
        day,
        [KnownHole(YAHOO_STREAM, symbol, *run, SAID_TWICE, reference) for run in runs_of(silent, step=MINUTE)],
    )


def _declare(lake: Lake, symbol: str, day: _Day, holes: Sequence[KnownHole]) -> None:
    known = {(each.start, each.end) for each in lake.ledger.known_holes(symbol, day.start, day.end, YAHOO_STREAM)}
    for hole in holes:
        if (hole.start, hole.end) not in known:
            lake.ledger.declare_hole(hole)


def _reasons(outcomes: Sequence[CheckOutcome]) -> list[Reason]:
    counts = next(each.metadata for each in outcomes if each.name == "continuity")
    missing = counts.get("missing")
    if not missing:
        return []
    first = counts.get("first_missing")
    return [Reason("partial", f"{YAHOO_STREAM}: {missing} minute(s) of the sessions have no row, first {first}")]


def _revisions(symbol: str, before: pl.DataFrame, new: pl.DataFrame, now: datetime) -> list[Revision]:
    """Values of final rows that Yahoo tells differently than it did."""
    both = before.filter("is_final").join(new, on="ts", how="inner", suffix="_new")
    found = []
    for name in VALUE_COLUMNS:
        for row in both.filter(pl.col(name) != pl.col(f"{name}_new")).iter_rows(named=True):
            values = float(row[name]), float(row[f"{name}_new"])
            found.append(Revision(symbol, YAHOO_STREAM, row["ts"], name, "rest", "rest", *values, now))
    return found


def _refused(lake: Lake, symbol: str, base: HourResult) -> HourResult:
    broken = [each for each in base.outcomes if not each.passed and each.name != "evidence"]
    detail = "; ".join(each.text() for each in broken)
    rejection = Rejection(base.hour, base.frame, [each.name for each in broken], detail)
    path = quarantine_partition(lake.store, symbol, rejection, clock=lake.clock)
    return HourResult(
        base.hour, "quarantined", f"the gate refused it: {detail}", path, base.row_count, base.expected_rows,
        outcomes=base.outcomes, frame=base.frame,
    )  # fmt: skip
