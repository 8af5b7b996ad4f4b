"""Staged Parquet files: equal bytes for equal content, whole or absent, and disk errors by their right name."""

import errno
import hashlib
import itertools
import math
from datetime import timedelta

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_resources.clock import HOUR
from lake_resources.errors import DiskFull, StorageError
from lake_resources.storage.disk import disk_errors
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.parquet import StagingWriter, publish_all, stage, stage_all
from lake_tests.support.minute_hours import DAY, SCHEMA, at, frame

METADATA = {"b": "2", "a": "1"}


def test_stage_writes_exactly_the_frame(tmp_path):
    staged = stage(frame(DAY), tmp_path / ".tmp", METADATA)
    content = staged.temp_path.read_bytes()
    assert staged.temp_path.parent == tmp_path / ".tmp"
    assert (staged.row_count, staged.size_bytes) == (60, len(content))
    assert staged.content_hash == hashlib.sha256(content).hexdigest() == file_hash(staged.temp_path)
    assert pl.read_parquet(staged.temp_path).equals(frame(DAY))
    assert pl.read_parquet_metadata(staged.temp_path).items() >= METADATA.items()


def test_equal_content_is_equal_bytes_whatever_the_order_of_metadata(tmp_path):
    first = stage(frame(DAY), tmp_path, METADATA)
    second = stage(frame(DAY), tmp_path, dict(reversed(METADATA.items())))
    other = stage(frame(DAY), tmp_path, METADATA | {"a": "9"})
    assert first.content_hash == second.content_hash != other.content_hash
    assert first.temp_path != second.temp_path


@pytest.mark.parametrize("form", ["small", "quick"])
def test_an_empty_frame_keeps_its_schema(tmp_path, form):
    staged = stage(frame(DAY, rows=0), tmp_path, {}, form=form)
    assert staged.row_count == 0
    assert pl.read_parquet_schema(staged.temp_path) == SCHEMA


def test_a_file_for_quick_reading_is_not_compressed_and_about_as_small(tmp_path):
    rows = (
        pl.DataFrame(schema=SPOT_BARS_1S.polars_schema)
        .clear(3600)
        .with_columns(
            symbol=pl.lit("SOLUSDT"),
            window_start=pl.datetime_range(DAY, DAY + HOUR, "1s", closed="left", time_zone="UTC", eager=True),
            close=pl.int_range(3600) // 12 / 100,
            vwap=pl.int_range(3600) * 7919 % 3571 / 7,
            bid=pl.when(pl.int_range(3600) % 3 > 0).then(pl.lit(1.5)),
            volume_base=pl.lit(math.nan),
        )
    )
    quick = [stage(rows, tmp_path, METADATA, form="quick", row_group_rows=2000) for _ in range(2)]
    assert quick[0].content_hash == quick[1].content_hash
    path = quick[0].temp_path
    assert pl.read_parquet(path).equals(rows)
    assert pl.read_parquet_schema(path) == rows.schema
    assert pl.read_parquet_metadata(path).items() >= METADATA.items()
    footer = pq.read_metadata(path)
    columns = [footer.row_group(0).column(index) for index in range(footer.num_columns)]
    assert (footer.num_row_groups, {column.compression for column in columns}) == (2, {"UNCOMPRESSED"})
    by_dictionary = {column.path_in_schema for column in columns if column.has_dictionary_page}
    assert "close" in by_dictionary
    assert "window_start" not in by_dictionary
    assert quick[0].size_bytes < 0.3 * rows.estimated_size(), "as small as lz4 would make it"
    bounds = columns[rows.columns.index("window_start")].statistics
    assert (bounds.min, bounds.max) == (DAY, rows["window_start"][1999]), "what readers hold against the ledger"


def test_publish_replaces_in_one_step_and_leaves_no_temp(tmp_path):
    path = tmp_path / "deep" / "er" / "part.parquet"
    stage(frame(DAY, value=1), tmp_path / ".tmp", {}).publish(path)
    second = stage(frame(DAY, value=2), tmp_path / ".tmp", {})
    assert second.publish(path) == path
    second.discard()
    assert file_hash(path) == second.content_hash
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_publish_all_gives_each_file_its_name(tmp_path):
    staged = stage_all([(frame(at(hour)), {}) for hour in range(3)], tmp_path)
    paths = [tmp_path / f"hour={hour}" / "part.parquet" for hour in range(3)]
    publish_all(list(zip(staged, paths, strict=True)))
    assert [pl.read_parquet(path)["timestamp"][0] for path in paths] == [at(hour) for hour in range(3)]


