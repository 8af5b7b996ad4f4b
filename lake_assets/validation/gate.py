"""The gate: what every hour must pass before it is committed.

Belongs here: the checks `schema`, `ohlc`, `continuity` and `required_columns`, for all hours of a frame at once.
Does not belong here: comparisons with other sources (`parity`), what is done with a rejected hour.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lake_assets.schema.known_holes import Hole
from lake_assets.schema.tables import MINUTE, Table
from lake_assets.validation.outcome import GATE_CHECKS, CheckOutcome, Metadata, outcome
from lake_assets.validation.rules import (
    HOLE_STREAMS,
    KLINE_STREAM,
    absent_values,
    excused_values,
    in_hole,
    ohlc_violations,
    schema_problem,
    value_violations,
)

_TIMESTAMP = pl.Datetime("us", "UTC")
_Stats = dict[datetime, dict[str, int | datetime | None]]
_Verdict = tuple[bool, Metadata]


@dataclass(frozen=True)
class HourWindow:
    """The minutes that an hour must hold.

    Attributes:
        hour: start of the hour, UTC.
        expected_end: first minute that need not be there, at most `hour` + 1 h (half-open).
    """

    hour: datetime
    expected_end: datetime


def gate(
    frame: pl.DataFrame, windows: Sequence[HourWindow], holes: Sequence[Hole], table: Table = MINUTE
) -> dict[datetime, list[CheckOutcome]]:
    """Judge all hours of a frame.

    A row that lies in no hour of `windows` counts against the hour before it (or the first). A frame of other columns
    or types fails every check of every hour: nothing else can be said about it.

    Args:
        frame: rows of the minute table, of one symbol.
        windows: the hours to judge.
        holes: known holes of that symbol.
        table: the declared table.

    Returns:
        For each hour its four outcomes, in the order of `GATE_CHECKS`.
    """
    ordered = sorted(windows, key=lambda window: window.hour)
    hours = [window.hour for window in ordered]
    problem = schema_problem(frame, table)
    if problem:
        return {hour: _unreadable(frame.height, problem) for hour in hours}
    if not hours:
        return {}
    rows = _owned(frame, hours)
    judges: dict[str, Callable[[datetime], _Verdict]] = {
        "schema": _values(rows, table),
        "ohlc": _ohlc(rows),
        "continuity": _continuity(rows, ordered, holes),
        "required_columns": _required(rows, table, ordered, holes),
    }
    return {hour: [_outcome(name, judge(hour)) for name, judge in judges.items()] for hour in hours}


def passes(outcomes: Sequence[CheckOutcome]) -> bool:
    """True where none of the gate's checks failed."""
    return all(check.passed for check in outcomes if check.name in GATE_CHECKS)


def _outcome(name: str, verdict: _Verdict) -> CheckOutcome:
    passed, metadata = verdict
    return outcome(name, passed=passed, metadata=metadata)


def _unreadable(rows: int, problem: str) -> list[CheckOutcome]:
    schema = outcome("schema", passed=False, metadata={"rows": rows, "violations": None, "problem": problem})
    others = {"problem": "not evaluated: see the check schema"}
    return [schema, *(outcome(name, passed=False, metadata=others) for name in GATE_CHECKS[1:])]


def _owned(frame: pl.DataFrame, hours: list[datetime]) -> pl.DataFrame:
    """The frame with `_hour`, the judged hour that a row counts for."""
    rows = frame.with_columns(_hour=pl.col("timestamp").dt.truncate("1h"))
    judged = set(hours)
    strays = {
        hour: hours[0] if hour is None else hours[max(bisect_right(hours, hour) - 1, 0)]
        for hour in rows["_hour"].unique().to_list()
        if hour not in judged
    }
    if not strays:
        return rows
    return rows.with_columns(
        pl.col("_hour").replace_strict(
            list(strays), list(strays.values()), default=pl.col("_hour"), return_dtype=_TIMESTAMP
        )
    )


def _per_hour(rows: pl.DataFrame, counts: Sequence[pl.Expr]) -> _Stats:
    if not counts or rows.is_empty():
        return {}
    return {row.pop("_hour"): row for row in rows.group_by("_hour").agg(counts).to_dicts()}


def _counts(stats: _Stats, hour: datetime) -> dict[str, int]:
    return {name: value for name, value in stats.get(hour, {}).items() if isinstance(value, int)}


def _minute_text(instant: object) -> str | None:
    return instant.strftime("%Y-%m-%d %H:%M") if isinstance(instant, datetime) else None


def _values(rows: pl.DataFrame, table: Table) -> Callable[[datetime], _Verdict]:
    violations = value_violations(table)
    totals = rows.select(expr.sum() for expr in violations).row(0, named=True)
    # Sound frames are the rule: only columns with a violation anywhere are counted per hour.
    suspects = [expr.sum() for expr in violations if totals[expr.meta.output_name()]]
    stats = _per_hour(rows, [pl.len().alias("_rows"), *suspects])

    def judge(hour: datetime) -> _Verdict:
        counts = _counts(stats, hour)
        height = counts.pop("_rows", 0)
        problem = ", ".join(f"{name}: {count}" for name, count in counts.items() if count) or None
        broken = sum(counts.values())
        return not broken, {"rows": height, "violations": broken, "problem": problem}

    return judge


