"""May hour t be appended? The comparison of the exchange's window with the table's.

Belongs here: the one rule book of the append, hour by hour, and its messages. Pure.
Does not belong here: the whole history of the table (`history`), reading or writing anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

import polars as pl

from lake_assets.feed_1h.bars import BAR_COLUMNS, Values, hours_through, naive
from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.clock import HOUR

CATCH_UP = "lake feed-1h --catch-up"
REBUILD = "lake feed-1h --rebuild"
_SHOWN = 3

Status = Literal["append", "present", "refused", "waiting"]
"""`append`: validated and new; `present`: in the table, and equal; `waiting`: the exchange does not have it (closed)
yet, the run can be repeated; `refused`: a person must look."""


@dataclass(frozen=True)
class Difference:
    """One value that table and exchange tell differently."""

    hour: datetime
    column: str
    table_value: float | None
    exchange_value: float | None

    def text(self) -> str:
        """E.g. `2024-01-15 09:00 close: table 42314.0, exchange 42314.1`."""
        return f"{self.hour:%Y-%m-%d %H:%M} {self.column}: table {self.table_value!r}, exchange {self.exchange_value!r}"


@dataclass(frozen=True)
class WindowVerdict:
    """The decision about one hour.

    Attributes:
        hour: UTC-naive.
        status: see `Status`.
        code: short name of the reason, empty where all is well.
        reason: the message, with the remedy; empty where all is well.
        pulled: closed bars of the window that the exchange gave, the hour itself included.
        validated: bars before the hour that were compared with the table and are equal.
        differences: what is not equal.
        bar: the exchange's bar of the hour, where the table has or gets it.
    """

    hour: datetime
    status: Status
    code: str = ""
    reason: str = ""
    pulled: int = 0
    validated: int = 0
    differences: tuple[Difference, ...] = ()
    bar: Values | None = None


@dataclass(frozen=True)
class BarsAnswer:
    """What the exchange said about a range of hours.

    Attributes:
        bars: closed bars by open time; of a doubled hour the first.
        counts: how often each open time came.
        forming: open times of bars that are not closed.
        asked_at: the exchange's clock when it was asked, UTC-naive.
    """

    bars: Mapping[datetime, Values]
    counts: Mapping[datetime, int]
    forming: frozenset[datetime]
    asked_at: datetime

    @classmethod
    def of(cls, pulled: pl.DataFrame, now: datetime) -> BarsAnswer:
        """Split a pull (PULL_SCHEMA) at `now`: a candle is closed when its close time is before it."""
        at = naive(now)
        closed = pulled.filter(pl.col("close_time") < at)
        bars: dict[datetime, Values] = {}
        for stamp, *values in closed.select(BAR_COLUMNS).iter_rows():
            bars.setdefault(stamp, tuple(values))
        forming = frozenset(pulled.filter(pl.col("close_time") >= at)["timestamp"].to_list())
        return cls(bars, Counter(closed["timestamp"].to_list()), forming, at)


def bars_by_hour(frame: pl.DataFrame) -> dict[datetime, Values]:
    """Rows of a frame with BAR_COLUMNS by their timestamp."""
    return {stamp: tuple(values) for stamp, *values in frame.select(BAR_COLUMNS).iter_rows()}


def judge_hours(
    answer: BarsAnswer, table: Mapping[datetime, Values], hours: Iterable[datetime], n_recent: int
) -> list[WindowVerdict]:
    """Decide hour after hour, each on the table with the appended hours before it.

    Args:
        answer: the exchange's bars from `n_recent - 1` hours before the first hour.
        table: rows of the table by hour.
        hours: UTC-naive, ascending.
        n_recent: bars of one window, the new one included.
    """
    grown = dict(table)
    first, last = min(grown, default=None), max(grown, default=None)
    verdicts = []
    for hour in hours:
        verdict = _judge(answer, grown, first, last, hour, n_recent)
        verdicts.append(verdict)
        if verdict.status == "append":
            grown[hour] = answer.bars[hour]
            first, last = first or hour, hour
    return verdicts


def _judge(
    answer: BarsAnswer,
    table: Mapping[datetime, Values],
    first: datetime | None,
    last: datetime | None,
    hour: datetime,
    n_recent: int,
) -> WindowVerdict:
    start = hour - (n_recent - 1) * HOUR
    window = sorted(at for at in answer.bars if start <= at <= hour)
    problem = (
        _not_there(answer, window, hour)
        or _broken_answer(answer, window)
        or _other_hours(table, first, last, window, start, hour)
    )
    if problem:
        return WindowVerdict(hour, *problem, pulled=len(window))
    overlap = [at for at in hours_through(start, hour) if at in table]
    differences = tuple(found for at in overlap for found in differences_of(at, table[at], answer.bars[at]))
    bad = {found.hour for found in differences}
    validated = len([at for at in overlap if at < hour and at not in bad])
    if differences:
        shown = "; ".join(found.text() for found in differences[:_SHOWN])
        more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        reason = (
            f"mismatch between exchange and table: {shown}{more}. Nothing was appended, both versions are kept; "
            f"if the exchange is right, `{REBUILD}` begins a new table"
        )
        return WindowVerdict(hour, "refused", "value_mismatch", reason, len(window), validated, differences)
    if unsound := unsound_bar(answer.bars[hour]):
        reason = f"the exchange's bar of {_text(hour)} is unsound: {unsound}. Nothing was appended"
        return WindowVerdict(hour, "refused", "ohlc", reason, len(window), validated)
    status: Status = "present" if hour in table else "append"
    return WindowVerdict(hour, status, pulled=len(window), validated=validated, bar=answer.bars[hour])


def unsound_bar(values: Values) -> str | None:
    """How prices or volume of a bar contradict themselves, None where they do not."""
    if any(value is None or not abs(value) < float("inf") for value in values):
        return f"not a finite number in {dict(zip(VALUE_COLUMNS, values, strict=True))}"
    opened, high, low, close, volume = (value or 0.0 for value in values)
    if min(opened, high, low, close) <= 0 or volume < 0:
        return f"a price that is not positive or a negative volume in {dict(zip(VALUE_COLUMNS, values, strict=True))}"
    if not (low <= min(opened, close) and max(opened, close) <= high):
        return f"open {opened!r} or close {close!r} outside of low {low!r} to high {high!r}"
    return None


_Problem = tuple[Status, str, str]
_ASK_LATER = "repeat later: if it stays, the exchange lost an hour, see docs/feed_1h.md, section 'Repair'"


def _not_there(answer: BarsAnswer, window: list[datetime], hour: datetime) -> _Problem | None:
    """Whether the hour itself is missing from the answer: it lags, is still open, or is a hole of the exchange."""
    if hour in answer.bars:
        return None
    if hour in answer.forming or answer.asked_at < hour + HOUR:
        clock = f"the exchange's clock says {answer.asked_at:%Y-%m-%d %H:%M:%S}"
        remedy = "Nothing was appended; repeat after the hour, and check this machine's clock"
        return "waiting", "not_closed", f"the candle of {_text(hour)} is not closed: {clock}. {remedy}"
    if any(at > hour for at in answer.bars):
        text = f"the exchange has no bar of {_text(hour)} but has later ones. Nothing was appended; {_ASK_LATER}"
        return "refused", "missing_bar", text
    newest = f"its newest closed bar is {_text(window[-1])}" if window else "it gave no closed bar"
    return "waiting", "api_lags", f"the exchange does not have {_text(hour)} yet, {newest}. Repeat in a minute"


def _broken_answer(answer: BarsAnswer, window: list[datetime]) -> _Problem | None:
    """Doubled hours, gaps, or values that are no numbers in the exchange's window."""
    doubled = [at for at in window if answer.counts.get(at, 1) > 1]
    if doubled:
        text = f"the exchange's answer has {_texts(doubled)} more than once. Nothing was appended; repeat later"
        return "refused", "duplicate_hour", text
    for before, after in pairwise(window):
        if after - before != HOUR:
            text = f"the exchange's window is not strictly hourly: {_text(after)} follows {_text(before)}"
            return "refused", "missing_bar", f"{text}. Nothing was appended; {_ASK_LATER}"
    for at in window:
        for column, value in zip(VALUE_COLUMNS, answer.bars[at], strict=True):
            if value is None or value != value:  # NaN alone differs from itself
                text = f"the exchange's bar of {_text(at)} has no number in {column}: {value!r}. Nothing was appended"
                return "refused", "nan", text
    return None


