"""Partitions of a table, day by day: sources → rows → gate → commit.

Belongs here: the order of these steps, what becomes of rows that pass and of those that do not. Does not belong here:
the sources of a day and what is skipped (`prepared_day`), several symbols in one pass (`lanes`), formulas
(`transforms`), rules (`validation`), bytes (`lake_resources.storage`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import TypedDict, Unpack

import polars as pl

from lake_assets.build.builder import Builder, builder_of
from lake_assets.build.prepared_day import DayOrder, PartitionPlan, PreparedDay, prepared_day
from lake_assets.build.reconcile import Compared, judged
from lake_assets.inputs.archives import forget_untraded
from lake_assets.inputs.results import DayResult, HourResult
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.lake import CODE_VERSION, Lake
from lake_assets.source import Report
from lake_assets.validation.gate import PartitionWindow, gate, passes, with_provisional
from lake_assets.validation.hour_verdict import Verdict, verdict_outcome
from lake_assets.validation.outcome import GATE_CHECKS, CheckOutcome, outcomes_from_json, outcomes_to_json
from lake_assets.windows import hours_between, runs_of
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
from lake_resources.storage.reader import read_partition


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
    order = DayOrder(lake, builder, symbol, now, report, provisional, force)
    for day in days_of(order.layout, starts):
        prepared = prepared_day(order, day)
        yield committed_day(prepared, judged_alone(prepared)) if prepared.todo else day_result(prepared)


def days_of(layout: TableLayout, starts: Sequence[datetime]) -> Iterator[list[datetime]]:
    """Starts of partitions by UTC day, contiguous and in order.

    Args:
        layout: of the table.
        starts: any order, UTC.
    """
    for start, end in runs_of(starts, step=layout.step):
        for _, day in groupby(layout.between(start, end), key=lambda at: at.date()):
            yield list(day)


def judged_alone(day: PreparedDay) -> JudgedRows:
    """Rows and checks of the partitions of one symbol.

    Args:
        day: what is to be built, at least one partition.
    """
    order, inputs, holes = day.order, day.inputs(), day.holes()
    made = order.builder.rows(inputs)
    frame, windows = with_provisional(inputs.table, made.frame, [plan.window for plan in day.todo])
    verdicts = gate(inputs.table, frame, windows, holes)
    compared = Compared(windows, frame, holes, order.now)
    further = order.builder.compare(order.lake, order.symbol, inputs, made, compared)
    checks = {plan.hour: [*verdicts[plan.hour], *further[plan.hour]] for plan in day.todo}
    return JudgedRows(frame, windows, checks)


@dataclass(frozen=True)
class JudgedRows:
    """Rows of the partitions of a day, and what the checks say of them.

    Attributes:
        frame: rows of all of them, sorted by time (UTC).
        windows: the rows that each must hold.
        checks: by start, the outcomes of all checks but the verdict, those of the gate first.
    """

    frame: pl.DataFrame
    windows: Sequence[PartitionWindow]
    checks: Mapping[datetime, Sequence[CheckOutcome]]


def committed_day(day: PreparedDay, rows: JudgedRows) -> DayResult:
    """Commit the partitions that pass the gate, put those aside that do not, and tell what came of each.

    Args:
        day: what was to be built.
        rows: what came of it.
    """
    lake, offered = day.order.lake, offered_day(day, rows)
    commit = restate_partitions if lake.judging else commit_partitions
    found = commit(lake.store, day.order.symbol, offered.candidates, clock=lake.clock, timeout_s=lake.lock_wait_s)
    return told_day(offered, found)


@dataclass(frozen=True)
class OfferedDay:
    """Partitions of a day as they are offered to the commit.

    Attributes:
        day: what was to be built.
        outcomes: what all checks say, by start.
        parts: rows by start.
        missing: by start, required streams that have no source.
        candidates: those that pass the gate.
    """

    day: PreparedDay
    outcomes: Mapping[datetime, list[CheckOutcome]]
    parts: Mapping[datetime, pl.DataFrame]
    missing: Mapping[datetime, list[str]]
    candidates: Sequence[PartitionCandidate]


def offered_day(day: PreparedDay, rows: JudgedRows) -> OfferedDay:
    """What is to be committed of a day; nothing is written.

    Args:
        day: what was to be built.
        rows: what came of it.
    """
    order, plans, sources = day.order, day.todo, day.sources
    evidence = {w.start: judged(order.layout, rows.checks[w.start], sources, w) for w in rows.windows}
    outcomes = {start: [*found, verdict_outcome(evidence[start][0])] for start, found in rows.checks.items()}
    parts = _by_partition(order.layout, rows.frame, [plan.hour for plan in plans])
    missing = {plan.hour: _missing_required(sources, plan) for plan in plans}
    passed = [
        plan
        for plan in plans
        if not missing[plan.hour] and passes(outcomes[plan.hour]) and (plan.expected_rows or parts[plan.hour].height)
    ]
    candidates = [
        _candidate(order.lake, order.symbol, plan, parts[plan.hour], outcomes[plan.hour], evidence[plan.hour])
        for plan in passed
    ]
    return OfferedDay(day, outcomes, parts, missing, candidates)


def told_day(offered: OfferedDay, found: Sequence[CommitOutcome]) -> DayResult:
    """Put aside what does not pass the gate, and tell what came of each partition.

    Args:
        offered: the day.
        found: what became of its candidates.
    """
    day, outcomes, parts, missing = offered.day, offered.outcomes, offered.parts, offered.missing
    order, plans = day.order, day.todo
    lake, symbol, table = order.lake, order.symbol, order.lake.table
    committed = {outcome.start: outcome for outcome in found}
    empty = [start for start, part in parts.items() if part.is_empty()]
    untraded = lake.ledger.untraded(symbol, empty) if empty else set[datetime]()
    if empty:
        forget_untraded(lake, symbol)
    results: list[HourResult] = []
    for plan in plans:
        if plan.hour in untraded:
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
            results.append(_source_missing(day, plan, base, missing[plan.hour]))
        elif lake.judging and plan.hour not in committed:
            results.append(replace(base, status="kept_better", reason="its sources give no rows that pass the gate"))
        elif plan.hour in committed:
            results.append(_as_committed(lake, symbol, base, committed[plan.hour]))
        else:
            results.append(_quarantine(lake, symbol, base, plan.over))
    return day_result(day, results)


def day_result(day: PreparedDay, built: Sequence[HourResult] = ()) -> DayResult:
    """The result of a day, in order of its partitions."""
    return DayResult(tuple(sorted([*day.settled, *built], key=lambda result: result.hour)), day.archives)


def _by_partition(layout: TableLayout, frame: pl.DataFrame, starts: Sequence[datetime]) -> dict[datetime, pl.DataFrame]:
    """Rows of each partition; the frame is sorted by time, so they are slices of it."""
    times = frame[layout.time_column]
    edges = pl.Series([*starts, *(start + layout.step for start in starts)], dtype=times.dtype)
    at = times.search_sorted(edges, side="left").to_list()
    return {
        start: frame.slice(first, end - first)
        for start, first, end in zip(starts, at[: len(starts)], at[len(starts) :], strict=True)
    }


def _missing_required(sources: Mapping[str, StreamSources], plan: PartitionPlan) -> list[str]:
    return [name for name, found in sources.items() if found.use.required and plan.sources[name].kind == "none"]


def _source_missing(day: PreparedDay, plan: PartitionPlan, base: HourResult, names: list[str]) -> HourResult:
    """The partition waits for its source. Once that should be there it is accounted for, so that the lake can go on."""
    lake, sources, reasons = day.order.lake, day.sources, dict[str, list[str]]()
    for name in names:
        hours = hours_between(base.hour, base.hour + lake.store.layout.step)
        absent = next(sources[name].absent[hour] for hour in hours if hour in sources[name].absent)
        reasons.setdefault(absent, []).append(name)
    text = "; ".join(f"{', '.join(streams)}: {reason}" for reason, streams in reasons.items())
    if all(sources[name].use.archive_due(base.hour.date(), day.order.now) for name in names):
        detail = f"no source has {', '.join(names)}"
        rejection = Rejection(base.hour, None, ["source_missing"], detail, plan.over)
        quarantine_partition(lake.store, day.order.symbol, rejection, clock=lake.clock, timeout_s=lake.lock_wait_s)
    return replace(base, reason=f"no source has {text}")


def _candidate(
    lake: Lake,
    symbol: str,
    plan: PartitionPlan,
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
        over=plan.over,
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


def _quarantine(lake: Lake, symbol: str, base: HourResult, over: str) -> HourResult:
    broken = [outcome for outcome in base.outcomes if outcome.name in GATE_CHECKS and not outcome.passed]
    detail = "; ".join(outcome.text() for outcome in broken)
    rejection = Rejection(base.hour, base.frame, [outcome.name for outcome in broken], detail, over)
    path = quarantine_partition(lake.store, symbol, rejection, clock=lake.clock, timeout_s=lake.lock_wait_s)
    if path is None:
        return replace(base, status="kept_better", reason="another writer committed it while it was built")
    return replace(base, status="quarantined", reason=f"the gate refused it: {detail}", path=path)
