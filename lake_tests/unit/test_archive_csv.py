"""Vision zips to typed frames: synthetic files of every era, and every kind of damage."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from lake_resources.binance.archives.archive_csv import read_frames
from lake_resources.binance.stream import Stream
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import ArchiveCorrupt
from lake_tests.support.archive_rows import archive_rows

AGG = UM_STREAMS["agg_trades"]
AGG_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
AGG_ROWS = "1,2088.0,40.0,1,1,1774599098684,false\n2,2169.87,0.02,2,2,1774599109473,true\n"
METRICS_HEADER = ",".join(UM_STREAMS["metrics"].columns) + "\n"


def zipped(directory: Path, text: str, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = directory / "file.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("file.csv", text)
    return path


def read(directory: Path, stream: Stream, text: str) -> pl.DataFrame:
    return archive_rows(zipped(directory, text), stream)


def test_aggtrades_with_a_header_are_read_whole(tmp_path: Path) -> None:
    frame = read(tmp_path, AGG, AGG_HEADER + AGG_ROWS)
    assert frame.schema == pl.Schema(AGG.columns)
    assert frame.rows() == [
        (1, 2088.0, 40.0, 1, 1, datetime(2026, 3, 27, 8, 11, 38, 684_000, UTC), False),
        (2, 2169.87, 0.02, 2, 2, datetime(2026, 3, 27, 8, 11, 49, 473_000, UTC), True),
    ]


@pytest.mark.parametrize(
    "text",
    [
        AGG_ROWS,
        AGG_ROWS.rstrip(),
        "\ufeff" + AGG_HEADER + AGG_ROWS,
        (AGG_HEADER + AGG_ROWS).replace("\n", "\r\n"),
        AGG_HEADER + AGG_ROWS + "\n\n",
        AGG_HEADER + AGG_ROWS.replace("false", "False").replace("true", "True"),
        AGG_HEADER + AGG_ROWS.replace("1774599098684", "1774599098684000"),
        AGG_ROWS.replace("1,2088.0", '"1","2088.0"'),
        '"' + AGG_HEADER.strip().replace(",", '","') + '"\n' + AGG_ROWS,
        AGG_HEADER + "".join(reversed(AGG_ROWS.splitlines(keepends=True))),
        AGG_HEADER + AGG_ROWS + AGG_ROWS,
        (AGG_HEADER + AGG_ROWS).replace("\n", ",nq\n"),
        AGG_HEADER + "\n" + AGG_ROWS.replace("\n", "\n\n"),
        ("\n" + AGG_ROWS.replace("\n", "\n\n")).replace("\n", "\r\n"),
    ],
    ids=[
        "headerless", "no last line end", "byte order mark", "CRLF", "blank lines at the end", "Python booleans",
        "one stamp in microseconds", "quoted values", "quoted header", "unordered",
        "every row twice", "a column appended", "blank lines between", "blank lines between, CRLF",
    ],
)  # fmt: skip
def test_every_spelling_gives_the_same_frame(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, AGG, text).equals(read(tmp_path, AGG, AGG_HEADER + AGG_ROWS))


def test_a_stored_member_is_read_too(tmp_path: Path) -> None:
    assert archive_rows(zipped(tmp_path, AGG_ROWS, zipfile.ZIP_STORED), AGG).height == 2


def test_a_header_alone_or_nothing_is_an_empty_frame(tmp_path: Path) -> None:
    for text in ("", AGG_HEADER, AGG_HEADER.rstrip()):
        frame = read(tmp_path, AGG, text)
        assert frame.schema == pl.Schema(AGG.columns)
        assert frame.height == 0


def test_metrics_may_have_holes(tmp_path: Path) -> None:
    rows = "2026-02-14 00:05:00,BTCUSDT,90000.5,3.8e9,,1.7,1.45,\n"
    rows += '"2026-02-14 00:00:00","BTCUSDT","1","2","3","4","5","6"\n'
    frame = read(tmp_path, UM_STREAMS["metrics"], METRICS_HEADER + rows)
    assert frame.rows() == [
        (datetime(2026, 2, 14, 0, 0, tzinfo=UTC), "BTCUSDT", 1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        (datetime(2026, 2, 14, 0, 5, tzinfo=UTC), "BTCUSDT", 90000.5, 3.8e9, None, 1.7, 1.45, None),
    ]


@pytest.mark.parametrize(
    ("stream", "text", "told"),
    [
        ("agg_trades", AGG_HEADER.replace("price,quantity", "quantity,price") + AGG_ROWS, "columns agg_trade_id, quan"),
        ("agg_trades", AGG_HEADER.replace("transact_time", "timestamp") + AGG_ROWS, "timestamp.* instead of"),
        ("agg_trades", "agg_trade_id,price\n1,2\n", "columns agg_trade_id, price instead of"),
        ("agg_trades", AGG_HEADER + AGG_ROWS + "3,2169.87,0.0", "last line is torn, after line 1.*3,2169.87,0.0"),
        ("agg_trades", AGG_HEADER + AGG_ROWS + "3,2169.87,0.0,2,2,1774599109473,tru", "tru"),
        ("agg_trades", AGG_HEADER + "1,2088.0\n" + AGG_ROWS, "first line is torn, after line 1: 1,2088.0"),
        ("agg_trades", AGG_HEADER + AGG_ROWS + "3,2169.87\n" + AGG_ROWS, "line 4: no readable quantity"),
        ("agg_trades", AGG_ROWS + AGG_HEADER + AGG_ROWS, "could not parse `agg_trade_id`"),
        ("agg_trades", AGG_HEADER + AGG_ROWS.replace("2169.87", ""), "line 3: no readable price"),
        ("agg_trades", AGG_HEADER + AGG_ROWS.replace("2169.87", "abc"), "could not parse `abc`"),
        ("agg_trades", AGG_HEADER + AGG_ROWS.replace("\n", ",9\n"), "torn|more fields"),
        ("agg_trades", AGG_HEADER + AGG_ROWS.replace("1774599109473", "17745991"), "no epoch time"),
        ("agg_trades", AGG_HEADER + AGG_ROWS + AGG_ROWS.replace("2088.0", "2088.1"), "share a key.*agg_trade_id 1"),
        ("metrics", METRICS_HEADER + "yesterday,BTCUSDT,1,2,3,4,5,6\n", "could not parse|no readable create_time"),
        ("metrics", METRICS_HEADER + "2026-02-30 00:05:00,BTCUSDT,1,2,3,4,5,6\n", "line 2: no readable create_time"),
    ],
)  # fmt: skip
def test_damaged_text_is_refused_with_its_place(tmp_path: Path, stream: str, text: str, told: str) -> None:
    with pytest.raises(ArchiveCorrupt, match=f"(?s){told}") as caught:
        read(tmp_path, UM_STREAMS[stream], text)
    assert "file.zip" in str(caught.value)


def test_every_flipped_byte_of_the_data_is_found(tmp_path: Path) -> None:
    path = zipped(tmp_path, AGG_HEADER + AGG_ROWS)
    good = path.read_bytes()
    expected = archive_rows(path, AGG)
    start, end = good.index(b"file.csv") + 8, good.index(b"PK\x01\x02")
    for position in range(start, end):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        with pytest.raises(ArchiveCorrupt):
            archive_rows(path, AGG)
    path.write_bytes(good)
    assert archive_rows(path, AGG).equals(expected)


def test_a_torn_zip_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = zipped(tmp_path, AGG_HEADER + AGG_ROWS)
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(ArchiveCorrupt):
            archive_rows(path, AGG)


def test_two_members_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, AGG_ROWS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("second.csv", AGG_ROWS)
    with pytest.raises(ArchiveCorrupt, match=r"2 members instead of one: file\.csv, second\.csv"):
        archive_rows(path, AGG)


def test_the_entry_of_a_directory_is_no_member(tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("data")
        archive.writestr("data/2026-03-27.csv", AGG_ROWS)
    assert archive_rows(path, AGG).height == 2


def test_lines_that_end_otherwise_are_no_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ArchiveCorrupt, match="columns agg_trade_id"):
        read(tmp_path, AGG, (AGG_HEADER.replace("is_buyer_maker", "is_buyer_maker,x") + AGG_ROWS).replace("\n", "\r"))


def test_a_settlement_may_lack_its_interval(tmp_path: Path) -> None:
    text = "calc_time,funding_interval_hours,last_funding_rate\n1700000000000,,1E-5\n"
    frame = read(tmp_path, UM_STREAMS["funding_rate"], text)
    assert frame.row(0) == (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), None, 0.00001)


@pytest.mark.parametrize("chunk_bytes", [1, 40, 1000, 1 << 20])
def test_blocks_never_cut_a_line(tmp_path: Path, chunk_bytes: int) -> None:
    rows = "".join(f"{n},2088.5,{n}.25,{n},{n},{1_774_599_098_684 + n},{'tf'[n % 2]}\n" for n in range(1, 20_001))
    rows = rows.replace(",t\n", ",true\n").replace(",f\n", ",false\n")
    path = zipped(tmp_path, AGG_HEADER + rows)
    frames = list(read_frames(path, AGG, chunk_bytes))
    assert pl.concat(frames)["agg_trade_id"].to_list() == list(range(1, 20_001))
    assert all(frame.schema == pl.Schema(AGG.columns) for frame in frames)


def test_damage_far_in_names_the_lines_around_it(tmp_path: Path) -> None:
    rows = [f"{n},2088.5,1.25,{n},{n},{1_774_599_098_684 + n},true\n" for n in range(1, 20_001)]
    rows[15_000] = rows[15_000].replace("2088.5", "x")
    with pytest.raises(ArchiveCorrupt, match=r"parse `x`.*after line \d+ \(within the next \d+ lines\)"):
        list(read_frames(zipped(tmp_path, "".join(rows)), AGG, 100_000))