def _other_hours(
    table: Mapping[datetime, Values],
    first: datetime | None,
    last: datetime | None,
    window: list[datetime],
    start: datetime,
    hour: datetime,
) -> _Problem | None:
    """Hours of the window that only one of the two has; what lies before the table's first row does not count."""
    if first is None or last is None:
        return None
    if hour < first:
        text = f"the table begins at {_text(first)} and rows are only appended: {_text(hour)} cannot be added"
        remedy = f"To begin earlier, start a new table: `{REBUILD} --from {hour:%Y-%m-%dT%H:%M}`"
        return "refused", "before_table", f"{text}. {remedy}"
    mismatch = "timestamp mismatch between exchange and table"
    holes = [at for at in hours_through(max(start, first), hour - HOUR) if at not in table]
    if holes and holes[0] > last:
        text = f"{mismatch}: a hole before {_text(hour)}, the table ends at {_text(last)}"
        remedy = f"Nothing was appended; append the missed hours in order: `{CATCH_UP}`"
        return "refused", "table_hole", f"{text}. {remedy}"
    if holes:
        text = f"{mismatch}: the table lacks {_texts(holes)} though it has later rows, so somebody else changed it"
        return "refused", "table_hole", f"{text}. Nothing was appended; begin a new table: `{REBUILD}`"
    lost = [at for at in hours_through(max(start, first), hour) if at in table and at not in window]
    if lost:
        text = f"{mismatch}: {_texts(lost)} is in the table and not in the exchange's answer"
        return "refused", "missing_bar", f"{text}. Nothing was appended; {_ASK_LATER}"
    return None


def differences_of(hour: datetime, table: Values, exchange: Values) -> list[Difference]:
    """Columns that differ, as doubles without any tolerance; a NaN or NULL in the table differs from everything."""
    return [
        Difference(hour, column, ours, theirs)
        for column, ours, theirs in zip(VALUE_COLUMNS, table, exchange, strict=True)
        if ours != theirs
    ]


def _text(hour: datetime) -> str:
    return f"{hour:%Y-%m-%d %H:%M}"


def _texts(hours: list[datetime]) -> str:
    more = f" and {len(hours) - _SHOWN} more" if len(hours) > _SHOWN else ""
    return ", ".join(_text(at) for at in hours[:_SHOWN]) + more
