"""Each limit on what comes from outside, set low, and what every source then sends: an error of the tree, no more.

That the defaults hold against what has no end is in `test_hostile_hosts` and `test_hostile_together`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lake_assets.inputs.archives import type_archive
from lake_assets.lake import open_lake
from lake_assets.slices.server import open_slices, run_once
from lake_resources.binance.archives.archive_csv import line_blocks
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.market import SPOT, UM
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.errors import ArchiveCorrupt, ExchangeError, LakeError, OverLimit
from lake_resources.input_limits import InputLimits
from lake_resources.rest_access import rest_access
from lake_resources.settings import LakeSettings
from lake_resources.yahoo.yahoo_minutes import YahooMinutes
from lake_tests.bench.mutations import zipped
from lake_tests.support.hostile_host import hostile
from lake_tests.support.sliced import OF, ms

NOW = datetime(2026, 11, 19, 9, tzinfo=UTC)
KLINE = b"1696204800000,1,1,1,1,0,1696204859999,0,0,0,0,0\n"
TRADE = b"1,27981.3,12.911,1,2,1696204800012,true\n"
SPOT_TRADE = b"1,27981.3,12.911,1,2,1696204800012,true,true\n"
METRICS = b"2023-10-02 00:00:00,BTCUSDT,1,1,1,1,1,1\n"
ARCHIVES = {
    "klines": (UM_STREAMS["klines_1m"], KLINE),
    "seconds of spot": (SPOT_STREAMS["klines_1s"], KLINE),
    "trades": (UM_STREAMS["agg_trades"], TRADE),
    "trades of spot": (SPOT_STREAMS["agg_trades"], SPOT_TRADE),
    "metrics": (UM_STREAMS["metrics"], METRICS),
}
GRIDS = {"klines", "seconds of spot"}
OF_ARCHIVES = {
    "inflated_bytes": (60, set(ARCHIVES), "inflates to more than|more than"),
    "grid_rows": (2, GRIDS, "more than 2 rows"),
    "rows": (2, {"trades", "trades of spot"}, "more than 2 rows"),
    "line_bytes": (10, set(ARCHIVES), "a line of more than 10 bytes"),
    "metrics_bytes": (50, {"metrics"}, "more than 50 bytes of CSV"),
}
"""What a zip may hold: a value that three rows are beyond, the archives it is for, and what is told."""
PAIRS = [(limit, name) for limit, (_, names, _) in OF_ARCHIVES.items() for name in sorted(names)]
ELSEWHERE = {
    "members": "test_hostile_hosts: 60,000 of them",
    "inflated_times": "test_hostile_hosts: zips that inflate without end",
    "unordered_rows": "test_spilled_order: beyond it rows go over the disk, which is no error",
    "frame_bytes": "test_hostile_together: the socket is closed",
    "slow_s": "test_hostile_hosts: a byte now and then",
    "slowest_bytes_per_s": "test_hostile_hosts: a byte now and then",
    "answer_s": "test_hostile_hosts: a byte now and then",
    "download_s": "test_hostile_hosts: a byte now and then",
}
OF_HOSTS = {"download_bytes", "grid_download_bytes", "answer_bytes", "answer_values"}


def test_every_limit_is_tried_somewhere() -> None:
    tried = [*OF_ARCHIVES, *ELSEWHERE, *OF_HOSTS]
    assert sorted(tried) == sorted(InputLimits.model_fields)


@pytest.mark.parametrize(("limit", "name"), PAIRS)
def test_an_archive_beyond_a_limit_is_corrupt(limit: str, name: str, tmp_path: Path) -> None:
    (stream, row), (value, _, told) = ARCHIVES[name], OF_ARCHIVES[limit]
    path = tmp_path / "x.zip"
    path.write_bytes(zipped("x.csv", row * 3))
    with pytest.raises(ArchiveCorrupt, match=told):
        type_archive(path, stream, tmp_path / "typed", {}, InputLimits(**{limit: value}))
    assert [each for each in (tmp_path / "typed").glob("*") if each.is_file()] == []


def test_a_line_is_measured_wherever_its_file_is_cut() -> None:
    rng, refused = random.Random(7), 0
    for _ in range(400):
        lines = [b"x" * rng.randrange(12) for _ in range(rng.randrange(1, 8))]
        text = b"\n".join(lines) + rng.choice((b"", b"\n"))
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randrange(4)))
        pieces = (text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)]))
        longer = max(map(len, lines)) > 8
        try:
            assert b"".join(line_blocks(Path("x"), pieces, rng.randrange(1, 20), 8)) == text
        except ArchiveCorrupt:
            refused += 1
            assert longer, (text, cuts)
        else:
            assert not longer, (text, cuts)
    assert 100 < refused < 300


def answered(body: bytes) -> Callable[[], list[bytes]]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    return lambda: [head % len(body), body]


LONG, WIDE = b'["' + b"1" * 9000 + b'"]', b"[" + b"1," * 3000 + b"1]"
LOW = {"answer_bytes": 8000, "answer_values": 2000, "download_bytes": 5000, "grid_download_bytes": 5000}


def settings_of(root: Path, url: str) -> LakeSettings:
    urls: dict[str, Any] = dict.fromkeys(("rest_url", "spot_rest_url", "vision_url", "yahoo_url"), url)
    return LakeSettings(
        _env_file=None, root=root, rest_attempts=1, limits=InputLimits(**LOW), symbols=("BTCUSDT",), **urls
    )


def of_um(settings: LakeSettings) -> None:
    with closing(rest_access(settings, UM).open(clock=lambda: NOW, sleep=lambda _: None)) as rest:
        rest.fetch("klines_1m", "BTCUSDT", NOW - timedelta(hours=2), NOW - timedelta(hours=1))


def of_exchange_info(settings: LakeSettings) -> None:
    with closing(rest_access(settings, UM).open(clock=lambda: NOW, sleep=lambda _: None)) as rest:
        rest.exchange_info()


def of_spot(settings: LakeSettings) -> None:
    with closing(rest_access(settings, SPOT).open(clock=lambda: NOW, sleep=lambda _: None)) as rest:
        rest.fetch("klines_1s", "SOLUSDT", NOW - timedelta(hours=2), NOW - timedelta(hours=1))


def of_a_lake(settings: LakeSettings) -> None:
    with closing(open_lake(settings, clock=lambda: NOW, sleep=lambda _: None)) as lake:
        assert lake.limits == settings.limits
        lake.rest.server_time()


def of_slices(settings: LakeSettings) -> None:
    with open_slices(settings, clock=lambda: NOW, sleep=lambda _: None) as slices:
        run_once(slices, OF, first=ms(NOW - timedelta(days=1)), most=1)


def of_yahoo(settings: LakeSettings) -> None:
    yahoo = YahooMinutes(settings.resolved_yahoo_url, settings.lake_root / "yahoo", limits=settings.limits)
    yahoo.minutes("SPY", NOW - timedelta(hours=3), NOW, now=NOW)


ASKED = {
    "futures": of_um, "exchangeInfo": of_exchange_info, "spot": of_spot, "a lake": of_a_lake, "slices": of_slices,
    "macro minutes": of_yahoo,
}  # fmt: skip


@pytest.mark.parametrize("body", [LONG, WIDE], ids=["answer_bytes", "answer_values"])
@pytest.mark.parametrize("source", ASKED)
def test_an_answer_beyond_a_limit_of_the_settings_is_given_up(source: str, body: bytes, tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    with hostile(answered(body)) as url, pytest.raises(LakeError) as told:
        ASKED[source](settings_of(tmp_path / "lake", url))
    assert "LAKE_LIMITS__" in str(told.value) or isinstance(told.value, OverLimit), told.value


@pytest.mark.parametrize("stream", ["klines_1m", "agg_trades"])
@pytest.mark.parametrize("market", ["um", "spot"])
def test_a_download_beyond_a_limit_is_given_up(market: str, stream: str, tmp_path: Path) -> None:
    of = {"um": UM_STREAMS, "spot": SPOT_STREAMS}[market][stream]
    checksum = b"0" * 64 + b"  x.zip\n"

    def pieces() -> list[bytes]:
        # Zip and CHECKSUM from one host that knows no paths: as long as the former, a CHECKSUM is one more error.
        return answered(checksum + b"x" * 6000)()

    with hostile(pieces) as url:
        vision = VisionClient(url, attempts=1, limits=InputLimits(**LOW))
        with closing(vision), pytest.raises(OverLimit, match="more than"):
            vision.download(of, "BTCUSDT", "2024-01-01", tmp_path)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


REDIRECTED = {"futures": of_um, "spot": of_spot, "slices": of_slices, "macro minutes": of_yahoo}


@pytest.mark.parametrize("source", REDIRECTED)
def test_nobody_is_sent_to_another_host(source: str, tmp_path: Path) -> None:
    asked: list[int] = []

    def other() -> list[bytes]:
        asked.append(1)
        return answered(b"[]")()

    (tmp_path / "lake").mkdir()
    with hostile(other) as inner:
        head = f"HTTP/1.1 302 Found\r\nLocation: {inner}/secret\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with hostile(lambda: [head.encode()]) as url, suppress(ExchangeError):
            REDIRECTED[source](settings_of(tmp_path / "lake", url))
    assert asked == []
