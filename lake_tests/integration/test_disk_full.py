"""A disk that really is full (a 2 MB tmpfs): a clear error, no temp file left, nothing committed lost."""

import sqlite3
import subprocess

import duckdb
import polars as pl
import pytest

from lake_assets.research.views_file import write_views
from lake_resources.errors import DiskFull, StorageError
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition, recover
from lake_resources.storage.disk import of_database, of_sqlite
from lake_resources.storage.files_here import FilesHere
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.parquet import StagingWriter, stage
from lake_resources.storage.store import Store
from lake_tests.support.holed_lake import holed_lake
from lake_tests.support.minute_hours import DAY, SCHEMA, SYMBOL, at, candidate, clock, frame, lake
from lake_tests.support.sound_hours import NOW

SIZE = 2 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path):
    """A mounted file system of 2 MB; skips where mounting is not permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a tmpfs is not permitted: {error}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def noise(rows):
    """Rows that do not compress: 16 bytes each."""
    count = pl.int_range(rows, eager=True)
    return pl.DataFrame(
        {
            "timestamp": pl.Series([DAY]).repeat_by(rows).explode(),
            "close": count.hash(1).reinterpret(signed=False).cast(pl.Float64),
            "count": count.hash(2).reinterpret(signed=True),
        },
        schema=SCHEMA,
    )


def fill(disk, leave):
    """Take all space but `leave` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - leave)
    return filler


def temps(catalog):
    return list(catalog.temp_dir.iterdir())


@pytest.mark.parametrize("leave", [0, 4096, 16_384, 40_960, 65_536, 81_920])
@pytest.mark.parametrize("ledger_on_disk", [True, False], ids=["ledger on the full disk", "ledger elsewhere"])
def test_a_commit_on_a_full_disk_loses_nothing(small_disk, tmp_path, leave, ledger_on_disk):
    store = lake(small_disk)
    if not ledger_on_disk:
        store = Store(small_disk, lake(tmp_path).engine, store.layout, files=FilesHere(small_disk))
    ledger = store.ledger
    first = commit_partitions(store, SYMBOL, [candidate(at(hour)) for hour in range(3)], clock=clock)
    filler = fill(small_disk, leave)
    day = [candidate(at(hour), value=2.0) for hour in range(24)]
    with pytest.raises(DiskFull, match=r"no space left on the disk; nothing that was committed is touched.*LAKE_ROOT"):
        commit_partitions(store, SYMBOL, day, clock=clock)
    wanted = {store.catalog.absolute(intent.temp_path) for intent in ledger.intents()}
    assert set(temps(store.catalog)) <= wanted
    if not wanted:
        assert [row.content_hash for row in ledger.partitions(SYMBOL, at(0), at(24))] == [
            outcome.content_hash for outcome in first
        ]
    for outcome in first:
        assert pl.read_parquet(outcome.path).height == 60

    filler.unlink()
    recover(store)
    assert {outcome.status for outcome in commit_partitions(store, SYMBOL, day, clock=clock)} <= {
        "committed",
        "unchanged",
    }
    rows = ledger.partitions(SYMBOL, at(0), at(24))
    assert len(rows) == 24
    assert all(file_hash(store.catalog.absolute(row.path)) == row.content_hash for row in rows)
    assert temps(store.catalog) == []
    ledger.close()


def test_staging_on_a_full_disk_leaves_nothing(small_disk):
    fill(small_disk, 8192)
    with pytest.raises(DiskFull, match="stage 1 file"):
        stage(noise(10_000), small_disk / ".tmp", {})
    assert list((small_disk / ".tmp").iterdir()) == []


@pytest.mark.parametrize("leave", [4096, 65_536])
def test_a_staging_writer_on_a_full_disk_leaves_nothing(small_disk, leave):
    fill(small_disk, leave)

    def write():
        with StagingWriter(small_disk / ".tmp", SCHEMA, {}, row_group_rows=20_000) as writer:
            for _ in range(20):
                writer.write(noise(20_000))

    with pytest.raises(DiskFull, match="no space left"):
        write()
    assert list((small_disk / ".tmp").iterdir()) == []


def test_a_disk_with_room_for_names_alone_keeps_no_empty_file(small_disk):
    temp_dir = small_disk / ".tmp"
    temp_dir.mkdir()
    fill(small_disk, 0)
    with pytest.raises(DiskFull, match="no space left"):
        StagingWriter(temp_dir, SCHEMA, {})
    assert list(temp_dir.iterdir()) == []


def test_a_quarantine_on_a_full_disk_leaves_nothing(small_disk, tmp_path):
    store = Store(small_disk, lake(tmp_path).engine, lake(small_disk).layout, files=FilesHere(small_disk))
    catalog, ledger = store.catalog, store.ledger
    commit_partitions(store, SYMBOL, [candidate(at(0))], clock=clock)
    fill(small_disk, 0)
    with pytest.raises(DiskFull):
        quarantine_partition(store, SYMBOL, Rejection(at(0), frame(at(0)), ["ohlc"], "high below low"), clock=clock)
    assert temps(catalog) == []
    assert ledger.quarantined(SYMBOL, at(0), at(1)) == []
    assert frame(at(0)).equals(pl.read_parquet(catalog.partition_path(SYMBOL, at(0))))
    ledger.close()


@pytest.mark.parametrize(
    ("said", "found"),
    [("No space left on device", DiskFull), ("Disk quota exceeded", DiskFull), ("File too large", DiskFull),
     ("Too many open files", StorageError), ("a column is missing", StorageError)],
)  # fmt: skip
def test_what_duckdb_says_of_the_disk_is_told_as_that(said, found):
    error = duckdb.IOException(f'IO Error: Could not write file "/lake/x.duckdb": {said}')
    told = of_database("research views x", error, "the remedy")
    assert type(told) is found
    assert told.what.startswith("research views x: ")
    assert (told.remedy == "the remedy") == (said == "a column is missing")


def test_research_views_on_a_full_disk_are_told_so_and_leave_nothing(small_disk, tmp_path):
    settings = holed_lake(tmp_path / "lake").settings
    path = small_disk / "views.duckdb"
    fill(small_disk, 40_960)
    with pytest.raises(DiskFull, match=r"research views .*no space left"):
        write_views(settings, now=NOW, path=path)
    assert [each.name for each in small_disk.iterdir() if "lock" not in each.name] == ["filler"]


def test_what_sqlite_says_of_the_disk_is_told_as_that(small_disk):
    full = sqlite3.OperationalError("database or disk is full")
    assert type(of_sqlite("Dagster's storage", full, small_disk, "the remedy")) is DiskFull
    refused = sqlite3.OperationalError("disk I/O error")
    fill(small_disk, 4096)
    told = of_sqlite("Dagster's storage", refused, small_disk, "the remedy")
    assert type(told) is DiskFull
    assert "LAKE_ROOT" in told.remedy
    (small_disk / "filler").unlink()
    gone = small_disk / "gone"
    for error in (sqlite3.DatabaseError("database disk image is malformed"), refused):
        told = of_sqlite("Dagster's storage", error, gone, "the remedy")
        assert (type(told), told.remedy) == (StorageError, "the remedy")
