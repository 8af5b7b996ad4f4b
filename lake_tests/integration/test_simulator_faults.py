"""Scripted faults of the simulator: each does what it says, only where and as often as it says."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lake_resources.simulator.faults import KINDS, Fault
from lake_resources.simulator.server import SimulatorServer

NOW = datetime(2026, 2, 15, 12, 34, 20, tzinfo=UTC)
DAY = datetime(2026, 2, 13, tzinfo=UTC)
KLINES = "/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-02-13.zip"
AGGS = "/data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-02-13.zip"
TIME = "/fapi/v1/time"


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=7, symbols=("BTCUSDT", "ETHUSDT"), clock=lambda: NOW) as running:
        yield running


@pytest.fixture
def sim(server: SimulatorServer) -> SimulatorServer:
    server.faults.clear()
    server.clear_requests()
    server.exchange.limits.reset()
    server.clock.offset(timedelta(0))
    return server


@pytest.fixture
def http(sim: SimulatorServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sim.base_url, timeout=30) as client:
        yield client


def rows(body: bytes) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return [line.split(",") for line in archive.read(archive.namelist()[0]).decode().splitlines()]


def sums_match(http: httpx.Client, path: str) -> bool:
    body, shown = http.get(path).content, http.get(f"{path}.CHECKSUM").text
    return shown.split()[0] == hashlib.sha256(body).hexdigest()


def test_429_and_5xx_last_as_often_as_scripted(sim: SimulatorServer, http: httpx.Client) -> None:
    number = sim.faults.add(Fault(kind="429", path="/time$", times=2, retry_after_s=3))
    answers = [http.get(TIME) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "3"
    assert answers[0].json()["code"] == -1003
    assert sim.faults.hits(number) == 2
    sim.faults.add(Fault(kind="5xx", path="/time$", times=1, skip=1, status=502))
    assert [http.get(TIME).status_code for _ in range(3)] == [200, 502, 200]
    sim.faults.add(Fault(kind="429", path="/time$", times=1, retry_after_s=0))
    assert "Retry-After" not in http.get(TIME).headers


def test_418_bans_the_caller_everywhere_until_it_ends(sim: SimulatorServer, http: httpx.Client) -> None:
    sim.faults.add(Fault(kind="418", path="aggTrades", times=1, retry_after_s=300))
    first = http.get("/fapi/v1/aggTrades", params={"symbol": "BTCUSDT"})
    assert (first.status_code, first.headers["Retry-After"]) == (418, "300")
    assert "banned until" in first.json()["msg"]
    assert http.get(TIME).status_code == 418
    assert http.get(KLINES).status_code == 200, "the archive is another host"
    sim.exchange.limits.reset()
    assert http.get(TIME).status_code == 200


def test_451_403_and_garbage(sim: SimulatorServer, http: httpx.Client) -> None:
    sim.faults.add(Fault(kind="451", path=TIME, times=1))
    sim.faults.add(Fault(kind="403", path=TIME, times=1))
    sim.faults.add(Fault(kind="garbage", path=TIME, times=1))
    blocked, forbidden, garbage, fine = (http.get(TIME) for _ in range(4))
    assert (blocked.status_code, blocked.json()["code"]) == (451, 0)
    assert "restricted location" in blocked.json()["msg"]
    assert (forbidden.status_code, forbidden.text[:6]) == (403, "<html>")
    assert (garbage.status_code, garbage.text[:6]) == (200, "<html>")
    assert fine.json()["serverTime"]


def test_a_slow_answer_comes_late_and_whole(sim: SimulatorServer, http: httpx.Client) -> None:
    sim.faults.add(Fault(kind="slow", path=TIME, times=1, delay_s=0.4))
    began = time.monotonic()
    assert http.get(TIME).status_code == 200
    assert time.monotonic() - began >= 0.4
    sim.faults.add(Fault(kind="slow", path=TIME, times=1, delay_s=5))
    with pytest.raises(httpx.ReadTimeout):
        http.get(TIME, timeout=httpx.Timeout(30, read=0.2))


@pytest.mark.parametrize("path", ["/fapi/v1/klines?symbol=BTCUSDT&interval=1m", KLINES])
def test_a_cut_answer_breaks_off_in_its_body(sim: SimulatorServer, http: httpx.Client, path: str) -> None:
    whole = http.get(path).content
    sim.faults.add(Fault(kind="cut", path="klines", times=1, fraction=0.5))
    received: list[bytes] = []

    def read() -> None:
        with http.stream("GET", path) as answer:
            assert int(answer.headers["Content-Length"]) == len(whole)
            received.extend(answer.iter_raw())

    with pytest.raises(httpx.RemoteProtocolError):
        read()
    assert whole.startswith(b"".join(received))
    assert http.get(path).content == whole


def test_late_and_missing_archives(sim: SimulatorServer, http: httpx.Client) -> None:
    sim.faults.add(Fault(kind="late", path="aggTrades.*2026-02-14", hours=6))
    path = AGGS.replace("02-13", "02-14")
    assert http.get(path).status_code == http.get(f"{path}.CHECKSUM").status_code == 404
    assert http.get(AGGS).status_code == 200
    sim.clock.freeze(datetime(2026, 2, 15, 14, 35, tzinfo=UTC))
    assert http.get(path).status_code == 200
    sim.faults.add(Fault(kind="missing", path="aggTrades.*2026-02-13"))
    assert http.get(AGGS).status_code == http.get(f"{AGGS}.CHECKSUM").status_code == 404


@pytest.mark.parametrize("kind", ["truncated", "flipped"])
@pytest.mark.parametrize("matching", [True, False])
def test_damaged_bytes(sim: SimulatorServer, http: httpx.Client, kind: str, matching: bool) -> None:
    whole = http.get(AGGS).content
    sim.faults.add(Fault(kind=kind, path="aggTrades", fraction=0.7, matching=matching))
    damaged = http.get(AGGS).content
    assert len(damaged) == (int(len(whole) * 0.7) if kind == "truncated" else len(whole))
    assert damaged != whole
    assert sums_match(http, AGGS) is matching
    sim.faults.clear()
    sim.faults.add(Fault(kind=kind, path="aggTrades", times=1, matching=matching))
    assert http.get(f"{AGGS}.CHECKSUM").status_code == 200
    assert http.get(AGGS).content != whole
    assert http.get(AGGS).content == whole, "the second download is sound"
    assert sums_match(http, AGGS)


def test_garbled_rows_have_one_value_that_is_no_number(sim: SimulatorServer, http: httpx.Client) -> None:
    path = "/data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-02-13.zip"
    sound = rows(http.get(path).content)
    window = {"start": DAY + timedelta(hours=2), "end": DAY + timedelta(hours=2, minutes=15)}
    sim.faults.add(Fault(kind="garbled", path=path, **window))
    found = rows(http.get(path).content)
    assert sums_match(http, path)
    differing = [(new, old) for new, old in zip(found, sound, strict=True) if new != old]
    assert [new[0][11:16] for new, _ in differing] == ["02:00", "02:05", "02:10"]
    assert all([*new[:2], *new[3:]] == [*old[:2], *old[3:]] for new, old in differing)
    assert {new[2] for new, _ in differing} == {"1.2.3"}


def test_a_republished_archive_has_new_rows_and_a_new_checksum_from_then_on(
    sim: SimulatorServer, http: httpx.Client
) -> None:
    since = datetime(2026, 2, 15, 13, 0, tzinfo=UTC)
    for path in (KLINES, AGGS, KLINES.replace("klines", "markPriceKlines"), AGGS.replace("aggTrades", "metrics")):
        sim.clock.offset(timedelta(0))
        sim.faults.clear()
        original = http.get(path).content
        sim.faults.add(Fault(kind="republished", path=path, since=since))
        assert http.get(path).content == original
        sim.clock.freeze(since)
        revised = http.get(path).content
        assert revised != original
        assert sums_match(http, path)
        old, new = rows(original), rows(revised)
        differing = [index for index, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        assert differing == [1], "one row of the file was corrected"


def test_a_wrong_checksum_for_a_sound_file(sim: SimulatorServer, http: httpx.Client) -> None:
    whole = http.get(KLINES).content
    sim.faults.add(Fault(kind="wrong_checksum", path="klines", times=1))
    assert not sums_match(http, KLINES)
    assert sums_match(http, KLINES)
    assert http.get(KLINES).content == whole


def test_missing_minutes_in_archive_and_rest(sim: SimulatorServer, http: httpx.Client) -> None:
    start, end = DAY + timedelta(hours=3, minutes=7), DAY + timedelta(hours=3, minutes=9)
    window: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": int((DAY + timedelta(hours=3)).timestamp() * 1000),
        "limit": 60,
    }
    sim.faults.add(Fault(kind="missing_minutes", path="^/data/.*klines", start=start, end=end))
    kept = [int(row[0]) for row in rows(http.get(KLINES).content)[1:]]
    assert len(kept) == 1438
    assert int(start.timestamp()) * 1000 not in kept
    assert len(http.get("/fapi/v1/klines", params=window).json()) == 60, "only the archive lacks them"
    sim.faults.add(Fault(kind="missing_minutes", path="^/fapi/v1/klines", start=start, end=end))
    answer = [row[0] for row in http.get("/fapi/v1/klines", params=window).json()]
    assert answer[:8] == kept[180:188]
    assert len(answer) == 58


def test_duplicated_and_unordered_rows(sim: SimulatorServer, http: httpx.Client) -> None:
    sound = rows(http.get(AGGS).content)
    sim.faults.add(Fault(kind="duplicated", path="aggTrades", every=100))
    doubled = rows(http.get(AGGS).content)
    assert len(doubled) - len(sound) == (len(sound) - 1) // 100
    assert sorted({tuple(row) for row in doubled}) == sorted({tuple(row) for row in sound})
    sim.faults.clear()
    sim.faults.add(Fault(kind="unordered", path="aggTrades"))
    shuffled = rows(http.get(AGGS).content)
    assert shuffled[0] == sound[0]
    assert shuffled[1:] == sound[:0:-1]
    query = {"symbol": "BTCUSDT", "limit": 10}
    backwards = [row["a"] for row in http.get("/fapi/v1/aggTrades", params=query).json()]
    assert backwards == sorted(backwards, reverse=True)


def test_rows_of_another_day_and_of_another_symbol(sim: SimulatorServer, http: httpx.Client) -> None:
    before, other = KLINES.replace("02-13", "02-12"), KLINES.replace("BTCUSDT", "ETHUSDT")
    window = {"interval": "1m", "startTime": int(DAY.timestamp() * 1000), "limit": 3}
    earlier = window | {"startTime": window["startTime"] - 86_400_000}

    def answered(symbol: str, parameters: dict[str, int | str]) -> Any:
        return http.get("/fapi/v1/klines", params={"symbol": symbol, **parameters}).json()

    honest = [rows(http.get(before).content), rows(http.get(other).content)]
    told = [answered("BTCUSDT", earlier), answered("ETHUSDT", window)]
    for number, (kind, body) in enumerate([("other_day", ""), ("other_symbol", "ETHUSDT")]):
        sim.faults.clear()
        sim.faults.add(Fault(kind=kind, path="BTCUSDT-1m|/klines$", body=body))
        assert rows(http.get(KLINES).content) == honest[number]
        assert sums_match(http, KLINES)
        assert answered("BTCUSDT", window) == told[number]


def test_headerless_and_microsecond_files(sim: SimulatorServer, http: httpx.Client) -> None:
    sound = rows(http.get(KLINES).content)
    sim.faults.add(Fault(kind="headerless", path=KLINES))
    assert rows(http.get(KLINES).content) == sound[1:]
    sim.faults.clear()
    sim.faults.add(Fault(kind="microseconds", path=KLINES))
    micro = rows(http.get(KLINES).content)
    assert int(micro[1][0]) == int(sound[1][0]) * 1000
    assert int(micro[1][6]) == int(sound[1][6]) * 1000 + 999
    assert [row[1:6] for row in micro] == [row[1:6] for row in sound]
    sim.faults.clear()
    sim.faults.add(Fault(kind="header", path="2022-05-06"))
    early = rows(http.get(KLINES.replace("2026-02-13", "2022-05-06")).content)
    assert early[0][0] == "open_time"


def test_query_and_path_choose_the_request(sim: SimulatorServer, http: httpx.Client) -> None:
    sim.faults.add(Fault(kind="5xx", path="/klines$", query="symbol=ETHUSDT"))
    ask = {"interval": "1m", "limit": 1}
    assert http.get("/fapi/v1/klines", params=ask | {"symbol": "BTCUSDT"}).status_code == 200
    assert http.get("/fapi/v1/klines", params=ask | {"symbol": "ETHUSDT"}).status_code == 503
    assert sim.requests[-1] == ("GET", "/fapi/v1/klines", "interval=1m&limit=1&symbol=ETHUSDT")


def test_faults_and_clock_over_http(sim: SimulatorServer, http: httpx.Client) -> None:
    number = http.post("/sim/faults", json={"kind": "5xx", "path": "/time$", "times": 1}).json()["id"]
    assert http.get(TIME).status_code == 503
    assert [(f["id"], f["kind"], f["hits"]) for f in http.get("/sim/faults").json()] == [(number, "5xx", 1)]
    assert http.delete("/sim/faults", params={"id": number}).json() == []
    assert http.delete("/sim/faults", params={"id": number}).status_code == 404
    for wrong in ({"kind": "nonsense"}, {"kind": "429", "colour": 1}, {"kind": "late", "since": "soon"}):
        answer = http.post("/sim/faults", json=wrong)
        assert answer.status_code == 400
        assert answer.json()["error"]
    republish = {"kind": "republished", "path": "klines", "since": "2026-02-15T13:00:00+00:00"}
    assert http.post("/sim/faults", json=republish).status_code == 201
    assert http.post("/sim/clock", json={"now": "2026-02-15T13:00:00Z"}).json()["frozen"] is True
    assert http.get(TIME).json()["serverTime"] == int(datetime(2026, 2, 15, 13, tzinfo=UTC).timestamp() * 1000)
    assert http.post("/sim/clock", json={"advance_s": 60}).json()["now"] == "2026-02-15T13:01:00+00:00"
    assert http.post("/sim/clock", json={"offset_s": 3600}).json()["now"] == "2026-02-15T13:34:20+00:00"
    assert http.post("/sim/clock", json={"now": 5}).status_code == 400
    assert http.delete("/sim/clock").json()["now"] == NOW.isoformat()
    assert [path for _, path, _ in http.get("/sim/requests").json()] == [TIME, TIME]


def test_an_unknown_kind_or_pattern_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="unknown fault kind"):
        Fault(kind="nonsense")
    with pytest.raises(ValueError, match="no regular expression"):
        Fault(kind="429", path="[")
    assert len(set(KINDS)) == len(KINDS)


def test_the_command_line_serves() -> None:
    command = [sys.executable, "-m", "lake_resources.simulator", "--port", "0", "--symbols", "BTCUSDT"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            base = next(word for word in line.split() if word.startswith("http://"))
            assert "seed 7" in line
            assert httpx.get(f"{base}{TIME}", timeout=120).status_code == 200
        finally:
            process.terminate()
            process.wait(240)
