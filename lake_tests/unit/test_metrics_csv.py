"""Damaged metrics files: what is sound of a day is read, and everything that is not is named."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake_resources.binance.archives.metrics_csv import VALUES, Metrics, read_metrics
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.binance.wire_columns import METRICS_COLUMNS
from lake_resources.errors import ArchiveCorrupt
from lake_tests.support.archive_rows import archive_rows

HEADER = ",".join(METRICS_COLUMNS) + "\n"
ROW = "2024-02-16 00:05:00,BTCUSDT,77000.5,3.8e9,2.90,1.7,0.76,1.1\n"
SOUND = (77000.5, 3.8e9, 2.9, 1.7, 0.76, 1.1)


def at(minute: int) -> datetime:
    return datetime(2024, 2, 16, 0, minute, tzinfo=UTC)


def row(minute: int, *changes: tuple[str, str]) -> str:
    text = ROW.replace("00:05", f"00:{minute:02}")
    for old, new in changes:
        text = text.replace(old, new)
    return text


def metrics(directory: Path, text: str) -> Metrics:
    path = directory / "metrics.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metrics.csv", text)
    found = read_metrics(path)
    assert archive_rows(path, UM_STREAMS["metrics"]).equals(found.frame)
    return found


def values(found: Metrics, minute: int) -> tuple[float | None, ...]:
    frame = found.frame
    return frame.filter(frame["create_time"] == at(minute)).select(VALUES).row(0)


@pytest.mark.parametrize("hole", ["", "null", "NULL", "None", "NaN", "NA", "N/A", "-", '""', "\\N"])
def test_a_value_that_was_not_published_is_null_and_no_damage(tmp_path: Path, hole: str) -> None:
    found = metrics(tmp_path, HEADER + row(5) + row(10, ("2.90", hole)))
    assert values(found, 10) == (77000.5, 3.8e9, None, 1.7, 0.76, 1.1)
    assert found.defects == ()
    assert found.summary() == ""


@pytest.mark.parametrize("value", ["abc", "inf", "-inf", "1e999", "-0.5"])
def test_a_value_that_cannot_be_is_null_and_named(tmp_path: Path, value: str) -> None:
    found = metrics(tmp_path, HEADER + row(5) + row(10, ("2.90", value)))
    assert values(found, 10) == (77000.5, 3.8e9, None, 1.7, 0.76, 1.1)
    assert values(found, 5) == SOUND
    (defect,) = found.defects
    assert defect.startswith("line 3, count_toptrader_long_short_ratio")
    assert value in defect


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("yesterday,BTCUSDT,1,2,3,4,5,6\n", "line 3: no readable create_time ('yesterday')"),
        ("2024-02-30 00:05:00,BTCUSDT,1,2,3,4,5,6\n", "line 3: no readable create_time ('2024-02-30 00:05:00')"),
        (",BTCUSDT,1,2,3,4,5,6\n", "line 3: no readable create_time ('')"),
        ("1708042,BTCUSDT,1,2,3,4,5,6\n", "line 3: no readable create_time ('1708042')"),
        ("2024-02-16 00:10:00,BTCUSDT,1\n", "line 3: 3 fields instead of 8"),
        ("2024-02-16 00:10:00,BTCUSDT,1,2,3,4,5,6,7\n", "line 3: 9 fields instead of 8"),
        ("2024-02-16 00:10:00,ETHUSDT,1,2,3,4,5,6\n", "line 3: a row of ETHUSDT among those of BTCUSDT"),
    ],
)
def test_one_bad_row_does_not_lose_the_day(tmp_path: Path, bad: str, told: str) -> None:
    found = metrics(tmp_path, HEADER + row(5) + bad + row(15))
    assert found.frame["create_time"].to_list() == [at(5), at(15)]
    assert found.defects == (told,)


def test_rows_of_one_time_are_one_row(tmp_path: Path) -> None:
    found = metrics(
        tmp_path, HEADER + row(10, ("0.76", "")) + row(5) + row(5) + row(10, ("1.7", ""), ("77000.5", "0077000.50"))
    )
    assert found.frame["create_time"].to_list() == [at(5), at(10)]
    assert values(found, 10) == SOUND
    assert found.defects == ()


def test_of_two_values_of_one_time_neither_is_taken(tmp_path: Path) -> None:
    found = metrics(tmp_path, HEADER + row(5) + row(10) + row(10, ("2.90", "2.91")) + row(15))
    assert values(found, 10) == (77000.5, 3.8e9, None, 1.7, 0.76, 1.1)
    assert found.defects == ("lines 3 and 4, count_toptrader_long_short_ratio: 2.9 and 2.91 for 2024-02-16 00:10:00",)


def test_a_file_that_lacks_a_column_keeps_the_others(tmp_path: Path) -> None:
    header = HEADER.replace(",count_long_short_ratio", "")
    found = metrics(tmp_path, header + ROW.replace(",0.76", ""))
    assert values(found, 5) == (77000.5, 3.8e9, 2.9, 1.7, None, 1.1)
    assert found.defects == ("no column count_long_short_ratio",)


@pytest.mark.parametrize(
    "time",
    ["2024-02-16T00:05:00", "2024-02-16 00:05", "2024-02-16 00:05:00 UTC", "2024-02-16 00:05:00.000", "1708041900000",
     "1708041900000000", '"2024-02-16 00:05:00"'],
)  # fmt: skip
def test_every_spelling_of_a_time(tmp_path: Path, time: str) -> None:
    text = ROW.replace("2024-02-16 00:05:00", time)
    for spelled in (HEADER + text, text, (HEADER + text).replace("\n", "\r\n"), "\ufeff" + HEADER + text + "\n\n"):
        found = metrics(tmp_path, spelled)
        assert values(found, 5) == SOUND
        assert found.defects == ()


def test_a_header_alone_is_an_empty_day(tmp_path: Path) -> None:
    assert metrics(tmp_path, HEADER).frame.is_empty()
    assert metrics(tmp_path, "").frame.is_empty()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEADER + "yesterday,BTCUSDT,1,2,3,4,5,6\n", "not one row can be read: line 2: no readable create_time"),
        ("calc_time,funding_interval_hours\n1,2\n", "columns calc_time, funding_interval_hours instead of create_time"),
        (HEADER.replace("symbol", "create_time") + ROW, "columns create_time, create_time"),
        ('<?xml version="1.0"?><Error/>', "instead of create_time"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ArchiveCorrupt, match=told):
        metrics(tmp_path, text)


def test_many_defects_are_told_in_one_line(tmp_path: Path) -> None:
    found = metrics(tmp_path, HEADER + row(5) + "x,y\n" * 300)
    assert len(found.defects) == 300
    assert found.summary().endswith("line 7: 2 fields instead of 8; and 295 more")
