"""Commits on real files and a real ledger: what is replaced, what is kept, what a crash leaves and recovery does."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from lake_resources.errors import PartitionBusy, StorageError
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition, recover
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Intent
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.parquet import stage
from lake_resources.storage.provenance import SourceKind, sources_from_json
from lake_resources.storage.reader import scan
from lake_tests.support.minute_hours import (
    ARCHIVE,
    DAY,
    NOW,
    REST,
    SCHEMA,
    SYMBOL,
    at,
    candidate,
    clock,
    frame,
    lake,
    partition,
)


@pytest.fixture
def store(tmp_path):
    store = lake(tmp_path)
    yield store
    store.ledger.close()


def commit(store, *candidates, **options):
    return commit_partitions(store, SYMBOL, candidates, clock=clock, **options)


def closes(store, hour=0, end=None):
    rows = scan(store, SYMBOL, at(hour), at(hour + 1 if end is None else end), schema=SCHEMA)
    return rows.collect()["close"].to_list()


def temps(store):
    return sorted(store.catalog.temp_dir.iterdir())


def test_a_day_is_committed_with_its_provenance(store):
    catalog, ledger = store.catalog, store.ledger
    outcomes = commit(store, *[candidate(at(hour)) for hour in range(24)])
    assert {outcome.status for outcome in outcomes} == {"committed"}
    assert [outcome.start for outcome in outcomes] == [at(hour) for hour in range(24)]
    row = ledger.partition(SYMBOL, at(7))
    path = catalog.partition_path(SYMBOL, at(7))
    assert (catalog.absolute(row.path), row.content_hash, row.size_bytes) == (
        path,
        file_hash(path),
        path.stat().st_size,
    )
    assert (row.row_count, row.min_ts, row.max_ts) == (60, at(7), at(7) + timedelta(minutes=59))
    assert (row.committed_at, row.code_version, row.inputs_hash, row.complete) == (NOW, "1", "1.0", True)
    assert row.sources == candidate(at(7)).sources
    metadata = pl.read_parquet_metadata(path)
    assert (
        metadata.items()
        >= {"lake.table": "minute", "lake.symbol": SYMBOL, "lake.hour": "2026-02-15T07:00:00+00:00"}.items()
    )
    assert sources_from_json(metadata["lake.sources"]) == row.sources
    assert ledger.watermark(SYMBOL) == at(24) - timedelta(minutes=1)
    assert temps(store) == []
    assert ledger.intents() == []


def test_the_same_again_is_unchanged_and_writes_nothing(store):
    (first,) = commit(store, candidate(DAY))
    before = first.path.stat()
    (again,) = commit(store, candidate(DAY))
    assert (again.status, again.content_hash, again.path) == ("unchanged", first.content_hash, first.path)
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert temps(store) == []


def test_new_rows_of_the_same_rank_replace(store):
    commit(store, candidate(DAY, value=1))
    (outcome,) = commit(store, candidate(DAY, value=2))
    assert outcome.status == "committed"
    assert closes(store) == [2.0] * 60


NONE: Mapping[str, SourceKind] = {"klines_1m": "archive", "agg_trades": "none"}
MIXED: Mapping[str, SourceKind] = {"klines_1m": "rest", "agg_trades": "archive"}
ARCHIVE_AND_REST: Mapping[str, SourceKind] = {"klines_1m": "archive+rest", "agg_trades": "archive"}


@pytest.mark.parametrize(
    ("held", "new", "reason"),
    [
        ({"kinds": ARCHIVE}, {"kinds": REST}, r"better sources \(agg_trades=archive, klines_1m=archive\)"),
        ({"kinds": ARCHIVE}, {"kinds": NONE}, r"\(agg_trades=archive\) than agg_trades=none"),
        ({"kinds": ARCHIVE}, {"kinds": {"klines_1m": "archive"}}, r"than agg_trades=none"),
        ({"kinds": MIXED}, {"kinds": NONE}, r"agg_trades=archive"),
        ({"rows": 60}, {"rows": 59}, r"is complete \(60 rows\), this one is not \(59\)"),
        ({"rows": 60}, {"rows": 60, "complete": False}, r"is complete"),
        ({"rows": 30}, {"rows": 29}, r"has 30 rows, this one 29 from no better source"),
        ({"rows": 30, "kinds": ARCHIVE_AND_REST}, {"rows": 29, "kinds": ARCHIVE}, r"has 30 rows, this one 29"),
    ],
)
def test_worse_never_replaces_better(store, held, new, reason):
    (first,) = commit(store, candidate(DAY, value=1, **held))
    (outcome,) = commit(store, candidate(DAY, value=2, **new))
    assert outcome.status == "kept_better"
    assert re.search(reason, outcome.reason)
    assert (outcome.content_hash, outcome.row_count) == (first.content_hash, first.row_count)
    assert set(closes(store)) == {1.0}
    assert temps(store) == []


@pytest.mark.parametrize(
    ("held", "new"),
    [
        ({"kinds": REST}, {"kinds": ARCHIVE}),
        ({"kinds": NONE}, {"kinds": ARCHIVE}),
        ({"rows": 30}, {"rows": 31}),
        ({"rows": 59}, {"rows": 60}),
        ({"rows": 59, "kinds": REST}, {"rows": 58, "kinds": ARCHIVE}),
        ({"kinds": ARCHIVE_AND_REST}, {"kinds": ARCHIVE}),
        ({"kinds": ARCHIVE}, {"kinds": ARCHIVE_AND_REST}),
        ({"rows": 31, "kinds": REST}, {"rows": 60, "kinds": {"klines_1m": "rest", "agg_trades": "none"}}),
    ],
)
def test_not_worse_replaces(store, held, new):
    commit(store, candidate(DAY, value=1, **held))
    (outcome,) = commit(store, candidate(DAY, value=2, **new))
    assert outcome.status == "committed"
    assert set(closes(store)) == {2.0}


def overtaken(store, **others):
    """What was committed when a writer looked, and then another one commits other rows."""
    (seen,) = commit(store, candidate(DAY, value=1, rows=29, kinds=REST))
    (held,) = commit(store, candidate(DAY, value=2, kinds=REST, **others))
    return seen.content_hash, held


def test_older_rows_do_not_replace_what_others_committed_while_they_were_made(store):
    over, held = overtaken(store)
    late = replace(candidate(DAY, value=3, kinds=REST), over=over)
    (outcome,) = commit(store, late)
    assert (outcome.status, outcome.content_hash) == ("kept_better", held.content_hash)
    assert "another writer committed the hour while this one was built" in outcome.reason
    (first,) = commit(store, replace(candidate(at(1), value=3), over=""))
    assert first.status == "committed", "there is nothing yet"
    (second,) = commit(store, replace(candidate(at(1), value=4), over=""))
    assert second.status == "kept_better", "and now there is"
    (again,) = commit(store, replace(late, over=held.content_hash))
    assert again.status == "committed", "who has seen what is committed replaces it"


@pytest.mark.parametrize(
    ("others", "late"),
    [
        ({"rows": 30}, {"rows": 31, "kinds": REST}),
        ({}, {"kinds": ARCHIVE}),
        ({"complete": False}, {"kinds": REST}),
    ],
)
def test_what_is_better_replaces_it_all_the_same(store, others, late):
    over, _ = overtaken(store, **others)
    (outcome,) = commit(store, replace(candidate(DAY, value=3, **late), over=over))
    assert outcome.status == "committed"


def test_older_words_on_the_same_rows_do_not_replace_newer_ones(store):
    over, held = overtaken(store)
    (outcome,) = commit(store, replace(candidate(DAY, value=2, kinds=REST), checks='[{"name":"older"}]', over=over))
    assert (outcome.status, outcome.content_hash) == ("unchanged", held.content_hash)
    assert store.ledger.partition(SYMBOL, DAY).checks == "[]"


def test_older_rows_that_break_the_gate_put_nothing_aside_that_others_committed(store):
    over, held = overtaken(store)
    for rows in (frame(DAY), None):
        late = Rejection(DAY, rows, ["continuity"], "a minute is missing", over)
        assert quarantine_partition(store, SYMBOL, late, clock=clock) is None
    assert store.ledger.quarantined(SYMBOL, DAY, at(1)) == []
    seen = replace(late, over=held.content_hash)
    quarantine_partition(store, SYMBOL, seen, clock=clock)
    assert [entry.start for entry in store.ledger.quarantined(SYMBOL, DAY, at(1))] == [DAY]


def test_the_same_rows_may_become_a_whole_hour(store):
    commit(store, candidate(at(0)), candidate(at(2)))
    commit(store, candidate(at(1), complete=False))
    assert store.ledger.watermark(SYMBOL) == at(2) - timedelta(minutes=1)
    (outcome,) = commit(store, candidate(at(1), complete=True))
    assert outcome.status == "unchanged"
    assert store.ledger.partition(SYMBOL, at(1)).complete
    assert store.ledger.watermark(SYMBOL) == at(3) - timedelta(minutes=1)
    (outcome,) = commit(store, candidate(at(1), complete=False))
    assert (outcome.status, store.ledger.partition(SYMBOL, at(1)).complete) == ("unchanged", True)


def test_new_check_results_reach_the_ledger_without_new_bytes(store):
    (first,) = commit(store, candidate(DAY))
    (again,) = commit(store, replace(candidate(DAY), checks='[{"name":"archive_parity"}]'))
    assert (again.status, again.content_hash) == ("unchanged", first.content_hash)
    assert store.ledger.partition(SYMBOL, DAY).checks == '[{"name":"archive_parity"}]'
    assert temps(store) == []


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_a_damaged_file_is_healed_by_the_next_commit(store, damage):
    (first,) = commit(store, candidate(DAY))
    if damage == "lost":
        first.path.unlink()
    else:
        first.path.write_bytes(b"rot")
    (outcome,) = commit(store, candidate(DAY))
    assert (outcome.status, outcome.content_hash) == ("committed", first.content_hash)
    assert "lost or damaged" in outcome.reason
    assert closes(store) == [1.0] * 60


def test_a_batch_may_hold_every_kind_of_outcome(store):
    commit(store, candidate(at(0)), candidate(at(1)))
    outcomes = commit(store, candidate(at(2)), candidate(at(1), kinds=REST), candidate(at(0)))
    assert [outcome.status for outcome in outcomes] == ["committed", "kept_better", "unchanged"]
    assert [outcome.start for outcome in outcomes] == [at(2), at(1), at(0)]


def test_nothing_and_nonsense(store):
    assert commit(store) == []
    with pytest.raises(ValueError, match="given twice"):
        commit(store, candidate(DAY), candidate(DAY, value=2))
    with pytest.raises(ValueError, match="not the start"):
        commit(store, candidate(DAY + timedelta(minutes=1)))
    with pytest.raises(StorageError, match="lie outside the hour"):
        commit(store, replace(candidate(DAY), frame=frame(at(1))))
    with pytest.raises(StorageError, match="`timestamp` is Int64"):
        commit(store, replace(candidate(DAY), frame=pl.DataFrame({"timestamp": [1]})))
    assert store.ledger.partitions(SYMBOL, at(0), at(24)) == []
    assert not store.catalog.temp_dir.exists()


def test_an_hour_without_rows_can_be_committed(store):
    (outcome,) = commit(store, candidate(DAY, rows=0, complete=True))
    row = store.ledger.partition(SYMBOL, DAY)
    assert (outcome.row_count, row.min_ts, row.max_ts, row.complete) == (0, None, None, True)
    assert closes(store) == []


def test_a_held_lock_is_waited_for_and_then_named(store):
    catalog = store.catalog
    with (
        writer_lock(catalog.lock_path(SYMBOL)),
        pytest.raises(PartitionBusy, match=r"minute-BTCUSDT.lock: another writer held it for 0.05 s"),
    ):
        commit(store, candidate(DAY), timeout_s=0.05)
    assert temps(store) == []
    with writer_lock(catalog.lock_path("ETHUSDT")):
        assert commit(store, candidate(DAY), timeout_s=0.05)[0].status == "committed"


# Every state that a crash between two steps of a commit can leave, made by hand; the SIGKILL tests come to them too.


def interrupted(store, new, *, renamed=False, torn=False):
    """A writer that died after its intents: `renamed` before or after the rename, with a `torn` temp file."""
    catalog, ledger = store.catalog, store.ledger
    staged = stage(new.frame, catalog.temp_dir, {})
    path = catalog.partition_path(SYMBOL, new.start)
    row = replace(
        partition(new.start),
        path=catalog.relative(path),
        content_hash=staged.content_hash,
        size_bytes=staged.size_bytes,
    )
    ledger.write_intents([Intent(row, catalog.relative(staged.temp_path))])
    if torn:
        staged.temp_path.write_bytes(staged.temp_path.read_bytes()[:100])
    if renamed:
        staged.publish(path)
    return staged


def test_recovery_finishes_before_the_rename(store):
    commit(store, candidate(at(0), value=1))
    interrupted(store, candidate(at(0), value=2))
    interrupted(store, candidate(at(1), value=2))
    assert closes(store) == [1.0] * 60
    found = recover(store)
    assert (found.finished, found.rolled_back) == (((SYMBOL, at(0)), (SYMBOL, at(1))), ())
    assert closes(store, 0, 2) == [2.0] * 120
    assert store.ledger.watermark(SYMBOL) == at(2) - timedelta(minutes=1)
    assert (store.ledger.intents(), temps(store)) == ([], [])


def test_recovery_finishes_after_the_rename(store):
    staged = interrupted(store, candidate(DAY, value=2), renamed=True)
    assert closes(store) == [2.0] * 60, "it is committed from the rename on"
    assert recover(store).finished == ((SYMBOL, DAY),)
    assert store.ledger.partition(SYMBOL, DAY).content_hash == staged.content_hash
    assert closes(store) == [2.0] * 60


def test_recovery_forgets_what_is_not_whole(store):
    (first,) = commit(store, candidate(DAY, value=1))
    interrupted(store, candidate(DAY, value=2), torn=True)
    interrupted(store, candidate(at(1), value=2), torn=True)
    assert recover(store).rolled_back == ((SYMBOL, DAY), (SYMBOL, at(1)))
    assert store.ledger.partition(SYMBOL, DAY).content_hash == first.content_hash == file_hash(first.path)
    assert store.ledger.partition(SYMBOL, at(1)) is None
    assert (store.ledger.intents(), temps(store)) == ([], [])


def test_the_next_commit_recovers_by_itself(store):
    interrupted(store, candidate(at(0), value=2))
    commit(store, candidate(at(1)))
    assert closes(store, 0, 2) == [2.0] * 60 + [1.0] * 60


def test_recovery_removes_old_temp_files_only(store):
    catalog = store.catalog
    young, old = (stage(frame(DAY), catalog.temp_dir, {}).temp_path for _ in range(2))
    hours_ago = old.stat().st_mtime - 3700
    os.utime(old, (hours_ago, hours_ago))
    assert recover(store).temp_files_removed == 1
    assert temps(store) == [young]


def test_recovery_of_an_empty_lake_finds_nothing(store):
    found = recover(store)
    assert (found.finished, found.rolled_back, found.temp_files_removed) == ((), (), 0)


def test_quarantine_keeps_what_was_committed_and_a_commit_resolves_it(store):
    catalog, ledger = store.catalog, store.ledger
    commit(store, candidate(at(0)), candidate(at(2)))
    bad = frame(at(1)).with_columns(close=pl.lit(None, pl.Float64))
    path = quarantine_partition(
        store, SYMBOL, Rejection(at(1), bad, ["required_columns"], "60 rows without close"), clock=clock
    )
    assert path is not None
    assert pl.read_parquet(path).equals(bad)
    assert path.parent == catalog.quarantine_dir / SYMBOL
    (entry,) = ledger.quarantined(SYMBOL, at(0), at(24))
    assert (catalog.absolute(entry.path), entry.codes, entry.detail) == (
        path,
        ("required_columns",),
        "60 rows without close",
    )
    assert ledger.watermark(SYMBOL) == at(3) - timedelta(minutes=1)
    assert (
        quarantine_partition(
            store, SYMBOL, Rejection(at(1), bad, ["required_columns"], "60 rows without close"), clock=clock
        )
        == path
    )
    assert len(ledger.quarantined(SYMBOL, at(0), at(24))) == 1
    commit(store, candidate(at(1)))
    assert ledger.quarantined(SYMBOL, at(0), at(24)) == []


def test_quarantine_without_rows_and_over_a_committed_hour(store):
    commit(store, candidate(at(0)))
    assert (
        quarantine_partition(store, SYMBOL, Rejection(at(0), None, ["no_klines"], "the archive is empty"), clock=clock)
        is None
    )
    assert closes(store) == [1.0] * 60
    assert len(store.ledger.quarantined(SYMBOL, at(0), at(1))) == 1
    assert commit(store, candidate(at(0)))[0].status == "unchanged"
    assert store.ledger.quarantined(SYMBOL, at(0), at(1)) == []


def test_scan_takes_columns_ranges_and_a_grown_schema(store):
    commit(store, *[candidate(at(hour), value=hour) for hour in range(4)])
    half = scan(store, SYMBOL, at(0.5), at(2.25), ["close", "timestamp"]).collect()
    assert half.columns == ["close", "timestamp"]
    assert (half.height, half["timestamp"][0], half["timestamp"][-1]) == (105, at(0.5), at(2.25) - timedelta(minutes=1))
    assert half["timestamp"].is_sorted()
    grown = scan(store, SYMBOL, at(0), at(1), schema={**SCHEMA, "new": pl.Float64()}).collect()
    assert grown["new"].null_count() == 60
    empty = scan(store, SYMBOL, at(30), at(31), ["close"], schema=SCHEMA).collect()
    assert empty.schema == {"close": pl.Float64()}
    with pytest.raises(StorageError, match=r"BTCUSDT: no committed hour in \[2026-02-16T06.*Materialize these hours"):
        scan(store, SYMBOL, at(30), at(31))


def test_a_scan_sees_committed_files_only(store):
    commit(store, candidate(at(0)))
    interrupted(store, candidate(at(1)))
    stray = store.catalog.partition_path(SYMBOL, at(2))
    stage(frame(at(2)), store.catalog.temp_dir, {}).publish(stray)
    assert len(closes(store, 0, 24)) == 60
