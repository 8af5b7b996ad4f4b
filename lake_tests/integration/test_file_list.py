"""The list of committed files that other engines register: by it alone they read just what the lake's reader reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from urllib.parse import unquote, urlsplit

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from lake_resources.errors import StorageError
from lake_resources.storage.commit import commit_partitions
from lake_resources.storage.compaction import Period, compact
from lake_resources.storage.file_list import FILE_SCHEMA, file_list
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.reader import scan
from lake_resources.storage.store import Store
from lake_tests.support.minute_hours import DAY, SCHEMA, SYMBOL, at, candidate, clock, lake


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A day that was compacted, an hour of it committed anew since, and two hours of the next day."""
    found = lake(tmp_path)
    hours = [at(hour) for hour in range(24)]
    commit_partitions(found, SYMBOL, [candidate(hour) for hour in hours], clock=clock)
    period = Period(SYMBOL, "day", DAY, at(24))
    compact(found, period, found.ledger.partition_files(SYMBOL, DAY, at(24)), clock=clock)
    commit_partitions(found, SYMBOL, [candidate(at(7), value=2.0), candidate(at(25), rows=58)], clock=clock)
    yield found
    found.close()


def by_duckdb(files: pl.DataFrame) -> pl.DataFrame:
    selects = [
        f"SELECT * FROM read_parquet('{path}', hive_partitioning = false) "
        f"WHERE timestamp >= TIMESTAMPTZ '{start}' AND timestamp < TIMESTAMPTZ '{end}'"
        for path, start, end in listed(files)
    ]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(" UNION ALL ".join(selects)).pl()


def by_polars(files: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        pl.scan_parquet(path, hive_partitioning=False).filter(pl.col("timestamp").is_between(start, end, closed="left"))
        for path, start, end in listed(files)
    ).collect()


def by_pyarrow(files: pl.DataFrame) -> pl.DataFrame:
    tables = [
        ds.dataset(path, format="parquet", partitioning=None).to_table(
            filter=(pc.field("timestamp") >= pa.scalar(start)) & (pc.field("timestamp") < pa.scalar(end))
        )
        for path, start, end in listed(files)
    ]
    found = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(found, pl.DataFrame)
    return found


def listed(files: pl.DataFrame) -> Iterator[tuple[str, datetime, datetime]]:
    """The path of each listed file and the half-open interval that the list takes of it."""
    for uri, start, end in files.select("uri", "start", "end").iter_rows():
        yield unquote(urlsplit(uri).path), start, end


ENGINES = [by_duckdb, by_polars, by_pyarrow]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_reads_by_the_list_what_the_reader_reads(
    store: Store, engine: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    files = file_list(store, SYMBOL)
    assert files.schema == FILE_SCHEMA
    found = engine(files).cast(dict(SCHEMA))
    read = scan(store, SYMBOL, DAY, DAY + timedelta(days=2), schema=SCHEMA).collect()
    assert read.height == 24 * 60 + 58
    assert found.sort("timestamp").equals(read.sort("timestamp"))
    assert files["row_count"].sum() == read.height


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_reads_the_restated_rows_alone(store: Store, engine: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """An hour inside the compacted file and one that had a file of its own are stated anew: both read once, as new."""
    before = engine(file_list(store, SYMBOL)).cast(dict(SCHEMA))
    commit_partitions(store, SYMBOL, [candidate(at(9), value=5.0), candidate(at(7), value=6.0)], clock=clock)
    found = engine(file_list(store, SYMBOL)).cast(dict(SCHEMA)).sort("timestamp")
    read = scan(store, SYMBOL, DAY, DAY + timedelta(days=2), schema=SCHEMA).collect()
    assert found.equals(read.sort("timestamp"))
    assert found["timestamp"].n_unique() == found.height == before.height
    changed = found.join(before, on=list(SCHEMA), how="anti", nulls_equal=True)["timestamp"].dt.truncate("1h")
    assert changed.unique().sort().to_list() == [at(7), at(9)]


def test_each_file_is_told_with_its_hash_size_and_bounds(store: Store) -> None:
    files = file_list(store, SYMBOL)
    assert files.select("start", "partitions", "is_cut", "is_complete").rows() == [
        (DAY, 7, True, True),
        (at(7), 1, False, True),
        (at(8), 16, True, True),
        (at(25), 1, False, False),
    ]
    for row in files.iter_rows(named=True):
        path = store.catalog.absolute(row["path"])
        assert (file_hash(path), path.stat().st_size) == (row["sha256"], row["size_bytes"])
        held = pl.read_parquet(path)["timestamp"]
        inside = held.filter((held >= row["start"]) & (held < row["end"]))
        assert (inside.min(), inside.max(), len(inside)) == (row["min_ts"], row["max_ts"], row["row_count"])


def test_a_symbol_without_rows_has_an_empty_list(store: Store) -> None:
    assert file_list(store, "ETHUSDT").equals(pl.DataFrame(schema=FILE_SCHEMA))


def test_a_file_that_is_gone_is_told_instead_of_listed(store: Store) -> None:
    store.catalog.partition_path(SYMBOL, at(25)).unlink()
    with pytest.raises(StorageError, match=r"is not there.*lake audit"):
        file_list(store, SYMBOL)


def test_the_list_is_whole_while_hours_are_committed_and_compacted(store: Store) -> None:
    period, end = Period(SYMBOL, "day", DAY, at(24)), Event()

    def write() -> None:
        value = 3.0
        while not end.is_set():
            value += 1
            commit_partitions(store, SYMBOL, [candidate(at(7), value=value)], clock=clock)
            compact(store, period, store.ledger.partition_files(SYMBOL, DAY, at(24)), clock=clock)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for _ in range(30):
                assert file_list(store, SYMBOL)["row_count"].sum() == 24 * 60 + 58
        finally:
            end.set()
        writing.result()
