"""The consistency audit: each code is given for the defect that is planted, and for nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.verdict import CODES, AuditReport
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.errors import SettingsError, StorageError
from lake_resources.known_hole import KnownHole
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition
from lake_resources.storage.compaction import Period, compact
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Ledger
from lake_resources.storage.store import Store
from lake_tests.support.sound_hours import (
    FIRST,
    HOUR,
    LAG,
    NOW,
    SYMBOL,
    candidate,
    commit_sound,
    open_files,
    sound_rows,
)

pytestmark = pytest.mark.slow

HOURS = 6
BAD = FIRST + 2 * HOUR
M = timedelta(minutes=1)


@dataclass
class Lake:
    """A small lake with nothing wrong, until a test plants something in hour BAD."""

    store: Store

    @property
    def catalog(self) -> Catalog:
        return self.store.catalog

    @property
    def ledger(self) -> Ledger:
        return self.store.ledger

    def audit(self, **given: object) -> AuditReport:
        window = {"start": FIRST, "end": FIRST + HOURS * HOUR, "now": NOW, "lag_minutes": LAG} | given
        return audit_partitions(self.store, SYMBOL, **window)  # type: ignore[arg-type]

    @property
    def path(self) -> Path:
        return self.catalog.partition_path(SYMBOL, BAD)

    def rewrite(self, change: Callable[[pl.DataFrame], pl.DataFrame], *, tell_ledger: bool = True) -> None:
        """Other rows in the file; the ledger believes they are what was committed."""
        rows = change(pl.read_parquet(self.path))
        rows.write_parquet(self.path)
        if tell_ledger:
            times = rows["timestamp"] if "timestamp" in rows.columns else pl.Series([BAD])
            self.sql(
                content_hash=file_hash(self.path),
                row_count=rows.height,
                min_ts=_text(times.min()),
                max_ts=_text(times.max()),
            )

    def sql(self, **values: object) -> None:
        columns = ", ".join(f"{name} = :{name}" for name in values)
        where = f"symbol = '{SYMBOL}' AND start_utc = '{_text(BAD)}'"
        self.run(f"UPDATE partitions SET {columns} WHERE {where}", **values)

    def run(self, text: str, **values: object) -> None:
        engine = sa.create_engine(self.store.engine.url)
        with engine.begin() as connection:
            connection.execute(sa.text(text), values)
        engine.dispose()


def _text(instant: object) -> str | None:
    return f"{instant:%Y-%m-%dT%H:%M:%S.%f}Z" if isinstance(instant, datetime) else None


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    store = open_files(tmp_path / "lake")
    commit_sound(store, FIRST, HOURS)
    return Lake(store)


def codes_of(report: AuditReport) -> dict[datetime, tuple[str, ...]]:
    return {verdict.hour: verdict.codes for verdict in report.wrong}


def put(minute: int, **values: float | None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(rows: pl.DataFrame) -> pl.DataFrame:
        here = pl.col("timestamp") == BAD + minute * M
        return rows.with_columns(
            pl.when(here).then(pl.lit(value, dtype=rows.schema[name])).otherwise(name).alias(name)
            for name, value in values.items()
        )

    return change


def shift(rows: pl.DataFrame, minute: int, by: timedelta) -> pl.DataFrame:
    here = pl.col("timestamp") == BAD + minute * M
    return rows.with_columns(pl.when(here).then(pl.col("timestamp") + by).otherwise("timestamp").alias("timestamp"))


def test_a_sound_lake_has_nothing_wrong(lake: Lake) -> None:
    report = lake.audit()
    assert [verdict.hour for verdict in report.hours] == [FIRST + n * HOUR for n in range(HOURS)]
    assert codes_of(report) == {}
    assert (report.expected_rows, report.present_rows) == (360, 360)
    assert report.as_json()["completeness_pct"] == 100.0


ROW_DEFECTS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], tuple[str, ...]]] = {
    "missing_columns": (lambda rows: rows.drop("index_price_close"), ("missing_columns:index_price_close",)),
    "unknown_columns": (lambda rows: rows.with_columns(extra=pl.lit(1.0)), ("unknown_columns:extra",)),
    "wrong_types": (
        lambda rows: rows.with_columns(pl.col("trade_count").cast(pl.Float64)),
        ("wrong_types:trade_count",),
    ),
    "column_order": (lambda rows: rows.select(reversed(rows.columns)), ("column_order",)),
    "empty_partition": (lambda rows: rows.clear(), ("empty_partition",)),
    "rows_outside_hour": (
        lambda rows: shift(rows, 59, HOUR),
        ("rows_outside_hour:1", "row_count_mismatch:expected=60:actual=59:window=02:00-03:00"),
    ),
    "duplicate_timestamps": (
        lambda rows: pl.concat([rows, rows.tail(1)]),
        ("duplicate_timestamps:1", "row_count_mismatch:expected=60:actual=61:window=02:00-03:00"),
    ),
    "row_count_mismatch": (
        lambda rows: rows.filter(pl.col("timestamp").dt.minute() != 17),
        ("row_count_mismatch:expected=60:actual=59:window=02:00-03:00",),
    ),
    "timestamp_gap_or_order_error": (lambda rows: rows.reverse(), ("timestamp_gap_or_order_error",)),
    "hard_required_nulls": (put(17, mark_price_close=None), ("hard_required_nulls:mark_price_close:1",)),
    "out_of_bounds": (put(17, taker_buy_ratio=1.5), ("out_of_bounds:taker_buy_ratio:1",)),
    "ohlc_broken": (put(17, high=1.0), ("ohlc_broken:high_too_low:1,low_too_high:1",)),
}


Planted = tuple[Callable[[Lake], AuditReport], dict[datetime, tuple[str, ...]]]
NEXT = FIRST + HOURS * HOUR
LEDGER_DEFECTS: dict[str, tuple[dict[str, object], str]] = {
    "fewer rows": ({"row_count": 59}, "ledger_rows_mismatch:ledger=59:file=60"),
    "another span": (
        {"max_ts": _text(BAD + 58 * M)},
        "ledger_span_mismatch:ledger=02.00-02.58:file=02.00-02.59",
    ),
    "an open hour": ({"complete": False}, "ledger_incomplete"),
    "an older schema": ({"schema_hash": "older"}, "schema_hash_mismatch"),
    **{
        f"an hour that is {kind}": (
            {"verdict": kind, "verdict_detail": '{"reasons":["metrics: so it is"]}'},
            f"{kind}:metrics: so it is",
        )
        for kind in ("contradicted", "partial", "unproven", "provisional")
    },
}


def _rows(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Lake], AuditReport]:
    def plant(lake: Lake) -> AuditReport:
        lake.rewrite(change)
        return lake.audit()

    return plant


def _told(values: dict[str, object]) -> Callable[[Lake], AuditReport]:
    def plant(lake: Lake) -> AuditReport:
        lake.sql(**values)
        return lake.audit()

    return plant


def _gone(lake: Lake) -> AuditReport:
    lake.path.unlink()
    report = lake.audit()
    assert report.present_rows == 300
    return report


def _in_quarantine(lake: Lake) -> AuditReport:
    quarantine_partition(lake.store, SYMBOL, Rejection(NEXT, None, ["continuity"], "1 minute"), clock=lambda: NOW)
    return lake.audit(end=NEXT + HOUR)


def _unknown_to_the_ledger(lake: Lake) -> AuditReport:
    lake.run(f"DELETE FROM partitions WHERE start_utc = '{_text(BAD)}'")
    return lake.audit()


def _torn(lake: Lake) -> AuditReport:
    lake.path.write_bytes(lake.path.read_bytes()[:500])
    return lake.audit()


def _another_sound_file(lake: Lake) -> AuditReport:
    lake.rewrite(put(17, close=100.0, high=1000.0, low=1.0), tell_ledger=False)
    return lake.audit()


def _other_in_dagster(lake: Lake) -> AuditReport:
    everything = {FIRST + n * HOUR for n in range(HOURS + 1)}
    return lake.audit(end=NEXT + HOUR, materialized=everything - {BAD})


DEFECTS: dict[str, Planted] = {
    **{name: (_rows(change), {BAD: codes}) for name, (change, codes) in ROW_DEFECTS.items()},
    **{name: (_told(values), {BAD: (code,)}) for name, (values, code) in LEDGER_DEFECTS.items()},
    "a file that is gone": (_gone, {BAD: ("missing_file", "ledger_without_file")}),
    "an hour that never was": (lambda lake: lake.audit(end=NEXT + HOUR), {NEXT: ("missing_file",)}),
    "an hour in quarantine": (_in_quarantine, {NEXT: ("missing_file", "quarantined:continuity")}),
    "a file the ledger does not know": (_unknown_to_the_ledger, {BAD: ("file_without_ledger",)}),
    "a torn file": (_torn, {BAD: ("unreadable_parquet:ComputeError", "content_hash_mismatch")}),
    "another sound file than the committed one": (_another_sound_file, {BAD: ("content_hash_mismatch",)}),
    "Dagster against both": (
        _other_in_dagster,
        {BAD: ("not_in_dagster",), NEXT: ("missing_file", "only_in_dagster")},
    ),
}
"""What is planted, and exactly the codes that it is given."""


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_named_and_nothing_else_is(lake: Lake, name: str) -> None:
    plant, expected = DEFECTS[name]
    assert codes_of(plant(lake)) == expected


def test_every_code_is_planted_somewhere() -> None:
    given = (code for _, expected in DEFECTS.values() for codes in expected.values() for code in codes)
    assert {code.partition(":")[0] for code in given} == set(CODES)


@pytest.mark.parametrize("cut", [0, 3, 500, -40])
def test_a_torn_file(lake: Lake, cut: int) -> None:
    lake.path.write_bytes(lake.path.read_bytes()[:cut])
    codes = codes_of(lake.audit())
    assert list(codes) == [BAD]
    assert codes[BAD][0].startswith("unreadable_parquet:")
    assert codes[BAD][1:] == ("content_hash_mismatch",)


def test_flipped_bits_anywhere_are_found(lake: Lake) -> None:
    content = lake.path.read_bytes()
    for place in range(10, len(content), len(content) // 40):
        lake.path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        codes = codes_of(lake.audit())
        assert list(codes) == [BAD], place
        assert "content_hash_mismatch" in codes[BAD], (place, codes)


def test_hours_that_were_swapped(lake: Lake) -> None:
    """Together their rows are all there: only who looks at each file alone sees it."""
    other = lake.catalog.partition_path(SYMBOL, BAD + HOUR)
    mine, theirs = lake.path.read_bytes(), other.read_bytes()
    lake.path.write_bytes(theirs)
    other.write_bytes(mine)
    found = codes_of(lake.audit())
    assert list(found) == [BAD, BAD + HOUR]
    assert all(codes[:2] == ("rows_outside_hour:60", "empty_partition") for codes in found.values())


def test_a12_part_of_an_hour(lake: Lake) -> None:
    report = lake.audit(start=BAD + 10 * M, end=BAD + 20 * M)
    assert [(verdict.hour, verdict.codes, verdict.expected_rows) for verdict in report.hours] == [(BAD, (), 10)]


def test_a_known_hole_is_no_defect_and_is_not_counted_as_present(lake: Lake) -> None:
    lake.rewrite(lambda rows: rows.filter(pl.col("timestamp").dt.minute() != 17))
    lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, BAD + 17 * M, BAD + 18 * M, "halt", "somewhere"))
    report = lake.audit()
    assert codes_of(report) == {}
    assert (report.present_rows, report.expected_rows) == (359, 360)
    assert report.as_json()["completeness_pct"] == 99.72


def whole_hole(lake: Lake, hour: datetime) -> None:
    lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, hour - 5 * M, hour + 30 * M, "halt", "somewhere"))
    lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, hour + 30 * M, hour + HOUR, "halt", "somewhere"))


def test_an_hour_wholly_inside_a_known_hole_is_no_defect(lake: Lake) -> None:
    lake.path.unlink()
    empty = replace(candidate(BAD, sound_rows(BAD, 1).clear()), complete=True)
    commit_partitions(lake.store, SYMBOL, [empty], clock=lambda: NOW)
    assert codes_of(lake.audit()) == {BAD: ("empty_partition",)}
    whole_hole(lake, BAD)
    report = lake.audit()
    assert codes_of(report) == {}
    assert (report.present_rows, report.expected_rows) == (300, 360)
    assert codes_of(lake.audit(start=BAD + 10 * M, end=BAD + 20 * M)) == {}
    compacted(lake)
    assert codes_of(lake.audit()) == {}


def test_an_hour_of_a_known_hole_that_was_never_committed_is_no_defect(lake: Lake) -> None:
    quarantine_partition(lake.store, SYMBOL, Rejection(NEXT, None, ["source_missing"], "none"), clock=lambda: NOW)
    lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, NEXT, NEXT + 59 * M, "halt", "somewhere"))
    assert list(codes_of(lake.audit(end=NEXT + HOUR))) == [NEXT], "one minute is not named"
    assert codes_of(lake.audit(end=NEXT + 59 * M)) == {}
    whole_hole(lake, NEXT)
    report = lake.audit(end=NEXT + HOUR)
    assert codes_of(report) == {}
    assert (report.present_rows, report.expected_rows) == (360, 420)
    assert codes_of(lake.audit(end=NEXT + HOUR, materialized={v.hour for v in report.hours})) == {
        NEXT: ("only_in_dagster",)
    }


@pytest.mark.parametrize(
    ("change", "percent"),
    [
        (lambda rows: rows.slice(1).vstack(shift(rows, 0, HOUR).head(1)), 98.33),
        (lambda rows: pl.concat([rows.head(30), rows.head(30)]).sort("timestamp"), 50.0),
        (lambda rows: rows.filter(pl.col("timestamp").dt.minute().is_in([0, 59])), 3.33),
        (lambda rows: shift(rows, 17, timedelta(seconds=1)), 98.33),
    ],
)
def test_completeness_counts_minutes_and_not_rows_or_the_span(
    lake: Lake, change: Callable[[pl.DataFrame], pl.DataFrame], percent: float
) -> None:
    lake.rewrite(change)
    by_hour = lake.audit().as_json()["completeness_pct_by_hour"]
    assert by_hour.pop(BAD.isoformat()) == percent
    assert list(by_hour.values()) == [100.0] * (HOURS - 1), "sound hours have their number too"


def test_minutes_that_need_not_exist_yet_are_not_missing(tmp_path: Path) -> None:
    store = open_files(tmp_path)
    hour = NOW.replace(minute=0, second=0)
    rows = sound_rows(hour, 1).head(31)
    commit_partitions(store, SYMBOL, [candidate(hour, rows, expected=31)], clock=lambda: NOW)
    end = hour + 5 * HOUR
    now = audit_partitions(store, SYMBOL, hour, end, now=NOW, lag_minutes=LAG)
    assert [(verdict.hour, verdict.codes) for verdict in now.hours] == [(hour, ())]
    later = audit_partitions(store, SYMBOL, hour, end, now=NOW + M, lag_minutes=LAG)
    assert codes_of(later) == {hour: ("row_count_mismatch:expected=32:actual=31:window=12:00-12:32",)}


def test_the_cache_changes_nothing_but_the_time(lake: Lake, tmp_path: Path) -> None:
    cache = AuditCache(tmp_path / "audit.sqlite")
    lake.rewrite(put(17, high=1.0))
    cold = lake.audit(cache=cache)
    warm = lake.audit(cache=cache)
    assert (cold.from_cache, warm.from_cache) == (0, HOURS)
    assert warm.hours == cold.hours
    # What the cache does not know still counts: ledger, changed files, files that are gone, holes.
    lake.sql(row_count=59)
    assert "ledger_rows_mismatch:ledger=59:file=60" in codes_of(lake.audit(cache=cache))[BAD]
    lake.rewrite(put(17, high=1000.0))
    mended = lake.audit(cache=cache)
    assert (codes_of(mended), mended.from_cache) == ({}, HOURS - 1)
    lake.catalog.partition_path(SYMBOL, FIRST).unlink()
    assert codes_of(lake.audit(cache=cache)) == {FIRST: ("missing_file", "ledger_without_file")}
    lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, BAD, BAD + M, "halt", "somewhere"))
    assert lake.audit(cache=cache).from_cache == HOURS - 2, "a hole concerns its hour alone"


def test_ranges_do_not_take_the_cache_from_each_other(lake: Lake, tmp_path: Path) -> None:
    cache = AuditCache(tmp_path / "audit.sqlite")
    lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, BAD + 17 * M, BAD + 18 * M, "halt", "somewhere"))
    assert lake.audit(cache=cache).from_cache == 0
    assert lake.audit(cache=cache, end=BAD).from_cache == 2, "a range without the hole"
    assert lake.audit(cache=cache).from_cache == HOURS
    lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, FIRST - HOUR, FIRST, "halt", "somewhere"))
    assert lake.audit(cache=cache, start=FIRST - HOUR).from_cache == HOURS


def rot(path: Path) -> None:
    """A bit of the file is another one; its size and its time are as before."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_full_audit_is_remembered(lake: Lake, tmp_path: Path) -> None:
    cache = AuditCache(tmp_path / "audit.sqlite")
    lake.audit(cache=cache)
    rot(lake.path)
    assert codes_of(lake.audit(cache=cache)) == {}, "neither size nor time tells"
    full = lake.audit(cache=cache, full=True)
    assert (list(codes_of(full)), full.from_cache) == ([BAD], 0)
    after = lake.audit(cache=cache)
    assert (codes_of(after), after.from_cache) == (codes_of(full), HOURS)


