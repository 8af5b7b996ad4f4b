"""The Vision client against the simulated archives: verified, atomic, parallel, and every fault told apart."""

from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake_resources.binance.archives.vision_client import VerifiedZip, VisionClient
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import (
    ArchiveCorrupt,
    ArchiveNotPublished,
    ChecksumMismatch,
    DiskFull,
    RequestRefused,
    ServerError,
    TransportError,
)
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.archive_rows import archive_rows

NOW = datetime(2026, 2, 15, 12, 34, tzinfo=UTC)
DAY = "2026-02-13"


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=lambda: NOW) as server:
        yield server


@pytest.fixture
def exchange(simulator: SimulatorServer) -> Iterator[SimulatorServer]:
    simulator.clear_requests()
    yield simulator
    simulator.faults.clear()


@pytest.fixture
def vision(exchange: SimulatorServer) -> Iterator[VisionClient]:
    client = VisionClient(exchange.base_url, timeout_s=30, connections=8, sleep=lambda _: None)
    yield client
    client.close()


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_a_download_is_verified_and_lies_where_it_says(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path
) -> None:
    zip_ = vision.download(UM_STREAMS["klines_1m"], "BTCUSDT", DAY, tmp_path)
    path = "/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-02-13.zip"
    assert zip_.url == exchange.base_url + path
    assert zip_.sha256 == hashlib.sha256(zip_.path.read_bytes()).hexdigest()
    assert zip_.sha256 == vision.checksum(UM_STREAMS["klines_1m"], "BTCUSDT", DAY)
    assert zip_.size_bytes == zip_.path.stat().st_size
    assert files(tmp_path) == [zip_.path]
    assert archive_rows(zip_.path, UM_STREAMS["klines_1m"]).height == 1440


def test_streams_with_the_same_file_name_do_not_meet(vision: VisionClient, tmp_path: Path) -> None:
    zips = [vision.download(stream, "BTCUSDT", DAY, tmp_path) for stream in UM_STREAMS.values() if stream.is_klines]
    assert len({zip_.path for zip_ in zips}) == 4
    assert len({zip_.sha256 for zip_ in zips}) == 4


@pytest.mark.parametrize(
    "stream",
    [name for name, stream in UM_STREAMS.items() if stream.archive and name not in ("funding_rate", "book_ticker")],
)
def test_every_daily_stream_is_read(vision: VisionClient, tmp_path: Path, stream: str) -> None:
    frame = archive_rows(vision.download(UM_STREAMS[stream], "ETHUSDT", DAY, tmp_path).path, UM_STREAMS[stream])
    assert frame.height > 200
    within = frame[UM_STREAMS[stream].time_column].is_between(
        datetime(2026, 2, 13, tzinfo=UTC), datetime(2026, 2, 14, tzinfo=UTC)
    )
    assert within.all()


def test_monthly_and_bygone_streams_are_read(vision: VisionClient, tmp_path: Path) -> None:
    for stream, period in (("funding_rate", "2026-01"), ("book_ticker", "2023-10-02")):
        zip_ = vision.download(UM_STREAMS[stream], "BTCUSDT", period, tmp_path)
        assert archive_rows(zip_.path, UM_STREAMS[stream]).height > 90


@pytest.mark.parametrize("day", ["2026-02-15", "2019-01-01"])
def test_a_day_that_is_not_there_is_asked_for_once(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path, day: str
) -> None:
    with pytest.raises(ArchiveNotPublished, match=day):
        vision.download(UM_STREAMS["klines_1m"], "BTCUSDT", day, tmp_path)
    assert len(exchange.requests) == 1
    with pytest.raises(ArchiveNotPublished, match="CHECKSUM"):
        vision.checksum(UM_STREAMS["klines_1m"], "BTCUSDT", day)
    assert not files(tmp_path)


@pytest.mark.parametrize("kind", ["late", "missing"])
def test_late_and_missing_days(exchange: SimulatorServer, vision: VisionClient, tmp_path: Path, kind: str) -> None:
    exchange.faults.add(Fault(kind, path="aggTrades", hours=200))
    with pytest.raises(ArchiveNotPublished):
        vision.download(UM_STREAMS["agg_trades"], "BTCUSDT", DAY, tmp_path)
    exchange.faults.clear()
    assert vision.download(UM_STREAMS["agg_trades"], "BTCUSDT", DAY, tmp_path).size_bytes


@pytest.mark.parametrize("kind", ["truncated", "flipped", "wrong_checksum"])
def test_bytes_that_do_not_hash_to_the_checksum_never_appear(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path, kind: str
) -> None:
    exchange.faults.add(Fault(kind, path="aggTrades"))
    with pytest.raises(ChecksumMismatch, match="CHECKSUM says"):
        vision.download(UM_STREAMS["agg_trades"], "BTCUSDT", DAY, tmp_path)
    assert not files(tmp_path)


