"""A writer killed at random points, again and again: no half-visible hour, no lost row, the next run repairs."""

import os
import signal

import polars as pl
import pytest

from lake_resources.storage.commit import commit_partitions, recover
from lake_resources.storage.hashing import file_hash
from lake_tests.support.commit_nursery import IN_A_COMMIT, acknowledged, nursery
from lake_tests.support.killed_at_step import Step
from lake_tests.support.minute_hours import SYMBOL, at, candidate, clock, lake

HOURS = 6


def whole_version(path):
    """The one version that all rows of a file are of; the file must be whole."""
    rows = pl.read_parquet(path)
    assert rows.height == 60
    (version,) = rows["close"].unique().to_list()
    return version


STEPS = [(Step(number=number), None) for number in range(1, 121)]
"""Whatever is done from the end of a commit on, to the end of the next one and beyond."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        [aimed for _ in range(3) for aimed in IN_A_COMMIT],
        pytest.param(STEPS, marks=pytest.mark.long),
    ],
    ids=["each kind of step", "each step"],
)
def test_a_writer_killed_anywhere_loses_nothing(tmp_path, kills):
    store = lake(tmp_path)
    assert store.ledger.intents() == []
    watermark = None
    finished = rolled_back = 0
    with nursery() as writers:
        for kill, (step, leaves_intents) in enumerate(kills):
            _, last = acknowledged(tmp_path)
            writers.start(["forever", str(tmp_path), kill, last, step])
            assert writers.wait() == [-signal.SIGKILL]
            newest, noted = acknowledged(tmp_path)
            assert noted > last, "it died after its first commit"
            last = noted

            # What a reader sees before any repair: every committed hour is one whole version, not an old one, and the
            # bytes are those that the ledger tells it of.
            newest, last = acknowledged(tmp_path)
            for row in store.ledger.partitions(SYMBOL, at(0), at(HOURS)):
                assert file_hash(store.catalog.absolute(row.path)) == row.content_hash
                version = whole_version(store.catalog.absolute(row.path))
                assert version >= newest.get(row.start.hour, 0)

            assert leaves_intents in (None, bool(store.ledger.intents())), step
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

    assert finished > 0
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
    store.ledger.close()
