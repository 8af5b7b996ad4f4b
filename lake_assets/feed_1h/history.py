"""The table's history: is it continuous, sound and unchanged, and the file that consumers read.

Belongs here: pure functions of the table's rows. Does not belong here: the window of one append (`window`), files.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from lake_assets.feed_1h.bars import BAR_COLUMNS, BAR_SCHEMA
from lake_assets.feed_1h.window import unsound_bar
from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.clock import HOUR

LOOKBACK_HOURS = 720
"""30 days, the longest look-back of the inference pipeline."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC-naive, as the table
_US = timedelta(microseconds=1)
_NO_TIME = -(1 << 63)
_GENESIS = b"\x00" * 32


@dataclass(frozen=True)
class Continuity:
    """What was found in the last hours of a table.

    Attributes:
        hours: distinct hours found.
        missing: hours between the first and the last that are not there.
        duplicates: rows beyond the first of their hour, and rows that are not on the hour.
        not_numbers: values that are NULL, NaN or infinite.
        first_bad: the earliest hour with a finding.
    """

    hours: int
    missing: int
    duplicates: int
    not_numbers: int
    first_bad: datetime | None

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not (self.missing or self.duplicates or self.not_numbers)


def continuity(rows: pl.DataFrame, end: datetime, hours: int) -> Continuity:
    """Gaps, duplicates and values that are no numbers in the `hours` hours that end with `end`.

    A table that begins later is judged from its first row on.

    Args:
        rows: BAR_COLUMNS at least, any order.
        end: the newest hour, UTC-naive.
        hours: length of the window.
    """
    window = rows.filter(pl.col("timestamp").is_between(end - (hours - 1) * HOUR, end)).sort("timestamp")
    stamps = window["timestamp"]
    step = pl.col("timestamp").diff()
    off_hour = pl.col("timestamp") != pl.col("timestamp").dt.truncate("1h")
    number = pl.all_horizontal(pl.col(VALUE_COLUMNS).is_finite().fill_null(value=False))
    bad = window.select(
        gap=(step.dt.total_hours() - 1).clip(0).fill_null(0),
        doubled=(step < HOUR).fill_null(value=False) | off_hour,
        wrong=pl.sum_horizontal((~pl.col(VALUE_COLUMNS).is_finite()).fill_null(value=True)),
        found=(step != HOUR).fill_null(value=False) | off_hour | ~number,
        at="timestamp",
    )
    first_bad = bad.filter("found")["at"].min()
    return Continuity(
        stamps.n_unique(), int(bad["gap"].sum()), int(bad["doubled"].sum()), int(bad["wrong"].sum()),
        first_bad if isinstance(first_bad, datetime) else None,
    )  # fmt: skip


def unsound_rows(rows: pl.DataFrame, end: datetime, hours: int) -> list[tuple[datetime, str]]:
    """Bars of the last hours whose prices or volume contradict themselves, with the reason."""
    window = rows.filter(pl.col("timestamp").is_between(end - (hours - 1) * HOUR, end))
    opened, high, low, close, volume = (pl.col(name) for name in VALUE_COLUMNS)
    suspect = (
        (low > pl.min_horizontal(opened, close))
        | (high < pl.max_horizontal(opened, close))
        | (pl.min_horizontal(opened, high, low, close) <= 0)
        | (volume < 0)
        | pl.any_horizontal(~pl.col(VALUE_COLUMNS).is_finite())
        | pl.any_horizontal(pl.col(VALUE_COLUMNS).is_null())
    )
    found = window.filter(suspect.fill_null(value=True)).select(BAR_COLUMNS).sort("timestamp")
    return [(stamp, unsound_bar(tuple(values)) or "unsound") for stamp, *values in found.iter_rows()]