def _ohlc(rows: pl.DataFrame) -> Callable[[datetime], _Verdict]:
    conditions = ohlc_violations()
    flagged = rows.select("_hour", "timestamp", **conditions)
    names = list(conditions)
    any_broken = pl.any_horizontal(names)
    stats = _per_hour(
        flagged,
        [
            pl.len().alias("rows"),
            *(pl.col(name).sum() for name in names),
            pl.col("timestamp").filter(any_broken).min().alias("first"),
        ],
    )

    def judge(hour: datetime) -> _Verdict:
        counts = dict.fromkeys(("rows", *names), 0) | _counts(stats, hour)
        broken = sum(counts[name] for name in names)
        return not broken, counts | {"first": _minute_text(stats.get(hour, {}).get("first"))}

    return judge


def _expected(windows: Sequence[HourWindow]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"_hour": [w.hour for w in windows], "_end": [w.expected_end for w in windows]},
        schema={"_hour": _TIMESTAMP, "_end": _TIMESTAMP},
    ).filter(pl.col("_hour") < pl.col("_end"))
    minutes = pl.datetime_ranges("_hour", "_end", "1m", closed="left")
    return frame.select("_hour", minutes.alias("timestamp")).explode("timestamp")


def _continuity(
    rows: pl.DataFrame, windows: Sequence[HourWindow], holes: Sequence[Hole]
) -> Callable[[datetime], _Verdict]:
    expected = _expected(windows)
    present = rows.group_by("timestamp").agg(pl.len().cast(pl.Int64).alias("_times"))
    times, hole = pl.col("_times"), pl.col("_hole")
    stats = _per_hour(
        expected.join(present, on="timestamp", how="left").with_columns(_hole=in_hole(holes, KLINE_STREAM)),
        [
            pl.len().alias("expected"),
            times.is_not_null().sum().alias("present"),
            (times.is_null() & ~hole).sum().alias("missing"),
            (times - 1).sum().alias("duplicated"),
            (times.is_null() & hole).sum().alias("excused"),
            pl.col("timestamp").filter(times.is_null() & ~hole).min().alias("first_missing"),
        ],
    )
    outside = _per_hour(
        rows.select("timestamp", "_hour").join(expected, on="timestamp", how="anti"), [pl.len().alias("outside")]
    )
    unordered: _Stats = {}
    if not rows["timestamp"].is_sorted():
        unordered = _per_hour(rows, [(pl.col("timestamp").diff() < pl.duration()).sum().alias("unordered")])
    causes = _causes(holes, windows, {KLINE_STREAM})

    def judge(hour: datetime) -> _Verdict:
        zero = dict.fromkeys(("expected", "present", "missing", "duplicated", "outside", "excused", "unordered"), 0)
        counts = zero | _counts(stats, hour) | _counts(outside, hour) | _counts(unordered, hour)
        sound = not any(counts[name] for name in ("missing", "duplicated", "outside", "unordered"))
        return sound, counts | {
            "first_missing": _minute_text(stats.get(hour, {}).get("first_missing")),
            "excuse": causes[hour] if counts["excused"] else None,
        }

    return judge


def _causes(holes: Sequence[Hole], windows: Sequence[HourWindow], streams: set[str]) -> dict[datetime, str | None]:
    """The holes that touch each hour, by name."""
    relevant = [hole for hole in holes if hole.stream in streams]
    return {
        window.hour: "; ".join(
            f"{hole.stream}: {hole.cause} ({hole.reference})"
            for hole in relevant
            if hole.start < window.expected_end and hole.end > window.hour
        )
        or None
        for window in windows
    }


def _required(
    rows: pl.DataFrame, table: Table, windows: Sequence[HourWindow], holes: Sequence[Hole]
) -> Callable[[datetime], _Verdict]:
    absent = absent_values(table, holes)
    excused = [expr.name.prefix("excused ") for expr in excused_values(table, holes)]
    totals = rows.select(expr.sum() for expr in (*absent, *excused)).row(0, named=True)
    stats = _per_hour(rows, [e.sum() for e in (*absent, *excused) if totals[e.meta.output_name()]])
    causes = _causes(holes, windows, set(HOLE_STREAMS.values()))

    def judge(hour: datetime) -> _Verdict:
        counts = _counts(stats, hour)
        nulls = {name: count for name, count in counts.items() if count and name in table.required}
        holes_used = sum(count for name, count in counts.items() if name not in table.required)
        problem = ", ".join(f"{name}: {count}" for name, count in nulls.items()) or None
        return not nulls, {
            "nulls": sum(nulls.values()),
            "excused": holes_used,
            "problem": problem,
            "excuse": causes[hour] if holes_used else None,
        }

    return judge
