"""Partitions of a table, day by day: sources → rows → gate → commit.

Belongs here: the order of these steps, what is skipped, what a partition's identity is made of.
Does not belong here: formulas (`transforms`), rules (`validation`), bytes (`lake_resources.storage`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TypedDict, Unpack

import polars as pl

from lake_assets.build.builder import Builder, Inputs, builder_of
from lake_assets.build.inputs_identity import Identity
from lake_assets.build.reconcile import Compared, evidence_of, judged, source_of
from lake_assets.inputs.archives import due_archives, forget_untraded, ingest_archives
from lake_assets.inputs.folded_klines import with_fold
from lake_assets.inputs.results import DayResult, HourResult
from lake_assets.inputs.sources import BarsByTrades, find_sources, settled
from lake_assets.inputs.spot_trades import NOTHING_BESIDE, SpotBeside
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.inputs.trade_sources import Heard, TradesAsked, find_trades
from lake_assets.inputs.untraded import untraded_spans
from lake_assets.lake import CODE_VERSION, Lake
from lake_assets.live.row_files import NOTHING, LiveHours, LiveRows, read_live
from lake_assets.schema.column import LIVE
from lake_assets.schema.known_holes import holes_of, known_holes
from lake_assets.source import Report, Wanted
from lake_assets.validation.gate import PartitionWindow, gate, passes, with_provisional
from lake_assets.validation.hour_verdict import Verdict, evidence_text, evidence_told, streams_apart, verdict_outcome
from lake_assets.validation.outcome import GATE_CHECKS, CheckOutcome, outcomes_from_json, outcomes_to_json
from lake_assets.windows import expected_end, hours_between, runs_of
from lake_resources.binance.um_streams import AGG_TRADES
from lake_resources.clock import HOUR
from lake_resources.layout import TableLayout
from lake_resources.storage.commit import (
    PartitionCandidate,
    Rejection,
    commit_partitions,
    quarantine_partition,
    recover_unless_busy,
    restate_partitions,
)
from lake_resources.storage.decision import CommitOutcome
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.placement import is_intact, serving_path
from lake_resources.storage.provenance import SourceRef, sources_to_json
from lake_resources.storage.reader import read_partition

_TRADES = AGG_TRADES.name


@dataclass(frozen=True)
class _Order:
    """What is to be built, and how: the same for all partitions of one call."""

    lake: Lake
    builder: Builder
    symbol: str
    now: datetime
    report: Report
    provisional: bool
    force: bool

    @property
    def layout(self) -> TableLayout:
        return self.lake.store.layout


@dataclass(frozen=True)
class _Plan:
    """A partition that can be built: its rows, its sources, and the hash of everything its rows depend on.

    Rows from `window.expected_end` to `end` are provisional: taken where they are there, not required.
    """

    layout: TableLayout
    window: PartitionWindow
    end: datetime
    sources: Mapping[str, SourceRef]
    inputs_hash: str

    @property
    def hour(self) -> datetime:
        return self.window.start

    @property
    def expected_rows(self) -> int:
        return (self.window.expected_end - self.window.start) // self.layout.grain

    @property
    def closed(self) -> bool:
        return self.window.expected_end == self.window.start + self.layout.step


class BuildOptions(TypedDict, total=False):
    """What a build takes by name, all of it optional.

    Attributes:
        provisional: also take closed rows that are younger than the safety lag, where all required streams have them.
            They lie at and after `Ledger.provisional_from`, and the watermark does not pass them.
        force: also build partitions that are committed from the same inputs.
        builder: makes the rows, in place of the one that the table's declaration names.
    """

    provisional: bool
    force: bool
    builder: Builder


def build_partitions(
    lake: Lake,
    symbol: str,
    starts: Sequence[datetime],
    *,
    now: datetime,
    report: Report,
    **options: Unpack[BuildOptions],
) -> Iterator[DayResult]:
    """Build and commit partitions of one symbol, one UTC day after the other; each day parses its archives once.

    A partition that fails does not touch its neighbours. What is committed from the same inputs is left as it is.

    Args:
        lake: on the table that is built (`Lake.of`); what makes its rows, its declaration says.
        symbol: whose partitions.
        starts: starts of partitions, UTC, any order.
        now: the instant that decides what is closed, and what REST still reaches.
        report: takes a line of progress or warning.
        options: see `BuildOptions`.

    Yields:
        One result per day, durable when it is yielded.
    """
    recover_unless_busy(lake.store)
    provisional, force = options.get("provisional", False), options.get("force", False)
    builder = options.get("builder") or builder_of(lake.table)
    order = _Order(lake, builder, symbol, now, report, provisional, force)
    for start, end in runs_of(starts, step=order.layout.step):
        for _, day in groupby(order.layout.between(start, end), key=lambda at: at.date()):
            yield _build_day(order, list(day))


def _build_day(order: _Order, starts: list[datetime]) -> DayResult:
    lake, symbol, layout, now = order.lake, order.symbol, order.layout, order.now
    lag = 0 if order.provisional else lake.safety_lag_minutes
    ends = {start: expected_end(layout, start, now, lag) for start in starts}
    windows = [PartitionWindow(start, expected_end(layout, start, now, lake.safety_lag_minutes)) for start in starts]
    ready = [window for window in windows if ends[window.start] > window.start]
    waiting = [
        HourResult(window.start, "not_yet", reason=f"no {lake.table.row_word} is closed for {lag} minutes yet")
        for window in windows
        if ends[window.start] <= window.start
    ]
    if not ready:
        return DayResult(tuple(waiting), ())
    until = ready[-1].start + layout.step
    # Raw inputs are kept by hours, whatever the length of a partition.
    ready_hours = [hour for window in ready for hour in hours_between(window.start, window.start + layout.step)]
    used = lake.table.uses_carrying(lake.max_ffill_minutes)
    due = [] if lake.judging else due_archives(lake, symbol, used, ready_hours, now)
    archives = list(ingest_archives(lake, symbol, due))
    sources = {
        name: find_sources(lake, symbol, use, ready_hours, now, order.report, again=order.force)
        for name, use in used.items()
        if name != _TRADES
    }
    beside = NOTHING_BESIDE
    if order.builder.beside is not None:
        beside = order.builder.beside(lake, symbol, ready_hours)
        sources[layout.row_stream] = with_fold(
            sources[layout.row_stream], beside, Wanted(symbol, ready_hours, now, order.report)
        )
    live = NOTHING
    if order.builder.collected:
        required = {window.start: window.expected_end for window in ready}
        look_back = timedelta(minutes=lake.max_ffill_minutes)
        klines = partial(sources[layout.row_stream].frame, ready[0].start, until)
        live = read_live(LiveRows(lake.catalog), symbol, required, ends, klines, look_back=look_back)
    by_trades: dict[str, BarsByTrades] = {}
    if _TRADES in used:
        # Last, for what the collector has whole is not asked for, and the bars are their witness.
        bars = sources[layout.row_stream].frame(ready[0].start, until)
        bars_from = {hour: sources[layout.row_stream].ref(hour) for hour in ready_hours}
        asking = TradesAsked(ready_hours, bars, bars_from, heard_of(live), now, order.report, again=order.force)
        sources[_TRADES], by_trades[layout.row_stream] = find_trades(lake, symbol, used[_TRADES], asking)
    sources = {name: settled(found, by_trades.get(name)) for name, found in sources.items()}
    heard = {**live.refs, **beside.refs}
    plans = [_plan(lake, window, ends[window.start], sources, heard) for window in ready]
    held = {row.start: row for row in lake.ledger.partitions(symbol, ready[0].start, until)}
    same = [] if order.force else [_unchanged(lake, plan, held.get(plan.hour), sources) for plan in plans]
    done = [result for result in same if result is not None]
    current = {result.hour for result in done}
    # Other inputs may have been refused since, and these are back.
    lake.ledger.resolve_quarantine(symbol, sorted(current), at=lake.clock())
    todo = [plan for plan in plans if plan.hour not in current]
    built = _build(order, todo, sources, (live, beside)) if todo else []
    results = sorted([*done, *built, *waiting], key=lambda result: result.hour)
    return DayResult(tuple(results), tuple(archives))


def heard_of(live: LiveHours) -> Heard:
    """What the collector proves of aggTrades."""
    proven = [] if live.live is None else live.live.filter("has_agg_trades")["timestamp"].to_list()
    return Heard(live.heard, frozenset(proven), live.refs)


def _plan(
    lake: Lake,
    window: PartitionWindow,
    end: datetime,
    sources: Mapping[str, StreamSources],
    heard: Mapping[datetime, SourceRef],
) -> _Plan:
    # Hours of an open day that have not begun have no source, and need none.
    hours = hours_between(window.start, min(end, window.start + lake.store.layout.step))
    refs = {name: source_of(found, hours) for name, found in sources.items()}
    if window.start in heard:
        refs[LIVE] = heard[window.start]
    identity = Identity(
        CODE_VERSION, lake.table.schema_hash, lake.max_ffill_minutes, window.start, sources_to_json(refs)
    )
    return _Plan(lake.store.layout, window, end, refs, identity.inputs_hash(window.expected_end, end))


def _unchanged(
    lake: Lake, plan: _Plan, held: Partition | None, sources: Mapping[str, StreamSources]
) -> HourResult | None:
    """The partition as it is committed; None where it is not, from other inputs, or not as ledger and evidence say."""
    if held is None or held.inputs_hash != plan.inputs_hash or not is_intact(lake.store, held):
        return None
    if evidence_told(held.verdict_detail) != evidence_text(evidence_of(plan.layout, sources, plan.hour)):
        return None
    # What was asked for once more after the commit, and differed, was asked for again and is the same by now. The row
    # stream is compared as it is stored, which no source can settle.
    apart = streams_apart(held.verdict_detail) - {plan.layout.row_stream}
    if any(_agree(sources[name], plan.hour) for name in apart & sources.keys()):
        return None
    frame = read_partition(lake.store, held)
    times = frame[plan.layout.time_column]
    found = (frame.height, times.min(), times.max(), plan.closed, plan.expected_rows)
    told = (held.row_count, held.min_ts, held.max_ts, held.complete, held.expected_rows)
    if found != told or held.schema_hash != lake.table.schema_hash:
        return None
    return HourResult(
        plan.hour,
        "unchanged",
        reason="committed before from the same inputs",
        path=serving_path(lake.store, held),
        row_count=held.row_count,
        expected_rows=held.expected_rows,
        content_hash=held.content_hash,
        sources=held.sources,
        outcomes=outcomes_from_json(held.checks, lake.table.checks),
        frame=frame,
    )


def _agree(found: StreamSources, hour: datetime) -> bool:
    """Whether archive and answers of an hour, or of those it looks back to, were compared, and say the same."""
    seen = (found.parities.get(hour - n * HOUR) for n in range(found.use.look_back_hours + 1))
    compared = [parity for parity in seen if parity is not None]
    return bool(compared) and not any(parity.differing for parity in compared)


def _build(
    order: _Order, plans: list[_Plan], sources: Mapping[str, StreamSources], collected: tuple[LiveHours, SpotBeside]
) -> list[HourResult]:
    lake, symbol, now, table = order.lake, order.symbol, order.now, order.lake.table
    start, end = plans[0].hour, plans[-1].end
    holes = [
        *holes_of(known_holes(), symbol, start, end),
        *lake.ledger.known_holes(symbol, start, end),
        *untraded_spans(lake.ledger, symbol, start, end),
    ]
    hours = [plan.hour for plan in plans]
    inputs = Inputs(
        table, sources, hours, start, end, lake.max_ffill_minutes, collected[0], symbol, collected[1], lake.quote_carry
    )
    made = order.builder.rows(inputs)
    frame, windows = with_provisional(table, made.frame, [plan.window for plan in plans])
    verdicts = gate(table, frame, windows, holes)
    further = order.builder.compare(lake, symbol, inputs, made, Compared(windows, frame, holes, now))
    checked = {plan.hour: [*verdicts[plan.hour], *further[plan.hour]] for plan in plans}
    evidence = {w.start: judged(order.layout, checked[w.start], sources, w) for w in windows}
    outcomes = {start: [*found, verdict_outcome(evidence[start][0])] for start, found in checked.items()}
    parts = _by_partition(order.layout, frame, hours)
    missing = {plan.hour: _missing_required(sources, plan) for plan in plans}
    passed = [
        plan
        for plan in plans
        if not missing[plan.hour] and passes(outcomes[plan.hour]) and (plan.expected_rows or parts[plan.hour].height)
    ]
    candidates = [
        _candidate(lake, symbol, plan, parts[plan.hour], outcomes[plan.hour], evidence[plan.hour]) for plan in passed
    ]
    commit = restate_partitions if lake.judging else commit_partitions
    committed = {outcome.start: outcome for outcome in commit(lake.store, symbol, candidates, clock=lake.clock)}
    listing = lake.ledger.listing(symbol) if any(part.is_empty() for part in parts.values()) else None
    if listing is not None:
        forget_untraded(lake, symbol, listing)
    results = []
    for plan in plans:
        if listing is not None and parts[plan.hour].is_empty() and listing.is_untraded(plan.layout, plan.hour):
            results.append(HourResult(plan.hour, "not_yet", reason=f"the exchange does not trade {symbol} then"))
            continue
        if not plan.expected_rows and not parts[plan.hour].height:
            results.append(
                HourResult(plan.hour, "not_yet", reason=f"no closed {table.row_word} has all required streams yet")
            )
            continue
        base = HourResult(
            plan.hour,
            "source_missing",
            expected_rows=plan.expected_rows,
            sources=plan.sources,
            outcomes=tuple(outcomes[plan.hour]),
            row_count=parts[plan.hour].height,
            frame=parts[plan.hour],
        )
        if missing[plan.hour] and not lake.judging:
            results.append(_source_missing(lake, symbol, base, missing[plan.hour], sources, now))
        elif lake.judging and plan.hour not in committed:
            results.append(replace(base, status="kept_better", reason="its sources give no rows that pass the gate"))
        elif plan.hour in committed:
            results.append(_as_committed(lake, symbol, base, committed[plan.hour]))
        else:
            results.append(_quarantine(lake, symbol, base))
    return results


def _by_partition(layout: TableLayout, frame: pl.DataFrame, starts: Sequence[datetime]) -> dict[datetime, pl.DataFrame]:
    """Rows of each partition; the frame is sorted by time, so they are slices of it."""
    times = frame[layout.time_column]
    edges = pl.Series([*starts, *(start + layout.step for start in starts)], dtype=times.dtype)
    at = times.search_sorted(edges, side="left").to_list()
    return {
        start: frame.slice(first, end - first)
        for start, first, end in zip(starts, at[: len(starts)], at[len(starts) :], strict=True)
    }


def _missing_required(sources: Mapping[str, StreamSources], plan: _Plan) -> list[str]:
    return [name for name, found in sources.items() if found.use.required and plan.sources[name].kind == "none"]


def _source_missing(
    lake: Lake,
    symbol: str,
    base: HourResult,
    names: list[str],
    sources: Mapping[str, StreamSources],
    now: datetime,
) -> HourResult:
    """The partition waits for its source. Once that should be there it is accounted for, so that the lake can go on."""
    reasons: dict[str, list[str]] = {}
    for name in names:
        hours = hours_between(base.hour, base.hour + lake.store.layout.step)
        absent = next(sources[name].absent[hour] for hour in hours if hour in sources[name].absent)
        reasons.setdefault(absent, []).append(name)
    text = "; ".join(f"{', '.join(streams)}: {reason}" for reason, streams in reasons.items())
    if all(sources[name].use.archive_due(base.hour.date(), now) for name in names):
        detail = f"no source has {', '.join(names)}"
        rejection = Rejection(base.hour, None, ["source_missing"], detail)
        quarantine_partition(lake.store, symbol, rejection, clock=lake.clock)
    return replace(base, reason=f"no source has {text}")


def _candidate(
    lake: Lake,
    symbol: str,
    plan: _Plan,
    rows: pl.DataFrame,
    outcomes: list[CheckOutcome],
    evidence: tuple[Verdict, str],
) -> PartitionCandidate:
    metadata = {
        "lake.symbol": symbol,
        f"lake.{plan.layout.span}": plan.hour.isoformat(),
        "lake.schema_hash": lake.table.schema_hash,
        "lake.code_version": CODE_VERSION,
    }
    return PartitionCandidate(
        start=plan.hour,
        frame=rows,
        metadata=metadata,
        sources=plan.sources,
        complete=plan.closed,
        expected_rows=plan.expected_rows,
        inputs_hash=plan.inputs_hash,
        schema_hash=lake.table.schema_hash,
        code_version=CODE_VERSION,
        checks=outcomes_to_json(outcomes),
        verdict=evidence[0].kind,
        verdict_detail=evidence[1],
    )


def _as_committed(lake: Lake, symbol: str, base: HourResult, outcome: CommitOutcome) -> HourResult:
    result = replace(
        base,
        status=outcome.status,
        reason=outcome.reason,
        path=outcome.path,
        row_count=outcome.row_count,
        content_hash=outcome.content_hash,
    )
    if outcome.status != "kept_better":
        return result
    held = lake.ledger.partition(symbol, base.hour)
    if held is None:
        return result
    kept = outcomes_from_json(held.checks, lake.table.checks)
    return replace(result, sources=held.sources, outcomes=kept, frame=read_partition(lake.store, held))


def _quarantine(lake: Lake, symbol: str, base: HourResult) -> HourResult:
    broken = [outcome for outcome in base.outcomes if outcome.name in GATE_CHECKS and not outcome.passed]
    detail = "; ".join(outcome.text() for outcome in broken)
    rejection = Rejection(base.hour, base.frame, [outcome.name for outcome in broken], detail)
    path = quarantine_partition(lake.store, symbol, rejection, clock=lake.clock)
    return replace(base, status="quarantined", reason=f"the gate refused it: {detail}", path=path)
