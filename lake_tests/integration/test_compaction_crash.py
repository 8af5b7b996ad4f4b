"""Compaction killed at each kind of step, again and again: every committed row is there once, repaired or not.

The hours have all columns of the minute table and lie on both sides of a month's end.
"""

import signal
from datetime import timedelta

import polars as pl
import pytest

from lake_resources.storage.commit import recover
from lake_resources.storage.compaction import clear, compact
from lake_resources.storage.reader import scan
from lake_tests.support.commit_nursery import acknowledged, nursery
from lake_tests.support.compacted_hours import MONTHS, START
from lake_tests.support.killed_at_step import Step
from lake_tests.support.minute_hours import SYMBOL, clock, lake

FIRST, END = MONTHS[0].start, MONTHS[-1].end


def versions(store):
    """By hour of the test: its one version; each hour is whole, each minute there once, in order."""
    rows = scan(store, SYMBOL, FIRST, END).collect()
    assert (rows["timestamp"].diff().drop_nulls() > timedelta(0)).all()
    hours = rows.group_by(pl.col("timestamp").dt.truncate("1h").alias("hour")).agg(
        pl.len(), pl.col("close").n_unique().alias("versions"), pl.col("close").first()
    )
    assert set(hours["len"]) == {60}
    assert set(hours["versions"]) == {1}
    return {(hour - START) // timedelta(hours=1): version for hour, version in hours.select("hour", "close").rows()}


MEETS = (
    (Step("os.link"), "temporary"),
    (Step("INSERT INTO compacted_files"), "orphans"),
    (Step("COMMIT"), "orphans"),
    (Step("BEGIN IMMEDIATE", 2), "segments"),
    (Step("/part.parquet", 2), "removed"),
    (Step("UPDATE compacted_files SET cleared_at_utc"), "removed"),
    (Step("DELETE FROM compacted_files"), "segments"),
    (Step("INSERT INTO intents"), "segments"),
)
"""Steps after a commit that compactions die before, and what is met then."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        [aimed for _ in range(3) for aimed in MEETS],
        pytest.param([(Step(number=number), None) for number in range(1, 121)], marks=pytest.mark.long),
    ],
    ids=["each kind of step", "each step"],
)
def test_a_compaction_killed_anywhere_loses_nothing(tmp_path, kills):
    store = lake(tmp_path)
    with nursery() as writers:
        for kill, (step, meets) in enumerate(kills):
            writers.start(["compact", str(tmp_path), kill, acknowledged(tmp_path)[1], step])
            assert writers.wait() == [-signal.SIGKILL]

            newest, _ = acknowledged(tmp_path)
            known = {segment.path for segment in store.ledger.compacted_files(SYMBOL, superseded=True)}
            on_disk = {store.catalog.relative(path) for path in store.catalog.compacted_dir(SYMBOL).glob("*")}
            partitions = store.ledger.partitions(SYMBOL, FIRST, END)
            states = {
                None: True,
                "segments": bool(store.ledger.compacted_files(SYMBOL)),
                "orphans": bool(on_disk - known),
                "temporary": any(store.catalog.temp_dir.glob("*.parquet")),
                "removed": any(not store.catalog.absolute(row.path).is_file() for row in partitions),
            }
            assert states[meets], (step, states)
            for when in ("as a reader finds it", "repaired"):
                if when == "repaired":
                    recover(store)
                found = versions(store)
                assert found.keys() >= newest.keys(), when
                assert all(found[hour] >= version for hour, version in newest.items()), when

    shown = versions(store)
    for month in MONTHS:
        compact(store, month, store.ledger.partition_files(SYMBOL, month.start, month.end), clock=clock)
    clear(store, SYMBOL, clock=clock, grace=timedelta(0))
    assert versions(store) == shown
    segments = store.ledger.compacted_files(SYMBOL, superseded=True)
    parts = [path for path in tmp_path.rglob("*.parquet") if path.parent != store.catalog.temp_dir]
    assert sorted(parts) == sorted(store.catalog.absolute(segment.path) for segment in segments)
    assert [segment.tier for segment in segments] == ["month", "month"], "a file per month is all that is left"
    store.ledger.close()
