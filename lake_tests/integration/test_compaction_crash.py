"""Compaction killed at random points, again and again: every committed row is there once, repaired or not.

The hours have all columns of the minute table and lie on both sides of a month's end.
"""

import logging
import os
import random
import signal
import time
from datetime import timedelta
from itertools import count

import polars as pl
import pytest

from lake_resources.storage.commit import recover
from lake_resources.storage.compaction import clear, compact
from lake_resources.storage.reader import scan
from lake_tests.support.commit_nursery import acknowledged, nursery
from lake_tests.support.compacted_hours import MONTHS, START
from lake_tests.support.minute_hours import SYMBOL, clock, lake
from lake_tests.support.waiting import wait_until

LOG = logging.getLogger(__name__)
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


@pytest.mark.disk
@pytest.mark.slow
@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.long)])
def test_a_compaction_killed_anywhere_loses_nothing(tmp_path, kills):
    store = lake(tmp_path)
    chance = random.Random(20261121)
    states = {"segments": 0, "removed": 0, "orphans": 0, "temporary": 0}
    with nursery() as writers:
        for kill in count():
            if kill >= kills and all(states.values()):
                break
            assert kill < 20 * kills, f"a state was never met: {states}"
            (process,) = writers.start(["compact", str(tmp_path), kill, acknowledged(tmp_path)[1]])
            if kill % 5:  # four in five die after their first commit: in a compaction, a removal or a later commit
                last = acknowledged(tmp_path)[1]
                wait_until(lambda last=last: acknowledged(tmp_path)[1] != last, "a commit", every_s=0.001)
            time.sleep(chance.uniform(0, 0.15))
            os.kill(process, signal.SIGKILL)
            assert writers.wait() == [-signal.SIGKILL]

            newest, _ = acknowledged(tmp_path)
            known = {segment.path for segment in store.ledger.compacted_files(SYMBOL, superseded=True)}
            on_disk = {store.catalog.relative(path) for path in store.catalog.compacted_dir(SYMBOL).glob("*")}
            states["segments"] += bool(store.ledger.compacted_files(SYMBOL))
            states["orphans"] += bool(on_disk - known)
            states["temporary"] += any(store.catalog.temp_dir.glob("*.parquet"))
            partitions = store.ledger.partitions(SYMBOL, FIRST, END)
            states["removed"] += any(not store.catalog.absolute(row.path).is_file() for row in partitions)
            for when in ("as a reader finds it", "repaired"):
                if when == "repaired":
                    recover(store)
                if partitions:
                    found = versions(store)
                    assert found.keys() >= newest.keys(), when
                    assert all(found[hour] >= version for hour, version in newest.items()), when

    LOG.info("%s of %d kills", states, kill)
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