def running_hashes(rows: pl.DataFrame, previous: str | None) -> list[str]:
    """Running hash after each row: sha256 of the hash before it and the row, creation time included.

    Args:
        rows: the table's columns, ascending.
        previous: hash after the row before the first; None at the beginning of a table.
    """
    state = bytes.fromhex(previous) if previous else _GENESIS
    hashes = []
    for row in _packed(rows):
        state = hashlib.sha256(state + row).digest()
        hashes.append(state.hex())
    return hashes


@dataclass(frozen=True)
class Audit:
    """Whether the rows still are what was appended.

    Attributes:
        rows: rows that were compared with the chain.
        changed: hours whose row is another than the one that was appended, or is gone, or came from elsewhere.
        running_hash: hash after the newest appended row, None for an empty table.
        unchained: the table holds rows and no chain at all: another program wrote it before the feed did.
    """

    rows: int
    changed: tuple[datetime, ...]
    running_hash: str | None
    unchained: bool = False


def audit(rows: pl.DataFrame, chain: pl.DataFrame) -> Audit:
    """Compare all rows with the running hashes that were noted when they were appended.

    Each row is judged with the noted hash before it, so that one change does not accuse all rows after it.

    Args:
        rows: the table's columns, ascending.
        chain: timestamp and running_hash, ascending.
    """
    noted = chain["running_hash"].to_list()
    newest = noted[-1] if noted else None
    if not noted:
        return Audit(rows.height, (), newest, unchained=rows.height > 0)
    before = dict(zip(chain["timestamp"].to_list(), zip([None, *noted[:-1]], noted, strict=True), strict=True))
    stamps = rows["timestamp"].to_list()
    changed = set(before) - set(stamps)
    for stamp, packed in zip(stamps, _packed(rows), strict=True):
        if stamp not in before:
            changed.add(stamp)
            continue
        previous, expected = before[stamp]
        state = bytes.fromhex(previous) if previous else _GENESIS
        if hashlib.sha256(state + packed).hexdigest() != expected:
            changed.add(stamp)
    return Audit(rows.height, tuple(sorted(changed)), newest)


def inference_bars(rows: pl.DataFrame, end: datetime, buffer_hours: int) -> pl.DataFrame:
    """The last 720 + buffer hours **plus one** that end with `end`, ascending, BAR_COLUMNS.

    One more than the hours: a consumer that wants `buffer` hours beyond 30 days counts the steps between rows.
    """
    start = end - (LOOKBACK_HOURS + buffer_hours) * HOUR
    window = rows.filter(pl.col("timestamp").is_between(start, end)).select(BAR_COLUMNS)
    return window.cast(dict(BAR_SCHEMA)).sort("timestamp")  # type: ignore[arg-type]


def inference_problem(bars: pl.DataFrame, end: datetime, buffer_hours: int) -> str | None:
    """Why a consumer would reject these bars, None where it would not."""
    wanted = LOOKBACK_HOURS + buffer_hours + 1
    if bars.height == 0:
        return f"no row of the {wanted} hours that end with {end:%Y-%m-%d %H:%M}"
    newest = bars["timestamp"][-1]
    if newest != end:
        return f"ends at {newest:%Y-%m-%d %H:%M}, not at {end:%Y-%m-%d %H:%M}"
    found = continuity(bars, end, wanted)
    if not found.sound:
        return (
            f"{found.missing} hours missing, {found.duplicates} doubled, {found.not_numbers} values that are no "
            f"numbers, the first at {found.first_bad:%Y-%m-%d %H:%M}"
        )
    if bars.height < wanted:
        return f"{bars.height} of {wanted} hours"
    return None


def _packed(rows: pl.DataFrame) -> Iterable[bytes]:
    """Canonical bytes of each row: times as microseconds, values as IEEE 754 doubles, NULL as NaN."""
    for stamp, *values, created in rows.select(*BAR_COLUMNS, "created_at").iter_rows():
        numbers = (float("nan") if value is None else value for value in values)
        yield struct.pack(">q5dq", _microseconds(stamp), *numbers, _microseconds(created))


def _microseconds(instant: datetime | None) -> int:
    return _NO_TIME if instant is None else (instant - _EPOCH) // _US
