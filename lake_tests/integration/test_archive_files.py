"""Files served as they lie on a disk: what the lake makes of a damaged one, and of a symbol that is not ASCII."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow.parquet as pq
import pytest

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.assets.vision import build_vision_asset
from lake_assets.code_location import build_definitions
from lake_assets.inputs.archives import ingest_archives
from lake_assets.inputs.results import ArchiveResult
from lake_assets.inputs.trade_tallies import read_gaps
from lake_assets.lake import Lake, open_lake
from lake_assets.metadata import archive_metadata
from lake_resources.binance.stream import Stream
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.binance.wire_columns import METRICS_COLUMNS
from lake_resources.settings import LakeSettings

METRICS = UM_STREAMS["metrics"]
PERIOD = "2024-02-16"
CHINESE = "币安人生USDT"
HEADER = ",".join(METRICS_COLUMNS) + "\n"
GOOD = "".join(
    f"2024-02-16 {minute // 60:02}:{minute % 60:02}:00,BTCUSDT,77000.5,3.8e9,2.9,1.7,0.76,1.1\n"
    for minute in range(0, 1440, 5)
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


def publish(root: Path, symbol: str, text: str, stream: Stream = METRICS) -> None:
    path = root / stream.url_path(symbol, PERIOD).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.with_suffix(".csv").name, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}\n", encoding="utf-8")


@contextmanager
def lake_on(root: Path) -> Iterator[Lake]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root / "files")))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    settings = LakeSettings(root=root / "lake", vision_url=url, rest_url=url, _env_file=None)
    lake = open_lake(settings, clock=lambda: datetime(2024, 2, 17, 9, tzinfo=UTC), sleep=lambda _: None)
    try:
        yield lake
    finally:
        lake.close()
        server.shutdown()
        thread.join()
        server.server_close()


def ingest(lake: Lake, symbol: str = "BTCUSDT", stream: Stream = METRICS) -> ArchiveResult:
    (found,) = ingest_archives(lake, symbol, [(stream, PERIOD)])
    return found


def test_a_day_of_metrics_with_damaged_rows_is_kept_and_says_so(tmp_path: Path) -> None:
    bad = GOOD.replace("07:00:00,BTCUSDT,77000.5", "07:00:00,BTCUSDT,abc") + GOOD.splitlines()[3].replace("2.9", "3.0")
    publish(tmp_path / "files", "BTCUSDT", HEADER + bad + "\n")
    told = (
        "line 86, sum_open_interest: 'abc' is no number; "
        "lines 5 and 290, count_toptrader_long_short_ratio: 2.9 and 3.0 for 2024-02-16 00:15:00"
    )
    with lake_on(tmp_path) as lake:
        found = ingest(lake)
        assert (found.status, found.row_count, found.message) == ("ingested", 288, told)
        assert found.path is not None
        frame = pl.read_parquet(found.path)
        assert frame["sum_open_interest"].null_count() == 1
        assert frame["count_toptrader_long_short_ratio"].null_count() == 1
        assert (pq.read_metadata(found.path).metadata or {})[b"lake.defects"].decode() == told
        assert archive_metadata(found)["damaged"] == told
        (row,) = lake.ledger.missing_sources("BTCUSDT", "metrics")
        assert (row.period, row.source, row.reason) == (PERIOD, "archive rows", told)

        assert ingest(lake).status == "unchanged"
        assert len(lake.ledger.missing_sources("BTCUSDT", "metrics")) == 1, "the file is as damaged as it was"

        publish(tmp_path / "files", "BTCUSDT", HEADER + GOOD)
        found = ingest(lake)
        assert (found.status, found.message) == ("republished", "")
        assert lake.ledger.missing_sources("BTCUSDT", "metrics") == []


def test_a_file_that_is_as_it_was_closes_what_was_said_of_it(tmp_path: Path) -> None:
    publish(tmp_path / "files", "BTCUSDT", HEADER + GOOD)
    checksum = tmp_path / "files" / (METRICS.url_path("BTCUSDT", PERIOD).lstrip("/") + ".CHECKSUM")
    with lake_on(tmp_path) as lake:
        assert ingest(lake).status == "ingested"
        kept = checksum.read_bytes()
        checksum.write_text("what?")
        assert ingest(lake).status == "failed"
        assert len(lake.ledger.missing_sources("BTCUSDT", "metrics")) == 1
        checksum.write_bytes(kept)
        assert ingest(lake).status == "unchanged"
        assert lake.ledger.missing_sources("BTCUSDT", "metrics") == []


def trades(ids: Iterable[int]) -> str:
    return "".join(f"{n},100.5,1.5,{n},{n},{1_708_041_600_000 + 500 * n},true\n" for n in ids)


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "out of order"])
def test_ids_of_aggtrades_that_are_missing_are_told(tmp_path: Path, *, turned: bool) -> None:
    stream = UM_STREAMS["agg_trades"]
    ids = [n for n in range(150_000) if n not in (70, 71) and not 110_000 <= n < 120_000]
    publish(tmp_path / "files", "BTCUSDT", trades(reversed(ids) if turned else ids), stream)
    told = "10002 aggTrade ids are missing in 2 place(s), first between 2024-02-16 00:00:34.500000+00:00 and "
    with lake_on(tmp_path) as lake:
        found = ingest(lake, stream=stream)
        assert (found.status, found.row_count) == ("ingested", 139_998)
        assert found.message.startswith(told)
        assert found.path is not None
        start = datetime(2024, 2, 16, tzinfo=UTC)
        assert [[(at - start).total_seconds() for at in gap] for gap in read_gaps([found.path])] == [
            [34.5, 36.0],
            [54_999.5, 60_000.0],
        ]
        (row,) = lake.ledger.missing_sources("BTCUSDT", "agg_trades")
        assert (row.source, row.reason) == ("archive rows", found.message)
        publish(tmp_path / "files", "BTCUSDT", trades(range(1_000)), stream)
        found = ingest(lake, stream=stream)
        told = "139,002 values changed, the first 10,000 are kept as revisions"
        assert (found.status, found.message) == ("republished", told)
        assert found.path is not None
        assert read_gaps([found.path]) == []


def test_a_file_of_another_day_is_no_empty_day(tmp_path: Path) -> None:
    publish(tmp_path / "files", "BTCUSDT", HEADER + GOOD.replace("2024-02-16", "2024-02-18"))
    with lake_on(tmp_path) as lake:
        found = ingest(lake)
        assert found.status == "failed"
        assert "rows from 2024-02-18 00:00:00+00:00 to 2024-02-18 23:55:00+00:00, none of them of 2024-02-16" in (
            found.message
        )
        assert lake.ledger.archive("BTCUSDT", "metrics", PERIOD) is None
        assert not list(lake.catalog.temp_dir.glob("*.parquet"))
        assert len(list(lake.catalog.quarantine_dir.rglob("*.zip"))) == 1


@pytest.mark.parametrize(("time", "told"), [("2024-02-17 00:00:00", False), ("2024-02-17 00:05:00", True)])
def test_rows_beyond_the_day_are_told_but_for_the_old_label_of_midnight(
    tmp_path: Path, time: str, *, told: bool
) -> None:
    publish(tmp_path / "files", "BTCUSDT", HEADER + GOOD + GOOD.splitlines()[0].replace("2024-02-16 00:00:00", time))
    with lake_on(tmp_path) as lake:
        found = ingest(lake)
        assert (found.status, found.row_count) == ("ingested", 289)
        assert ("reach beyond 2024-02-16; those outside are not used" in found.message) is told


def test_a_chinese_symbol(tmp_path: Path) -> None:
    publish(tmp_path / "files", CHINESE, HEADER + GOOD.replace("BTCUSDT", CHINESE))
    with lake_on(tmp_path) as lake:
        found = ingest(lake, CHINESE)
        assert (found.status, found.row_count, found.message) == ("ingested", 288, "")
        assert lake.ledger.archive(CHINESE, "metrics", PERIOD) is not None
    settings = LakeSettings(symbols=("BTCUSDT", CHINESE), root=tmp_path / "lake", _env_file=None)
    assets = [build_table_asset(MINUTE_ASSET, CHINESE, settings), build_vision_asset(CHINESE, METRICS, settings)]
    assert {key.to_user_string() for asset in assets for key in asset.keys} == {
        "um/_u5e01_u5b89_u4eba_u751fUSDT/minute",
        "vision/_u5e01_u5b89_u4eba_u751fUSDT/metrics",
    }
    dg.Definitions.validate_loadable(build_definitions(settings))
