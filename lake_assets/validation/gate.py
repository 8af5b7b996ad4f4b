"""The gate: what every partition must pass before it is committed.

Belongs here: the checks `schema`, `ohlc`, `continuity` and `required_columns`, for all partitions of a frame at once;
which rows that are younger than the safety lag are taken already. Does not belong here: comparisons with other sources
(`parity`), what is done with a rejected partition.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lake_assets.schema.table import Table
from lake_assets.validation.outcome import GATE_CHECKS, CheckOutcome, Metadata, outcome
from lake_assets.validation.rules import (
    absent_values,
    excused_values,
    in_hole,
    ohlc_violations,
    value_violations,
)
from lake_resources.known_hole import KnownHole

_TIMESTAMP = pl.Datetime("us", "UTC")
_Stats = dict[datetime, dict[str, int | datetime | None]]
_Verdict = tuple[bool, Metadata]


@dataclass(frozen=True)
class PartitionWindow:
    """The rows that a partition must hold.

    Attributes:
        start: start of the partition, UTC.
        expected_end: time of the first row that need not be there, at most the end of the partition (half-open).
    """

    start: datetime
    expected_end: datetime


def gate(
    table: Table, frame: pl.DataFrame, windows: Sequence[PartitionWindow], holes: Sequence[KnownHole]
) -> dict[datetime, list[CheckOutcome]]:
    """Judge all partitions of a frame.

    A row that lies in no partition of `windows` counts against the one before it (or the first). A frame of other
    columns or types fails every check of every partition: nothing else can be said about it.

    Args:
        table: the table that the rows are of.
        frame: its rows, of one symbol.
        windows: the partitions to judge.
        holes: known holes of that symbol.

    Returns:
        For the start of each partition its four outcomes, in the order of `GATE_CHECKS`.
    """
    ordered = sorted(windows, key=lambda window: window.start)
    starts = [window.start for window in ordered]
    problem = _schema_problem(frame, table)
    if problem:
        return {start: _unreadable(frame.height, problem) for start in starts}
    if not starts:
        return {}
    rows = _owned(table, frame, starts)
    judges: dict[str, Callable[[datetime], _Verdict]] = {
        "schema": _values(table, rows),
        "ohlc": _ohlc(table, rows),
        "continuity": _continuity(table, rows, ordered, holes),
        "required_columns": _required(table, rows, ordered, holes),
    }
    return {start: [_outcome(name, judge(start)) for name, judge in judges.items()] for start in starts}


def _schema_problem(frame: pl.DataFrame, table: Table) -> str | None:
    """How the columns of a frame differ from the declared ones in name, type or order; None where they do not."""
    found, declared = dict(frame.schema), dict(table.polars_schema)
    texts = []
    if missing := [name for name in declared if name not in found]:
        texts.append(f"missing {', '.join(missing)}")
    if unknown := [name for name in found if name not in declared]:
        texts.append(f"unknown {', '.join(unknown)}")
    texts += [
        f"{name} is {found[name]}, not {dtype}" for name, dtype in declared.items() if found.get(name, dtype) != dtype
    ]
    if not texts and list(found) != list(declared):
        texts.append("columns in another order")
    return "; ".join(texts) or None


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


def _owned(table: Table, frame: pl.DataFrame, starts: list[datetime]) -> pl.DataFrame:
    """The frame with `_part`, the start of the judged partition that a row counts for."""
    rows = frame.with_columns(_part=pl.col(table.layout.time_column).dt.truncate(table.layout.step))
    judged = set(starts)
    strays = {
        start: starts[0] if start is None else starts[max(bisect_right(starts, start) - 1, 0)]
        for start in rows["_part"].unique().to_list()
        if start not in judged
    }
    if not strays:
        return rows
    return rows.with_columns(
        pl.col("_part").replace_strict(
            list(strays), list(strays.values()), default=pl.col("_part"), return_dtype=_TIMESTAMP
        )
    )


def _per_partition(rows: pl.DataFrame, counts: Sequence[pl.Expr]) -> _Stats:
    if not counts or rows.is_empty():
        return {}
    return {row.pop("_part"): row for row in rows.group_by("_part").agg(counts).to_dicts()}


def _counts(stats: _Stats, start: datetime) -> dict[str, int]:
    return {name: value for name, value in stats.get(start, {}).items() if isinstance(value, int)}


def _row_text(table: Table, instant: object) -> str | None:
    return table.row_text(instant) if isinstance(instant, datetime) else None


def _values(table: Table, rows: pl.DataFrame) -> Callable[[datetime], _Verdict]:
    violations = value_violations(table)
    totals = rows.select(expr.sum() for expr in violations).row(0, named=True)
    # Sound frames are the rule: only columns with a violation anywhere are counted per partition.
    suspects = [expr.sum() for expr in violations if totals[expr.meta.output_name()]]
    stats = _per_partition(rows, [pl.len().alias("_rows"), *suspects])

    def judge(start: datetime) -> _Verdict:
        counts = _counts(stats, start)
        height = counts.pop("_rows", 0)
        problem = ", ".join(f"{name}: {count}" for name, count in counts.items() if count) or None
        broken = sum(counts.values())
        return not broken, {"rows": height, "violations": broken, "problem": problem}

    return judge


def _ohlc(table: Table, rows: pl.DataFrame) -> Callable[[datetime], _Verdict]:
    time, conditions = table.layout.time_column, ohlc_violations(table)
    flagged = rows.select("_part", time, **conditions)
    names = list(conditions)
    any_broken = pl.any_horizontal(names) if names else pl.lit(value=False)
    stats = _per_partition(
        flagged,
        [
            pl.len().alias("rows"),
            *(pl.col(name).sum() for name in names),
            pl.col(time).filter(any_broken).min().alias("first"),
        ],
    )

    def judge(start: datetime) -> _Verdict:
        counts = dict.fromkeys(("rows", *names), 0) | _counts(stats, start)
        broken = sum(counts[name] for name in names)
        return not broken, counts | {"first": _row_text(table, stats.get(start, {}).get("first"))}

    return judge


def _expected(table: Table, windows: Sequence[PartitionWindow]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"_part": [w.start for w in windows], "_end": [w.expected_end for w in windows]},
        schema={"_part": _TIMESTAMP, "_end": _TIMESTAMP},
    ).filter(pl.col("_part") < pl.col("_end"))
    time = table.layout.time_column
    times = pl.datetime_ranges("_part", "_end", table.layout.grain, closed="left")
    return frame.select("_part", times.alias(time)).explode(time)


def _continuity(
    table: Table, rows: pl.DataFrame, windows: Sequence[PartitionWindow], holes: Sequence[KnownHole]
) -> Callable[[datetime], _Verdict]:
    time, expected = table.layout.time_column, _expected(table, windows)
    present = rows.group_by(time).agg(pl.len().cast(pl.Int64).alias("_times"))
    times, hole = pl.col("_times"), pl.col("_hole")
    stats = _per_partition(
        expected.join(present, on=time, how="left").with_columns(_hole=in_hole(holes, table.row_stream, time)),
        [
            pl.len().alias("expected"),
            times.is_not_null().sum().alias("present"),
            (times.is_null() & ~hole).sum().alias("missing"),
            (times - 1).sum().alias("duplicated"),
            (times.is_null() & hole).sum().alias("excused"),
            pl.col(time).filter(times.is_null() & ~hole).min().alias("first_missing"),
        ],
    )
    outside = _per_partition(
        rows.select(time, "_part").join(expected, on=time, how="anti"), [pl.len().alias("outside")]
    )
    unordered: _Stats = {}
    if not rows[time].is_sorted():
        unordered = _per_partition(rows, [(pl.col(time).diff() < pl.duration()).sum().alias("unordered")])
    causes = _causes(holes, windows, {table.row_stream})

    def judge(start: datetime) -> _Verdict:
        zero = dict.fromkeys(("expected", "present", "missing", "duplicated", "outside", "excused", "unordered"), 0)
        counts = zero | _counts(stats, start) | _counts(outside, start) | _counts(unordered, start)
        sound = not any(counts[name] for name in ("duplicated", "outside", "unordered"))
        # A partition of nothing at all is no partition of a sparse table either.
        sound &= not counts["missing"] or (table.sparse and counts["present"] > 0)
        return sound, counts | {
            "first_missing": _row_text(table, stats.get(start, {}).get("first_missing")),
            "excuse": causes[start] if counts["excused"] else None,
        }

    return judge


def _causes(
    holes: Sequence[KnownHole], windows: Sequence[PartitionWindow], streams: set[str]
) -> dict[datetime, str | None]:
    """The holes that touch each partition, by name."""
    relevant = [hole for hole in holes if hole.stream in streams]
    return {
        window.start: "; ".join(
            f"{hole.stream}: {hole.cause} ({hole.reference})"
            for hole in relevant
            if hole.start < window.expected_end and hole.end > window.start
        )
        or None
        for window in windows
    }


def _required(
    table: Table, rows: pl.DataFrame, windows: Sequence[PartitionWindow], holes: Sequence[KnownHole]
) -> Callable[[datetime], _Verdict]:
    absent = absent_values(table, holes)
    excused = [expr.name.prefix("excused ") for expr in excused_values(table, holes)]
    totals = rows.select(expr.sum() for expr in (*absent, *excused)).row(0, named=True)
    suspects = [e.sum() for e in (*absent, *excused) if totals[e.meta.output_name()]]
    stats = _per_partition(rows, [pl.len().alias("_rows"), *suspects])
    causes = _causes(holes, windows, set(table.excused_by.values()))

    def judge(start: datetime) -> _Verdict:
        counts = _counts(stats, start)
        height = counts.pop("_rows", 0)
        nulls = {name: count for name, count in counts.items() if count and name in table.required}
        holes_used = sum(count for name, count in counts.items() if name not in table.required)
        problem = ", ".join(f"{name}: {count}" for name, count in nulls.items()) or None
        return not nulls, {
            "rows": height,
            "nulls": sum(nulls.values()),
            "excused": holes_used,
            "problem": problem,
            "excuse": causes[start] if holes_used else None,
        }

    return judge


def with_provisional(
    table: Table, frame: pl.DataFrame, windows: Sequence[PartitionWindow]
) -> tuple[pl.DataFrame, list[PartitionWindow]]:
    """Take the closed rows that are younger than the safety lag, up to the first that is not whole.

    Args:
        table: the table that the rows are of.
        frame: built rows, sorted by time (UTC).
        windows: the partitions that are built, with the rows that must exist.

    Returns:
        The frame without rows that come after a gap or lack a required column there, and the windows that the rest has
        to fill. Rows that must exist are left for the gate to judge.
    """
    if all(window.expected_end == window.start + table.layout.step for window in windows):
        return frame, list(windows)
    times = frame[table.layout.time_column]
    whole = frame.select(pl.all_horizontal(pl.col(name).is_not_null() for name in table.required)).to_series()
    filled, kept = [], [True] * frame.height
    for window in windows:
        end = window.start + table.layout.step
        if window.expected_end == end:
            filled.append(window)
            continue
        first, last = bisect_left(times, window.expected_end), bisect_left(times, end)
        tail = zip(times[first:last].to_list(), whole[first:last].to_list(), strict=True)
        cut = _first_unsound(table, [at for at, sound in tail if sound], window.expected_end)
        filled.append(PartitionWindow(window.start, cut))
        beyond = bisect_left(times, cut, lo=first, hi=last)
        kept[beyond:last] = [False] * (last - beyond)
    return frame if all(kept) else frame.filter(pl.Series(kept)), filled


def _first_unsound(table: Table, whole: Sequence[datetime], start: datetime) -> datetime:
    """The time of the first row from `start` on that is absent, of those that have all required columns."""
    expected = start
    for found in whole:
        if found != expected:
            break
        expected += table.layout.grain
    return expected