@pytest.mark.parametrize("kind", ["truncated", "flipped"])
def test_damage_that_the_checksum_agrees_with_is_found_on_reading(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path, kind: str
) -> None:
    exchange.faults.add(Fault(kind, path="aggTrades", matching=True))
    zip_ = vision.download(UM_STREAMS["agg_trades"], "BTCUSDT", DAY, tmp_path)
    with pytest.raises(ArchiveCorrupt, match="agg_trades"):
        archive_rows(zip_.path, UM_STREAMS["agg_trades"])


def test_one_bad_download_is_cured_by_the_second(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path
) -> None:
    exchange.faults.add(Fault("flipped", path="aggTrades", times=1))
    assert vision.download(UM_STREAMS["agg_trades"], "BTCUSDT", DAY, tmp_path).path.exists()


def test_a_republished_day_has_another_checksum(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path
) -> None:
    before = vision.download(UM_STREAMS["klines_1m"], "BTCUSDT", DAY, tmp_path)
    exchange.faults.add(Fault("republished", path="klines"))
    assert vision.checksum(UM_STREAMS["klines_1m"], "BTCUSDT", DAY) != before.sha256
    after = vision.download(UM_STREAMS["klines_1m"], "BTCUSDT", DAY, tmp_path)
    assert after.sha256 == vision.checksum(UM_STREAMS["klines_1m"], "BTCUSDT", DAY)
    assert after.path == before.path


@pytest.mark.parametrize(
    ("fault", "expected", "calls"),
    [
        (Fault("cut"), TransportError, 4),
        (Fault("5xx", status=503), ServerError, 4),
        (Fault("403"), RequestRefused, 1),
        (Fault("slow", delay_s=0.8), TransportError, 4),
    ],
    ids=["cut", "5xx", "403", "slow"],
)
def test_network_faults(
    exchange: SimulatorServer,
    tmp_path: Path,
    fault: Fault,
    expected: type[Exception],
    calls: int,
) -> None:
    timeout_s = 0.4 if fault.kind == "slow" else 30
    vision = VisionClient(exchange.base_url, timeout_s=timeout_s, connections=8, sleep=lambda _: None)
    exchange.faults.add(fault)
    with pytest.raises(expected, match="LAKE_VISION_URL" if expected is not ServerError else "503"):
        vision.download(UM_STREAMS["agg_trades"], "BTCUSDT", DAY, tmp_path)
    assert len(exchange.requests) == calls
    assert not files(tmp_path)
    vision.close()


@pytest.mark.parametrize("kind", ["cut", "5xx"])
def test_passing_network_faults_are_cured(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path, kind: str
) -> None:
    exchange.faults.add(Fault(kind, times=3))
    assert vision.download(UM_STREAMS["klines_1m"], "BTCUSDT", DAY, tmp_path).path.exists()


def test_headerless_and_microsecond_files_read_the_same(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path
) -> None:
    stream = UM_STREAMS["agg_trades"]
    plain = archive_rows(vision.download(stream, "BTCUSDT", DAY, tmp_path).path, stream)
    for kind in ("headerless", "microseconds", "duplicated", "unordered"):
        exchange.faults.clear()
        exchange.faults.add(Fault(kind))
        assert archive_rows(vision.download(stream, "BTCUSDT", DAY, tmp_path).path, stream).equals(plain), kind


def test_many_come_in_order_with_their_own_errors(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path
) -> None:
    exchange.faults.add(Fault("wrong_checksum", path="2026-01-05"))
    requests = [(UM_STREAMS["klines_1m"], "BTCUSDT", f"2026-01-{day:02}") for day in range(1, 32)]
    requests.append((UM_STREAMS["klines_1m"], "BTCUSDT", "2026-03-01"))
    results = list(vision.download_many(requests, tmp_path))
    assert [request for request, _ in results] == requests
    errors = {request[2]: type(result) for request, result in results if not isinstance(result, VerifiedZip)}
    assert errors == {"2026-01-05": ChecksumMismatch, "2026-03-01": ArchiveNotPublished}
    assert len(files(tmp_path)) == 30


def test_no_more_than_asked_for_is_fetched_ahead(
    exchange: SimulatorServer, vision: VisionClient, tmp_path: Path
) -> None:
    requests = ((UM_STREAMS["klines_1m"], "BTCUSDT", f"2026-01-{day:02}") for day in range(1, 32))
    results = vision.download_many(requests, tmp_path, ahead=2)
    next(results)
    results.close()
    assert next(requests)[2] == "2026-01-03"


def test_a_full_disk_leaves_nothing_behind(
    vision: VisionClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(self: Path, mode: str) -> io.BufferedWriter:
        assert mode == "wb"
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", no_space)
    with pytest.raises(DiskFull, match="no space"):
        vision.download(UM_STREAMS["klines_1m"], "BTCUSDT", DAY, tmp_path)
    assert not files(tmp_path)
