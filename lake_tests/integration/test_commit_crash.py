"""A writer killed at random points, again and again: no half-visible hour, no lost row, the next run repairs."""

import logging
import os
import random
import signal
import time
from itertools import count

import polars as pl
import pytest

from lake_resources.storage.commit import commit_partitions, recover
from lake_resources.storage.hashing import file_hash
from lake_tests.support.commit_nursery import acknowledged, nursery
from lake_tests.support.minute_hours import SYMBOL, at, candidate, clock, lake
from lake_tests.support.waiting import wait_until

LOG = logging.getLogger(__name__)
HOURS = 6


def whole_version(path):
    """The one version that all rows of a file are of; the file must be whole."""
    rows = pl.read_parquet(path)
    assert rows.height == 60
    (version,) = rows["close"].unique().to_list()
    return version


@pytest.mark.disk
@pytest.mark.slow
@pytest.mark.parametrize("kills", [25, pytest.param(100, marks=pytest.mark.long)])
def test_a_writer_killed_anywhere_loses_nothing(tmp_path, kills):
    store = lake(tmp_path)
    chance = random.Random(20261121)
    watermark = None
    mid_commit = finished = rolled_back = 0
    with nursery() as writers:
        for kill in count():
            if kill >= kills and finished:
                break
            assert kill < 20 * kills, "no kill fell between intent and row"
            newest, last = acknowledged(tmp_path)
            (process,) = writers.start(["forever", str(tmp_path), kill, last])
            if kill % 5:  # four in five die in a later commit, the others perhaps before or in their first
                wait_until(lambda last=last: acknowledged(tmp_path)[1] != last, "a commit", every_s=0.001)
            time.sleep(chance.uniform(0, 0.06))
            os.kill(process, signal.SIGKILL)
            assert writers.wait() == [-signal.SIGKILL]

            # What a reader sees before any repair: every committed hour is one whole version, not an old one, and the
            # bytes are those that the ledger tells it of.
            newest, last = acknowledged(tmp_path)
            for row in store.ledger.partitions(SYMBOL, at(0), at(HOURS)):
                assert file_hash(store.catalog.absolute(row.path)) == row.content_hash
                version = whole_version(store.catalog.absolute(row.path))
                assert version >= newest.get(row.start.hour, 0)

            mid_commit += bool(store.ledger.intents())
            found = recover(store)
            finished += len(found.finished)
            rolled_back += len(found.rolled_back)
            assert store.ledger.intents() == []

            # No acknowledged commit is lost, and ledger and disk agree to the byte.
            rows = {row.start.hour: row for row in store.ledger.partitions(SYMBOL, at(0), at(HOURS))}
            assert rows.keys() >= newest.keys()
            for hour, row in rows.items():
                path = store.catalog.absolute(row.path)
                assert file_hash(path) == row.content_hash
                assert whole_version(path) >= newest.get(hour, 0)
            mark = store.ledger.watermark(SYMBOL)
            assert watermark is None or mark >= watermark
            watermark = mark

    assert last >= kills * 4 // 5, "each of these kills waited for a commit"
    assert rolled_back == 0, "an intent is written only for temp files that are durable"

    # The next run repairs: the same call as ever, then nothing is left of the crashes but young temp files.
    outcomes = commit_partitions(
        store, SYMBOL, [candidate(at(hour), value=last + 1000) for hour in range(HOURS)], clock=clock
    )
    assert {outcome.status for outcome in outcomes} == {"committed"}
    for temp in store.catalog.temp_dir.iterdir():
        os.utime(temp, (0, 0))
    recover(store)
    assert list(store.catalog.temp_dir.iterdir()) == []
    LOG.info("%d of %d kills mid-commit, %d hours finished, %d commits", mid_commit, kill, finished, last)
    store.ledger.close()