def test_nothing_is_staged_for_nothing(tmp_path):
    assert stage_all([], tmp_path) == []


def test_one_bad_frame_leaves_no_temp_of_the_others(tmp_path):
    bad = pl.DataFrame({"x": [object()]}, schema={"x": pl.Object})
    with pytest.raises(pl.exceptions.PolarsError):
        stage_all([(frame(DAY), {}), (bad, {})], tmp_path)
    assert list(tmp_path.iterdir()) == []


def _written(directory, frames, **options):
    with StagingWriter(directory, SCHEMA, {"a": "1"}, **options) as writer:
        for part in frames:
            writer.write(part)
        return writer.finish({"z": "late"})


def test_staging_writer_holds_all_rows_and_all_metadata(tmp_path):
    parts = [frame(at(hour)) for hour in range(5)]
    staged = _written(tmp_path, parts, row_group_rows=128)
    assert staged.row_count == 300
    assert staged.content_hash == file_hash(staged.temp_path)
    assert staged.size_bytes == staged.temp_path.stat().st_size
    assert pl.read_parquet(staged.temp_path).equals(pl.concat(parts))
    assert pl.read_parquet_schema(staged.temp_path) == SCHEMA
    assert pl.read_parquet_metadata(staged.temp_path).items() >= {"a": "1", "z": "late"}.items()
    file = pq.ParquetFile(staged.temp_path)
    assert [file.metadata.row_group(group).num_rows for group in range(3)] == [128, 128, 44]


def test_staging_writer_notes_bounds_of_the_columns_that_readers_skip_by(tmp_path):
    parts = [frame(at(hour)) for hour in range(5)]
    staged = _written(tmp_path, parts, row_group_rows=128, bounded=["timestamp"])
    assert pl.read_parquet(staged.temp_path).equals(pl.concat(parts))
    group = pq.read_metadata(staged.temp_path).row_group(1)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert columns["timestamp"].statistics.min == at(2) + timedelta(minutes=8)
    assert [name for name, column in columns.items() if column.is_stats_set] == ["timestamp"]


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
def test_bytes_do_not_depend_on_the_chunks(tmp_path_factory, cuts):
    directory = tmp_path_factory.mktemp("chunks")
    rows = pl.concat([frame(at(hour)) for hour in range(5)])
    edges = [0, *sorted(cuts), 300]
    parts = [rows.slice(first, last - first) for first, last in itertools.pairwise(edges)]
    whole = _written(directory, [rows], row_group_rows=64)
    assert _written(directory, parts, row_group_rows=64).content_hash == whole.content_hash


def test_staging_writer_without_rows_is_a_valid_file(tmp_path):
    staged = _written(tmp_path, [])
    assert pl.read_parquet(staged.temp_path).equals(frame(DAY, rows=0))


def test_another_schema_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(StorageError, match="Cast the frame"), StagingWriter(tmp_path, SCHEMA, {}) as writer:
        writer.write(frame(DAY).with_columns(pl.col("count").cast(pl.Int32)))
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_not_finished_leaves_nothing(tmp_path):
    with StagingWriter(tmp_path, SCHEMA, {}) as writer:
        writer.write(frame(DAY))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        pl.exceptions.ComputeError("No space left on device (os error 28)"),
    ],
    ids=["errno", "quota", "pyarrow", "polars"],
)
def test_a_full_disk_is_disk_full_whoever_reports_it(error):
    with pytest.raises(DiskFull, match=r"stage x: no space left.*Free space") as raised, disk_errors("stage x"):
        raise error
    assert raised.value.retryable


def test_other_errors_are_not_called_disk_full():
    with pytest.raises(StorageError, match="Permission") as raised, disk_errors("stage x"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert not isinstance(raised.value, DiskFull)
    with pytest.raises(pl.exceptions.ComputeError, match="a bug"), disk_errors("stage x"):
        raise pl.exceptions.ComputeError("a bug")


def test_a_stage_that_reads_back_otherwise_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pl, "read_parquet_schema", lambda _: pl.Schema({"timestamp": pl.Int64()}))
    with pytest.raises(StorageError, match="read back 60 rows"):
        stage(frame(DAY + timedelta(hours=1)), tmp_path, {})
    assert list(tmp_path.iterdir()) == []
