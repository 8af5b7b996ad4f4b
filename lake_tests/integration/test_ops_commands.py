"""The operational commands on a lake fed by the simulated exchange: what they print, leave and exit with."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from lake_assets.cli.doctor import Finding, examine
from lake_assets.cli.main import main
from lake_assets.exports.view_queries import QUERIES
from lake_assets.lake import open_lake
from lake_assets.live.row_files import LiveRows
from lake_assets.transforms.live.live_rows import LIVE_ROWS
from lake_assets.windows import floor_minute
from lake_resources.binance.market import SPOT, UM
from lake_resources.clock import HOUR
from lake_resources.collector.probe import acknowledged_in
from lake_resources.collector.segments import SegmentWriter
from lake_resources.errors import ArchiveNotPublished, NotYet, SettingsError, TransportError
from lake_resources.known_hole import KnownHole
from lake_resources.simulator.faults import Fault
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.catalog import MarketPaths
from lake_resources.storage.compaction import Period, compact
from lake_resources.storage.ledger.tables import LEDGER_VERSION
from lake_resources.storage.locks import writer_lock
from lake_tests.support.hostile_host import hostile
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours
from lake_tests.support.terminal import ok, run

pytestmark = pytest.mark.slow

M = timedelta(minutes=1)
NEXT = DAY + timedelta(days=1)
_CLOSED = b"\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, webserver_port=1, ws_url=sim.ws_url) as found:
        settings = found.settings
        values = {"ROOT": settings.root, "SYMBOLS": SYMBOL, "WEBSERVER_PORT": 1}
        values |= {"REST_URL": settings.rest_url, "VISION_URL": settings.vision_url, "WS_URL": sim.ws_url}
        for name, value in values.items():
            monkeypatch.setenv(f"LAKE_{name}", str(value))
        yield found.at(PUBLISHED)


def test_init_state_twice(bench: Bench) -> None:
    assert f"{SYMBOL}: no hour yet" in ok("init-state")
    bench.build(hours(0, 1))
    assert "hours since 2026-11-18 00:00" in ok("init-state")
    assert len(bench.committed()) == 1


def test_run_once_begins_two_hours_back_and_goes_on_at_the_watermark(bench: Bench) -> None:
    at = DAY + 10 * HOUR + 30 * M
    first = ok("run-once", "--at", f"{at:%Y-%m-%dT%H:%M}")
    assert "08:00 committed" in first
    assert f"watermark none → {at - 4 * M:%Y-%m-%d %H:%M}, target {at - 4 * M:%Y-%m-%d %H:%M}" in first
    later = at + 3 * HOUR
    second = ok("run-once", "--at", f"{later:%Y-%m-%dT%H:%M}", "--max-hours", "2")
    assert "11-18 10:00 committed, 11-18 11:00 committed; watermark" in second
    assert f"→ {DAY + 12 * HOUR - M:%Y-%m-%d %H:%M}" in second
    assert "nothing due" in ok("run-once", "--at", f"{DAY + 12 * HOUR + 2 * M:%Y-%m-%dT%H:%M}")
    assert run("run-once", "--max-hours", "25").exit_code == 2


def test_any_table_is_kept_up_without_dagster_and_shown_to_sql(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_SPOT_SYMBOLS", SYMBOL)
    monkeypatch.setenv("LAKE_SPOT_REST_URL", bench.sim.base_url)
    at = f"{DAY + 10 * HOUR + 30 * M:%Y-%m-%dT%H:%M}"
    days = ok("run-once", "--table", "klines_1h", "--at", at)
    assert "11-18 00:00 committed; watermark none → 2026-11-18 09:00, target 2026-11-18 09:00" in days
    assert "nothing due" in ok("run-once", "--table", "klines_1h", "--at", at)
    seconds = json.loads(ok("run-once", "--table", "bars_1s", "--at", at, "--max-hours", "1", "--json"))[0]
    assert [(each["hour"][:16], each["status"]) for each in seconds["hours"]] == [("2026-11-18T08:00", "committed")]
    assert seconds["watermark"].startswith("2026-11-18T08:59:59")
    assert "11-18 09:00 committed" in ok("run-daemon", "--table", "bars_1s", "--polls", "1", "--max-hours", "1")
    assert "2026-11-18 09:59:59" in ok("show-watermark", "--table", "bars_1s")

    audited = run("audit", "--table", "klines_1h", "--end", f"{NEXT:%Y-%m-%d}", "--dagster", "no").output
    assert "1 days, 1 days wrong; 10 of 24 hours" in audited
    assert "--table spot_klines_1h" in " ".join(audited.split())

    root = bench.settings.lake_root
    for name, rows in (("klines_1h", 10), ("bars_1s", 7200)):
        assert f"view `{name}` over" in ok("materialize-duckdb", "--table", name)
        with duckdb.connect(str(root / f"{name}.duckdb"), read_only=True) as connection:
            assert connection.execute(f'SELECT count(*) FROM "{name}"').fetchall() == [(rows,)]
            for query in (root / f"{name}.queries.sql").read_text().split(";"):
                assert not query.strip() or connection.execute(query)
    other = run("materialize-duckdb", "--table", "bars_1s", "--db-path", str(root / "klines_1h.duckdb"))
    assert isinstance(other.exception, SettingsError), "the view of another table is not overwritten"
    assert json.loads(ok("show-watermark", "--json"))[0]["watermark"] is None, "the minute table has nothing of it"

    macro = run("run-once", "--table", "macro_minute")
    assert isinstance(macro.exception, SettingsError)
    assert "not built from streams of Binance" in str(macro.exception)


def test_a_failed_hour_is_exit_code_1(bench: Bench) -> None:
    bench.fault("5xx", "/fapi/v1/markPriceKlines", times=None)
    bench.fault("missing", "markPriceKlines", times=None)
    result = run("run-once", "--at", f"{DAY + 10 * HOUR:%Y-%m-%dT%H:%M}")
    assert result.exit_code == 1, result.output
    assert "source_missing" in result.output


def test_run_daemon_survives_an_exchange_that_fails(bench: Bench) -> None:
    bench.at(DAY + 10 * HOUR)
    output = ok("run-daemon", "--poll-seconds", "5", "--polls", "2", "--max-hours", "1")
    assert output.count("watermark") == 2
    assert run("run-daemon", "--poll-seconds", "4").exit_code == 2


def test_show_watermark(bench: Bench) -> None:
    assert "No watermark found" in ok("show-watermark")
    bench.build(hours(0, 3))
    assert "2026-11-18 02:59" in ok("show-watermark")


def test_metrics_columns_are_those_the_lake_reads(bench: Bench) -> None:
    output = ok("inspect-metrics-columns", "--trade-date", f"{DAY:%Y-%m-%d}")
    assert "sum_open_interest_value" in output
    assert not any(bench.settings.lake_root.rglob("*.zip")), "nothing is stored"
    result = run("inspect-metrics-columns", "--trade-date", f"{NEXT + 5 * timedelta(days=1):%Y-%m-%d}")
    assert isinstance(result.exception, ArchiveNotPublished)


@pytest.mark.parametrize("given", [{"kind": "lost_byte"}, {"kind": "crowded", "count": 2}])
def test_metrics_columns_of_a_damaged_archive_are_told_with_a_code_of_their_own(
    bench: Bench, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.sim.faults.add(Fault(path="/metrics/", matching=True, fraction=0.0, **given))
    monkeypatch.setattr("sys.argv", ["lake", "inspect-metrics-columns", "--trade-date", f"{DAY:%Y-%m-%d}"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4, "1 says that the columns differ"
    told = capsys.readouterr().err
    assert "BTCUSDT-metrics-2026-11-18.zip" in told
    assert "Run it again after Binance re-publishes the file" in told
    assert "Traceback" not in told


def test_the_view_has_every_minute_once_whatever_file_it_lies_in(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="no hour is committed"):
        raise run("materialize-duckdb").exception or AssertionError
    bench.build([*hours(0, 24), *hours(0, 3, NEXT)])
    lake = bench.lake
    held = lake.ledger.partition_files(SYMBOL, DAY, NEXT)
    compact(lake.store, Period(SYMBOL, "day", DAY, NEXT), held, clock=lake.clock)
    path = tmp_path / "sql" / "minute.duckdb"
    assert "view `minute` over 4 files" in ok("materialize-duckdb", "--db-path", str(path))
    for zone in ("UTC", "America/New_York"):
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute(f"SET TimeZone = '{zone}'")
            count, distinct, last = connection.execute(
                "SELECT count(*), count(DISTINCT timestamp), max(day * 100 + hour) FROM minute"
            ).fetchall()[0]
            assert (count, distinct, last) == (27 * 60, 27 * 60, NEXT.day * 100 + 2), zone
            names = [row[0] for row in connection.execute("DESCRIBE minute").fetchall()]
            assert names[:5] == ["symbol", "year", "month", "day", "hour"]
            assert len(names) == len(set(names)) == 71
    with duckdb.connect(str(path), read_only=True) as connection:
        for query in path.with_suffix(".queries.sql").read_text().split(";"):
            if query.strip():
                connection.execute(query)
        assert path.with_suffix(".queries.sql").read_text() == QUERIES
        ok("materialize-duckdb", "--db-path", str(path))
        assert connection.execute("SELECT count(*) FROM minute").fetchall() == [(27 * 60,)], "its readers keep it"


def test_doctor_finds_a_healthy_exchange(bench: Bench) -> None:
    bench.build(hours(0, 1))
    given = bench.settings.model_copy(update={"spot_symbols": ()})
    found = {finding.name: finding for finding in examine(given, bench.lake)}
    assert list(found) == ["versions", "disk", "schema", "REST", "Vision", "WebSocket", "Dagster", "collector"]
    assert {name: found[name].status for name in ("schema", "REST", "WebSocket", "Dagster", "collector")} == {
        "schema": "ok", "REST": "ok", "WebSocket": "ok", "Dagster": "warn", "collector": "warn",
    }  # fmt: skip
    assert f"acknowledges a stream of {SYMBOL}" in found["WebSocket"].text


def test_doctor_asks_the_spot_side_where_there_are_spot_symbols(bench: Bench) -> None:
    urls = {"spot_rest_url": bench.sim.base_url, "spot_ws_url": f"{bench.sim.ws_url}/spot"}
    given = bench.settings.model_copy(update={"spot_symbols": (SYMBOL,), **urls})
    with closing(open_lake(given, clock=bench.sim.clock.now, sleep=lambda _: None)) as lake:
        spot = {each.name: each for each in examine(given, lake) if each.name.startswith("spot ")}
    assert {name: each.status for name, each in spot.items()} == {
        "spot REST": "ok", "spot Vision": "ok", "spot WebSocket": "ok", "spot collector": "warn",
    }  # fmt: skip
    assert f"{SYMBOL} klines_1s of" in spot["spot Vision"].text
    paths, minute = MarketPaths(bench.lake.catalog.root, SPOT.name), int(bench.now.timestamp()) // 60
    with writer_lock(paths.collector_lock_path):
        assert finding(bench, "spot collector", spot_symbols=(SYMBOL,)).status == "fail"
        writer = SegmentWriter(paths.live_records_dir)
        writer.add(1, 1, 1, 1, SYMBOL, minute, b"{}")
        writer.write(writer.take()[0], 1)
        assert finding(bench, "spot collector", spot_symbols=(SYMBOL,)).status == "ok"
        writer.close_before(None)


def finding(bench: Bench, name: str, **given: object) -> Finding:
    return next(f for f in examine(bench.settings.model_copy(update=given), bench.lake) if f.name == name)


def test_doctor_names_a_websocket_host_that_is_gone_or_says_nothing(bench: Bench) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        gone = finding(bench, "WebSocket", ws_url=f"ws://127.0.0.1:{port}")
    assert (gone.status, f"ws://127.0.0.1:{port}/market/ws" in gone.text) == ("fail", True)

    def say_nothing(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            connection.recv()
            connection.recv()

    with serve(say_nothing, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(TransportError, match=r"no acknowledgement of btcusdt@markPrice@1s within 0\.2 s"):
            acknowledged_in(UM, f"ws://127.0.0.1:{server.socket.getsockname()[1]}", SYMBOL, timeout_s=0.2)
        server.shutdown()
        thread.join()

    def refuse(_: ServerConnection, request: Request) -> Response:
        return Response(451, "Unavailable For Legal Reasons", Headers())

    with serve(say_nothing, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        blocked = finding(bench, "WebSocket", ws_url=f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
        server.shutdown()
        thread.join()
    assert (blocked.status, "not served at this location" in blocked.text) == ("fail", True)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"HTTP/1.1 200 OK" + _CLOSED,
            "another program (HTTP 200 of /server_info)",
        ),
        (
            b"HTTP/1.1 404 Not Found" + _CLOSED,
            "another program (HTTP 404 of /server_info)",
        ),
        (
            b"HTTP/1.1 403 Forbidden" + _CLOSED,
            "somebody who refuses (HTTP 403)",
        ),
        (b"220 mail.example ESMTP\r\n", "somebody who speaks no HTTP"),
    ],
)
def test_doctor_names_a_stranger_on_the_port_of_the_webserver(bench: Bench, answer: bytes, text: str) -> None:
    with hostile(lambda: [answer]) as url:
        found = finding(bench, "Dagster", webserver_port=int(url.rpartition(":")[2]))
    assert (found.status, text in found.text) == ("fail", True), found.text


def test_doctor_does_not_take_a_held_lock_for_a_living_collector(bench: Bench) -> None:
    catalog, now = bench.lake.catalog, bench.now
    minute = int(now.timestamp()) // 60
    with writer_lock(catalog.of_market.collector_lock_path):
        assert finding(bench, "collector").status == "fail"
        writer = SegmentWriter(catalog.live_records_dir)
        writer.add(1, 1, 1, 1, SYMBOL, minute - 10, b"{}")
        writer.write(writer.take()[0], 1)
        stale = finding(bench, "collector")
        assert (stale.status, f"of {now - 10 * M:%Y-%m-%d %H:%M}" in stale.text) == ("fail", True)
        writer.add(2, 1, 1, 1, SYMBOL, minute, b"{}")
        writer.write(writer.take()[0], 2)
        rowless = finding(bench, "collector")
        assert (rowless.status, f"{SYMBOL} has no live row" in rowless.text) == ("warn", True)
        row = {name: [None] for name in LIVE_ROWS} | {"timestamp": [floor_minute(now) - 2 * M]}
        LiveRows(catalog).merge(SYMBOL, pl.DataFrame(row, schema=LIVE_ROWS))
        assert finding(bench, "collector").status == "ok"
        writer.close_before(None)


def test_doctor_reads_the_version_of_the_ledger(bench: Bench) -> None:
    bench.build(hours(0, 1))
    path = bench.settings.lake_root / "ledger.sqlite"
    assert finding(bench, "schema").text.startswith(f"ledger {LEDGER_VERSION}, ")
    bench.lake.close()
    with sqlite3.connect(path) as ledger:
        ledger.execute("UPDATE ledger_version SET version = 99")
    newer = finding(bench, "schema")
    assert (newer.status, "has version 99" in newer.text, "a newer one" in newer.text) == ("fail", True, True)


@pytest.mark.parametrize(
    ("kind", "text"), [("451", "not served at this location"), ("418", "banned until"), ("5xx", "/fapi/v1/time")]
)
def test_doctor_names_what_the_exchange_does(bench: Bench, kind: str, text: str) -> None:
    bench.fault(kind, "/fapi/v1/time", times=None)
    found = {finding.name: finding for finding in examine(bench.settings, bench.lake)}
    assert found["REST"].status == "fail"
    assert text in found["REST"].text
    assert found["Vision"].status != "fail", "the archives are reachable all the same"


def test_doctor_as_json_and_exit_code(bench: Bench) -> None:
    bench.fault("451", "/fapi/v1/time", times=None)
    result = run("doctor", "--json")
    assert (result.exit_code, json.loads(result.stdout)[3]["status"]) == (1, "fail")


WINDOW = ["--start", f"{DAY:%Y-%m-%d}", "--end", f"{DAY + 6 * HOUR:%Y-%m-%dT%H:%M}"]


def holes_json(*arguments: str) -> tuple[int, dict[str, object]]:
    result = run("holes", *WINDOW, "--json", *arguments)
    (found,) = json.loads(result.stdout)
    return result.exit_code, found


def test_holes_are_listed_explained_and_unexplained(bench: Bench) -> None:
    bench.build(hours(0, 6))
    code, found = holes_json()
    assert (code, found["holes"], found["completeness_pct"]) == (0, [], 100.0)
    path = bench.lake.catalog.partition_path(SYMBOL, DAY + 2 * HOUR)
    rows = pl.read_parquet(path)
    gone = [DAY + 2 * HOUR + n * M for n in (7, 10, 11, 12, 40)]
    rows.filter(~pl.col("timestamp").is_in(gone)).write_parquet(path)
    with sqlite3.connect(bench.settings.lake_root / "ledger.sqlite") as ledger:
        ledger.execute("UPDATE partitions SET row_count = 55 WHERE start_utc LIKE '%T02:%'")
    bench.lake.ledger.declare_hole(KnownHole("klines_1m", "*", gone[1], gone[3], "maintenance", "a notice"))
    bench.lake.ledger.declare_hole(KnownHole("index_price_klines_1m", "*", DAY, DAY + M, "no index", "a notice"))
    code, found = holes_json()
    listed = [(each["start"][11:16], each["minutes"], each["explained"]) for each in found["holes"]]  # type: ignore[union-attr,index]
    assert listed == [("02:07", 1, False), ("02:10", 2, True), ("02:12", 1, False), ("02:40", 1, False)]
    assert (code, found["unexplained_minutes"], found["present_minutes"], found["completeness_pct"]) == (
        1,
        3,
        355,
        98.61,
    )
    assert [each["cause"] for each in found["other_streams"]] == ["no index"]  # type: ignore[union-attr,index]
    shown = run("holes", *WINDOW, "--unexplained")
    assert "maintenance" not in shown.output
    assert "355 of 360 minutes (98.61 %), 3 unexplained" in " ".join(shown.output.split())
    assert "no index" in run("holes", *WINDOW).output


def test_an_hour_in_quarantine_says_why_it_is_a_hole(bench: Bench) -> None:
    bench.fault("missing_minutes", "/klines/", times=None)
    bench.fault("missing_minutes", "/fapi/v1/klines", times=None)
    bench.build(hours(0, 6))
    code, found = holes_json()
    assert code == 1
    causes = {each["cause"].split(":")[0] for each in found["holes"]}  # type: ignore[union-attr,index]
    assert causes == {"hour in quarantine"}