@pytest.mark.parametrize("shared", [False, True])
def test_within_a_week_every_file_is_read_again(lake: Lake, tmp_path: Path, shared: bool) -> None:
    cache = AuditCache(tmp_path / "audit.sqlite")
    path = compacted(lake) if shared else lake.path
    lake.audit(cache=cache)
    rot(path)
    days = [NOW.date() + timedelta(days=n) for n in range(7)]
    reports = [lake.audit(cache=cache, reread_on=day) for day in days]
    assert codes_of(reports[-1])[BAD][-1] == "content_hash_mismatch"
    assert sum(HOURS - report.from_cache for report in reports) == HOURS, "each hour once"
    again = [lake.audit(cache=cache, reread_on=day) for day in days]
    assert [report.from_cache for report in again] == [report.from_cache for report in reports]


def test_a_damaged_cache_is_an_error_with_a_remedy(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "audit.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(StorageError, match="Delete this file"):
        lake.audit(cache=AuditCache(path))


def test_an_empty_range_is_refused(lake: Lake) -> None:
    with pytest.raises(SettingsError, match="is empty"):
        lake.audit(end=FIRST)


def test_the_json_form_is_json(lake: Lake) -> None:
    lake.path.unlink()
    found = json.loads(json.dumps(lake.audit().as_json()))
    assert found["codes"] == {"ledger_without_file": 1, "missing_file": 1}
    assert found["wrong_hours"][0]["hour"] == BAD.isoformat()
    assert found["completeness_pct"] == 83.33


def test_the_table_under_audit_is_the_real_one(lake: Lake) -> None:
    assert pl.read_parquet_schema(lake.path) == UM_MINUTE.polars_schema


def compacted(lake: Lake) -> Path:
    """The day's hours in one file, their own files removed."""
    period = Period(SYMBOL, "day", FIRST, FIRST + 24 * HOUR)
    held = lake.ledger.partition_files(SYMBOL, FIRST, FIRST + 24 * HOUR)
    path = compact(lake.store, period, held, clock=lambda: NOW).path
    for row in held:
        lake.catalog.absolute(row.path).unlink()
    return path


def test_hours_of_a_day_file(lake: Lake, tmp_path: Path) -> None:
    path = compacted(lake)
    cache = AuditCache(tmp_path / "audit.sqlite")
    report = lake.audit(cache=cache)
    assert (codes_of(report), report.present_rows) == ({}, 360)
    again = lake.audit(cache=cache)
    assert (codes_of(again), again.from_cache) == ({}, HOURS)

    rows = pl.read_parquet(path)
    rows.filter(pl.col("timestamp") != BAD + 17 * M).write_parquet(path)
    found = codes_of(lake.audit(cache=cache))
    assert set(found) == {FIRST + n * HOUR for n in range(HOURS)}
    assert found.pop(BAD) == (
        "row_count_mismatch:expected=60:actual=59:window=02:00-03:00",
        "content_hash_mismatch",
        "ledger_rows_mismatch:ledger=60:file=59",
    )
    assert set(found.values()) == {("content_hash_mismatch",)}

    path.unlink()
    assert set(codes_of(lake.audit(cache=cache)).values()) == {("missing_file", "ledger_without_file")}


def test_an_hour_that_was_committed_again_is_looked_for_in_its_own_file(lake: Lake) -> None:
    compacted(lake)
    commit_partitions(lake.store, SYMBOL, [candidate(BAD, sound_rows(BAD, 1, seed=8))], clock=lambda: NOW)
    assert codes_of(lake.audit()) == {}
    lake.path.unlink()
    assert codes_of(lake.audit()) == {BAD: ("missing_file", "ledger_without_file")}
