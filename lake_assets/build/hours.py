"""Hours of the minute table, day by day: sources → rows → gate → commit.

Belongs here: the order of these steps, what is skipped, what an hour's identity is made of.
Does not belong here: formulas (`transforms`), rules (`validation`), bytes (`lake_resources.storage`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

import polars as pl

from lake_assets.build.reconcile import reconcile
from lake_assets.build.rows import build_rows
from lake_assets.inputs.archives import due_archives, ingest_archives
from lake_assets.inputs.results import DayResult, HourResult
from lake_assets.inputs.sources import Report, StreamSources, find_sources
from lake_assets.lake import CODE_VERSION, Lake
from lake_assets.live.proof import LiveHours, read_live
from lake_assets.live.row_files import LiveRows
from lake_assets.schema.column import LIVE
from lake_assets.schema.known_holes import Hole, holes_of, known_holes
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.gate import PartitionWindow, gate, passes
from lake_assets.validation.outcome import GATE_CHECKS, CheckOutcome, outcomes_from_json, outcomes_to_json
from lake_assets.validation.provisional import with_provisional
from lake_assets.windows import expected_end, hours_between, runs_of
from lake_resources.clock import HOUR
from lake_resources.storage.commit import (
    CommitOutcome,
    PartitionCandidate,
    Rejection,
    commit_partitions,
    quarantine_partition,
    recover_unless_busy,
)
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.placement import is_intact, serving_path
from lake_resources.storage.provenance import SourceRef, sources_to_json
from lake_resources.storage.reader import read_partition

_TRADES = "agg_trades"


@dataclass(frozen=True)
class _Plan:
    """An hour that can be built: its minutes, its sources, and the hash of everything its rows depend on.

    Minutes from `window.expected_end` to `end` are provisional: taken where they are there, not required.
    """

    window: PartitionWindow
    end: datetime
    sources: Mapping[str, SourceRef]
    inputs_hash: str

    @property
    def hour(self) -> datetime:
        return self.window.start

    @property
    def expected_rows(self) -> int:
        return (self.window.expected_end - self.window.start) // timedelta(minutes=1)

    @property
    def closed(self) -> bool:
        return self.window.expected_end == self.window.start + HOUR


def build_hours(
    lake: Lake,
    symbol: str,
    hours: Sequence[datetime],
    *,
    now: datetime,
    report: Report,
    provisional: bool = False,
    force: bool = False,
) -> Iterator[DayResult]:
    """Build and commit hours of one symbol, one UTC day after the other; each day parses its archives once.

    An hour that fails does not touch its neighbours. What is committed from the same inputs is left as it is.

    Args:
        hours: starts of hours, UTC, any order.
        now: the instant that decides what is closed, and what REST still reaches.
        report: takes a line of progress or warning.
        provisional: also take closed minutes that are younger than the safety lag, where all required streams have
            them. They lie at and after `Ledger.provisional_from`, and the watermark does not pass them.
        force: also build hours that are committed from the same inputs.

    Yields:
        One result per day, durable when it is yielded.
    """
    recover_unless_busy(lake.store)
    for start, end in runs_of(hours):
        for _, day_hours in groupby(hours_between(start, end), key=lambda hour: hour.date()):
            yield _build_day(lake, symbol, list(day_hours), now, report, provisional, force)


def _build_day(
    lake: Lake, symbol: str, hours: list[datetime], now: datetime, report: Report, provisional: bool, force: bool
) -> DayResult:
    lag = 0 if provisional else lake.safety_lag_minutes
    ends = {hour: expected_end(lake.store.layout, hour, now, lag) for hour in hours}
    windows = [
        PartitionWindow(hour, expected_end(lake.store.layout, hour, now, lake.safety_lag_minutes)) for hour in hours
    ]
    ready = [window for window in windows if ends[window.start] > window.start]
    waiting = [
        HourResult(window.start, "not_yet", reason=f"no minute is closed for {lag} minutes yet")
        for window in windows
        if ends[window.start] <= window.start
    ]
    if not ready:
        return DayResult(tuple(waiting), ())
    ready_hours = [window.start for window in ready]
    used = UM_MINUTE.uses_carrying(lake.max_ffill_minutes)
    due = due_archives(lake, symbol, used, ready_hours, now)
    archives = list(ingest_archives(lake, symbol, due))
    required = {window.start: window.expected_end for window in ready}
    look_back = timedelta(minutes=lake.max_ffill_minutes)
    sources = {
        name: find_sources(lake, symbol, use, ready_hours, now, report) for name, use in used.items() if name != _TRADES
    }
    klines = partial(sources["klines_1m"].frame, ready_hours[0], ready_hours[-1] + HOUR)
    live = read_live(LiveRows(lake.catalog), symbol, required, ends, klines, look_back=look_back)
    # Last, for what the collector has whole is not asked for.
    sources[_TRADES] = find_sources(lake, symbol, used[_TRADES], ready_hours, now, report, heard=live.heard)
    plans = [_plan(lake, window, ends[window.start], sources, live) for window in ready]
    held = {row.start: row for row in lake.ledger.partitions(symbol, ready_hours[0], ready_hours[-1] + HOUR)}
    same = [] if force else [_unchanged(lake, plan, held.get(plan.hour)) for plan in plans]
    done = [result for result in same if result is not None]
    current = {result.hour for result in done}
    # Other inputs may have been refused since, and these are back.
    lake.ledger.resolve_quarantine(symbol, sorted(current), at=lake.clock())
    todo = [plan for plan in plans if plan.hour not in current]
    built = _build(lake, symbol, todo, sources, live, now) if todo else []
    results = sorted([*done, *built, *waiting], key=lambda result: result.hour)
    return DayResult(tuple(results), tuple(archives))


def _plan(
    lake: Lake, window: PartitionWindow, end: datetime, sources: Mapping[str, StreamSources], live: LiveHours
) -> _Plan:
    refs = {name: found.ref_with_look_back(window.start) for name, found in sources.items()}
    if window.start in live.refs:
        refs[LIVE] = live.refs[window.start]
    identity = json.dumps(
        [
            CODE_VERSION,
            UM_MINUTE.schema_hash,
            lake.max_ffill_minutes,
            window.start.isoformat(),
            window.expected_end.isoformat(),
            sources_to_json(refs),
            *([end.isoformat()] if end > window.expected_end else []),
        ]
    )
    return _Plan(window, end, refs, hashlib.sha256(identity.encode()).hexdigest())


def _unchanged(lake: Lake, plan: _Plan, held: Partition | None) -> HourResult | None:
    """The hour as it is committed; None where it is not, from other inputs, or not as the ledger says."""
    if held is None or held.inputs_hash != plan.inputs_hash or not is_intact(lake.store, held):
        return None
    frame = read_partition(lake.store, held)
    found = (frame.height, frame["timestamp"].min(), frame["timestamp"].max(), plan.closed, plan.expected_rows)
    told = (held.row_count, held.min_ts, held.max_ts, held.complete, held.expected_rows)
    if found != told or held.schema_hash != UM_MINUTE.schema_hash:
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
        outcomes=outcomes_from_json(held.checks),
        frame=frame,
    )


def _build(
    lake: Lake,
    symbol: str,
    plans: list[_Plan],
    sources: Mapping[str, StreamSources],
    live: LiveHours,
    now: datetime,
) -> list[HourResult]:
    start, end = plans[0].hour, plans[-1].end
    holes = [
        *holes_of(known_holes(), symbol, start, end),
        *(Hole(**vars(hole)) for hole in lake.ledger.known_holes(symbol, start, end)),
    ]
    hours = [plan.hour for plan in plans]
    built = build_rows(sources, hours, start, end, live=live, max_ffill_minutes=lake.max_ffill_minutes)
    frame, windows = with_provisional(UM_MINUTE, built.frame, [plan.window for plan in plans])
    verdicts = gate(UM_MINUTE, frame, windows, holes)
    further = reconcile(lake, symbol, sources, windows, frame, built.trades, built.klines, live, holes, now)
    outcomes = {plan.hour: [*verdicts[plan.hour], *further[plan.hour]] for plan in plans}
    parts = _by_hour(frame, hours)
    missing = {plan.hour: _missing_required(sources, plan.hour) for plan in plans}
    passed = [
        plan
        for plan in plans
        if not missing[plan.hour] and passes(outcomes[plan.hour]) and (plan.expected_rows or parts[plan.hour].height)
    ]
    candidates = [_candidate(symbol, plan, parts[plan.hour], outcomes[plan.hour]) for plan in passed]
    committed = {
        outcome.start: outcome for outcome in commit_partitions(lake.store, symbol, candidates, clock=lake.clock)
    }
    results = []
    for plan in plans:
        if not plan.expected_rows and not parts[plan.hour].height:
            results.append(HourResult(plan.hour, "not_yet", reason="no closed minute has all required streams yet"))
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
        if missing[plan.hour]:
            results.append(_source_missing(lake, symbol, base, missing[plan.hour], sources, now))
        elif plan.hour in committed:
            results.append(_as_committed(lake, symbol, base, committed[plan.hour]))
        else:
            results.append(_quarantine(lake, symbol, base))
    return results


def _by_hour(frame: pl.DataFrame, hours: Sequence[datetime]) -> dict[datetime, pl.DataFrame]:
    """Rows of each hour; the frame is sorted by time, so they are slices of it."""
    times = frame["timestamp"]
    edges = pl.Series([*hours, *(hour + HOUR for hour in hours)], dtype=times.dtype)
    at = times.search_sorted(edges, side="left").to_list()
    return {
        hour: frame.slice(first, end - first)
        for hour, first, end in zip(hours, at[: len(hours)], at[len(hours) :], strict=True)
    }


def _missing_required(sources: Mapping[str, StreamSources], hour: datetime) -> list[str]:
    return [name for name, found in sources.items() if found.use.required and not found.covered(hour)]


def _source_missing(
    lake: Lake,
    symbol: str,
    base: HourResult,
    names: list[str],
    sources: Mapping[str, StreamSources],
    now: datetime,
) -> HourResult:
    """The hour waits for its source. Once that should be there it is accounted for, so that the lake can go on."""
    reasons: dict[str, list[str]] = {}
    for name in names:
        reasons.setdefault(sources[name].absent[base.hour], []).append(name)
    text = "; ".join(f"{', '.join(streams)}: {reason}" for reason, streams in reasons.items())
    if all(sources[name].use.archive_due(base.hour.date(), now) for name in names):
        detail = f"no source has {', '.join(names)}"
        rejection = Rejection(base.hour, None, ["source_missing"], detail)
        quarantine_partition(lake.store, symbol, rejection, clock=lake.clock)
    return replace(base, reason=f"no source has {text}")


def _candidate(symbol: str, plan: _Plan, rows: pl.DataFrame, outcomes: list[CheckOutcome]) -> PartitionCandidate:
    metadata = {
        "lake.symbol": symbol,
        "lake.hour": plan.hour.isoformat(),
        "lake.schema_hash": UM_MINUTE.schema_hash,
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
        schema_hash=UM_MINUTE.schema_hash,
        code_version=CODE_VERSION,
        checks=outcomes_to_json(outcomes),
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
    kept = outcomes_from_json(held.checks)
    return replace(result, sources=held.sources, outcomes=kept, frame=read_partition(lake.store, held))


def _quarantine(lake: Lake, symbol: str, base: HourResult) -> HourResult:
    broken = [outcome for outcome in base.outcomes if outcome.name in GATE_CHECKS and not outcome.passed]
    detail = "; ".join(outcome.text() for outcome in broken)
    rejection = Rejection(base.hour, base.frame, [outcome.name for outcome in broken], detail)
    path = quarantine_partition(lake.store, symbol, rejection, clock=lake.clock)
    return replace(base, status="quarantined", reason=f"the gate refused it: {detail}", path=path)
