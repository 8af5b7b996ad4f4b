"""Every scripted fault of the exchange: it is handled, or its error says what was asked, what came and what to do.

In all cases what was committed before is untouched, and once the fault is over the hour is built as if it never was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from lake_assets.lake import open_lake
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.clock import HOUR
from lake_resources.input_limits import DEFAULT_LIMITS
from lake_resources.simulator.server import SimulatorServer
from lake_tests.support.simulated_lake import (
    DAY,
    ON_THE_DAY,
    PUBLISHED,
    SYMBOL,
    Bench,
    bench_on,
    failed_checks,
    hours,
    kinds,
    statuses,
)

pytestmark = pytest.mark.slow

REST = "^/(fapi|futures)"
VISION = "^/data/"
BEFORE, DISTURBED = DAY + 10 * HOUR, DAY + 11 * HOUR

TOO_LARGE = f"a body of more than {DEFAULT_LIMITS.answer_bytes:,} bytes.*Nothing sound comes near this limit"
REST_FAULTS = {
    "429": ({"retry_after_s": 5}, r"429 .*Wait; the weight governor slows"),
    "418": ({"retry_after_s": 300}, r"418 .*banned until.*Do not call before the ban ends"),
    "451": ({}, r"451.*restricted location.*Run from a permitted location"),
    "403": ({}, r"403.*firewall refused the call.*check address, proxy and base URL"),
    "5xx": ({"status": 502, "body": "Bad gateway"}, r"502.*Bad gateway.*the call can be repeated later"),
    "slow": ({"delay_s": 2.5}, r"no complete answer \(ReadTimeoutError.*Check the network and the base URL"),
    "cut": ({}, r"no complete answer \(.*Check the network and the base URL"),
    "garbage": ({"body": "maintenance"}, r"<html><body>maintenance.*Repeat once"),
    "refused": (
        {"status": 200, "code": -1003, "body": "Too many requests; current limit"},
        r"200 \(-1003\): Too many requests; current limit\. Wait; the weight governor slows",
    ),
    "refused with 400": (
        {"status": 400, "code": -1003, "body": "Too many requests; current limit"},
        r"400 \(-1003\): Too many requests; current limit\. Wait; the weight governor slows",
    ),
    "endless": ({}, TOO_LARGE),
    "packed": ({"size_mib": 40}, TOO_LARGE),
}
ARCHIVE_FAULTS = {
    "late": ({"hours": 5.0}, "not_published", "404.*materialize it again later"),
    "missing": ({}, "not_published", "404.*materialize it again later"),
    "truncated": ({}, "failed", "bytes hash to [0-9a-f]{64}, CHECKSUM says [0-9a-f]{64}.*Materialize it again"),
    "truncated and hashed": (
        {"matching": True},
        "failed",
        "kept in quarantine as /.*-BTCUSDT-1m-2026-11-18.zip; materialize",
    ),
    "flipped": ({}, "failed", "CHECKSUM says"),
    "flipped and hashed": (
        {"matching": True},
        "failed",
        "kept in quarantine as /.*-BTCUSDT-1m-2026-11-18.zip; materialize",
    ),
    "wrong_checksum": ({}, "failed", "CHECKSUM says.*Materialize it again"),
    "5xx": ({}, "failed", "HTTP status 503.*the call can be repeated later"),
    "429": ({"retry_after_s": 1}, "failed", "HTTP status 429"),
    "403": ({}, "failed", "HTTP status 403.*LAKE_VISION_URL"),
    "451": ({}, "failed", "HTTP status 451.*LAKE_VISION_URL"),
    "cut": ({}, "failed", "no complete answer.*LAKE_VISION_URL"),
    "garbage": ({"body": "maintenance"}, "failed", "maintenance|CHECKSUM"),
    "lost_byte and hashed": (
        {"matching": True},
        "failed",
        "torn or damaged zip.*kept in quarantine as /",
    ),
    "inflating": ({"size_mib": 80}, "failed", "inflates to more than 67,108,864 bytes.*kept in quarantine"),
    "inflating to one line": ({"size_mib": 3, "every": 0}, "failed", "a line of more than 65,536 bytes.*quarantine"),
    "crowded": ({"count": 60_000}, "failed", "a directory of [0-9,]+ bytes, more than.*kept in quarantine"),
    "endless": ({}, "failed", "a body of more than [0-9,]+ bytes.*Nothing sound comes near this limit"),
    "packed": ({}, "failed", "a body of more than [0-9,]+ bytes"),
}
ROW_FAULTS = ("duplicated", "unordered", "headerless", "microseconds")


@pytest.fixture(scope="module")
def calm(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Another lake, for what archives of an undisturbed exchange give."""
    with bench_on(sim, tmp_path_factory.mktemp("calm")) as found:
        assert statuses(found.at(PUBLISHED).build(hours(0, 2))) == ["committed"] * 2
        yield found


@pytest.fixture(scope="module")
def wanted(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The content hash that an undisturbed REST gives."""
    with bench_on(sim, tmp_path_factory.mktemp("wanted")) as found:
        (result,) = found.build([DISTURBED])
    assert result.content_hash
    return result.content_hash


@pytest.fixture(scope="module")
def roots(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> dict[datetime, Path]:
    """Roots of two benches by what their clock was: one hour is committed there, from REST and from archives."""
    made = {ON_THE_DAY: tmp_path_factory.mktemp("from rest"), PUBLISHED: tmp_path_factory.mktemp("from archives")}
    for now, root in made.items():
        with bench_on(sim, root) as found:
            assert statuses(found.at(now).build([BEFORE])) == ["committed"]
    return made


@pytest.fixture
def begun(sim: SimulatorServer, tmp_path: Path, roots: dict[datetime, Path]) -> Iterator[Bench]:
    """A lake that has an hour from REST."""
    with bench_on(sim, tmp_path, like=roots[ON_THE_DAY]) as found:
        yield found


@pytest.fixture
def archived(sim: SimulatorServer, tmp_path: Path, roots: dict[datetime, Path]) -> Iterator[Bench]:
    """A lake that has an hour from archives, on the day after."""
    with bench_on(sim, tmp_path, like=roots[PUBLISHED]) as found:
        yield found.at(PUBLISHED)


@contextmanager
def hasty(bench: Bench, kind: str, **given: object) -> Iterator[Bench]:
    """The same lake, waiting a second for REST where an answer is slow: elsewhere a busy machine must not be."""
    if kind != "slow":
        yield bench
        return
    settings = bench.settings.model_copy(update={"rest_timeout_s": 1.0, **given})
    lake = open_lake(settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    try:
        yield Bench(bench.sim, lake, settings, bench.reports)
    finally:
        lake.close()


@pytest.mark.parametrize("kind", REST_FAULTS)
def test_a_failing_rest_is_told_of_and_costs_nothing(begun: Bench, kind: str) -> None:
    bench = begun
    given, text = REST_FAULTS[kind]
    before = bench.committed()
    bench.fault(kind.split(" ")[0], REST, **given)
    with hasty(bench, kind) as tried:
        results = tried.build([BEFORE, DISTURBED])
    assert statuses(results) == ["unchanged", "source_missing"]
    assert bench.committed() == before
    message = results[1].reason
    endpoint = r"klines_1m.*GET http://127\.0\.0\.1:\d+/fapi/v1/klines\?symbol=BTCUSDT&interval=1m&startTime=\d+.*"
    assert re.search(endpoint + text, message), message
    assert re.search(text, bench.lake.ledger.missing_sources(SYMBOL, "klines_1m")[0].reason)
    assert any(re.search(text, line) for line in bench.reports), "the run's log says it, too"
    if kind in {"451", "403"}:
        asked = [path for path in bench.paths_asked() if path == "/fapi/v1/klines"]
        assert len(asked) == 1, "repeating it does not help"

    bench.sim.faults.clear()
    bench.at(bench.now + HOUR)
    assert statuses(bench.build([BEFORE, DISTURBED])) == ["unchanged", "committed"]
    assert bench.lake.ledger.missing_sources(SYMBOL) == []


@pytest.mark.parametrize("kind", ["429", "5xx", "slow", "cut", "garbage", "refused", "refused with 400"])
def test_a_rest_that_fails_once_is_not_even_noticed(bench: Bench, wanted: str, kind: str) -> None:
    given, _ = REST_FAULTS[kind]
    for path in ("/klines", "/aggTrades", "/openInterestHist", "/fundingRate", "/indexPriceKlines"):
        bench.fault(kind.split(" ")[0], path, times=1, **given)
    # A second may be short for any answer of a busy machine; several attempts are not.
    with hasty(bench, kind, rest_attempts=30) as tried:
        (found,) = tried.build([DISTURBED])
    assert (found.status, found.content_hash) == ("committed", wanted)
    assert bench.lake.ledger.missing_sources(SYMBOL) == []


def test_nobody_calls_during_a_ban_and_a_new_process_remembers_it(bench: Bench) -> None:
    bench.fault("418", REST, times=1, retry_after_s=600)
    assert statuses(bench.build([DISTURBED])) == ["source_missing"]
    bench.sim.clear_requests()
    other = open_lake(bench.settings, clock=bench.sim.clock.now)
    (result,) = Bench(bench.sim, other, bench.settings).build([DISTURBED])
    other.close()
    assert result.status == "source_missing"
    assert "banned until" in result.reason
    assert [path for path in bench.paths_asked() if not path.startswith("/data/")] == []
    bench.at(bench.now + HOUR)
    assert statuses(bench.build([DISTURBED])) == ["committed"]


def test_an_exchange_that_cannot_tell_its_time_is_told_of(bench: Bench) -> None:
    open_hour = DAY + 15 * HOUR
    bench.fault("5xx", "/fapi/v1/time")
    results = bench.build([DISTURBED, open_hour])
    assert statuses(results) == ["committed", "source_missing"], "only minutes that just closed need it"
    assert re.search(r"GET http://127\.0\.0\.1:\d+/fapi/v1/time: 503", results[1].reason)
    bench.sim.faults.clear()
    assert statuses(bench.build([open_hour])) == ["committed"]


@pytest.mark.parametrize("kind", ARCHIVE_FAULTS)
def test_a_bad_archive_is_told_of_and_its_hours_come_from_rest(archived: Bench, kind: str) -> None:
    bench = archived
    given, status, text = ARCHIVE_FAULTS[kind]
    before = bench.committed()
    # A new lake would read every file of the day; here the one of the klines is published anew, and broken.
    bench.lake.catalog.absolute(bench.lake.ledger.archive(SYMBOL, "klines_1m", "2026-11-18").path).unlink()  # type: ignore[union-attr]
    bench.fault(kind.split(" ")[0], f"{VISION}.*daily/klines/.*2026-11-18", **given)
    (found,) = bench.archives("klines_1m", "2026-11-18")
    assert (found.status, found.present) == (status, False)
    url = r"http://127\.0\.0\.1:\d+/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-18\.zip"
    assert re.search(f"{url}.*{text}", found.message), found.message
    assert re.fullmatch(url, found.url)
    (row,) = bench.lake.ledger.missing_sources(SYMBOL, "klines_1m")
    assert (row.period, row.source, row.reason) == ("2026-11-18", "archive", found.message)
    if "hashed" in kind:
        kept = Path(re.search(r"quarantine as (.*\.zip);", found.message)[1])  # type: ignore[index]
        assert kept.is_file()
        assert bench.lake.catalog.quarantine_dir in kept.parents

    results = bench.build([BEFORE, DISTURBED])
    assert statuses(results) == ["kept_better", "committed"]
    assert kinds(results[1])["klines_1m"] == "rest"
    assert bench.committed()[BEFORE] == before[BEFORE]
    assert leftovers(bench) == []

    bench.sim.faults.clear()
    assert [result.status for result in bench.archives("klines_1m", "2026-11-18")] == ["ingested"]
    results = bench.build([BEFORE, DISTURBED])
    assert statuses(results) == ["unchanged", "committed"]
    assert kinds(results[1])["klines_1m"] == "archive"
    assert failed_checks(results[1]) == set()
    assert bench.lake.ledger.missing_sources(SYMBOL, "klines_1m") == []


@pytest.mark.parametrize("kind", ["missing", "wrong_checksum", "flipped and hashed", "5xx"])
def test_one_bad_file_of_a_range_leaves_its_neighbours_alone(bench: Bench, kind: str) -> None:
    given, status, _ = ARCHIVE_FAULTS[kind]
    bench.at(PUBLISHED).fault(kind.split(" ")[0], "daily/metrics/.*2026-11-17", **{**given, "hours": 90.0})
    days = ["2026-11-16", "2026-11-17", "2026-11-18"]
    assert [result.status for result in bench.archives("metrics", *days)] == ["ingested", status, "ingested"]


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("stream", ["klines", "metrics", "premiumIndexKlines"])
def test_a_zip_that_lost_a_byte_costs_its_stream_alone(bench: Bench, stream: str, part: float) -> None:
    bench.at(PUBLISHED).fault("lost_byte", f"/{stream}/", fraction=part, matching=True)
    results = bench.build(hours(0, 2))
    assert statuses(results) == ["committed"] * 2, "REST has the others' rows"
    archived = {name for name, kind in kinds(results[0]).items() if kind == "archive"}
    assert {"agg_trades", "klines_1m", "metrics", "premium_index_klines_1m"} - archived <= {
        name for name in kinds(results[0]) if UM_STREAMS[name].files.kind == stream
    }
    kept = [path.name for path in (bench.lake.catalog.quarantine_dir / "archives").rglob("*.zip")]
    assert kept
    assert leftovers(bench) == []


@pytest.mark.parametrize("kind", ROW_FAULTS)
def test_archives_of_any_shape_give_the_same_rows(bench: Bench, calm: Bench, kind: str) -> None:
    bench.at(DAY + 4 * HOUR).build(hours(0, 1))
    bench.at(PUBLISHED).fault(kind, f"{VISION}.*2026-11-18")
    results = bench.build(hours(0, 2))
    assert statuses(results) == ["committed"] * 2
    assert failed_checks(results[0]) == failed_checks(results[1]) == set(), "REST said the same"
    assert all(kinds(result)["agg_trades"] == "archive" for result in results)
    for hour in hours(0, 2):
        assert bench.rows(hour).equals(calm.rows(hour))
    for stream in ("klines_1m", "agg_trades", "metrics"):
        mine, theirs = (
            pl.read_parquet(each.lake.catalog.absolute(each.lake.ledger.archive(SYMBOL, stream, "2026-11-18").path))  # type: ignore[union-attr]
            for each in (bench, calm)
        )
        if kind == "microseconds" and stream == "klines_1m":  # these end a minute at .999999
            mine = mine.with_columns(pl.col("close_time").dt.truncate("1ms"))
        assert mine.equals(theirs), stream


@pytest.mark.parametrize("kind", ["duplicated", "unordered"])
def test_rest_answers_in_any_order_give_the_same_bytes(bench: Bench, wanted: str, kind: str) -> None:
    bench.fault(kind, f"{REST}.*([kK]lines|futures/data|fundingRate)")
    (found,) = bench.build([DISTURBED])
    assert (found.status, found.content_hash) == ("committed", wanted)


def test_a_microsecond_archive_before_its_era_is_recognised_by_its_numbers(bench: Bench) -> None:
    bench.at(PUBLISHED).fault("microseconds", VISION)
    (result,) = bench.archives("klines_1m", "2026-11-18")
    rows = pl.read_parquet(result.path)
    assert rows["open_time"].dtype == pl.Datetime("us", "UTC")
    assert (rows["open_time"].min(), rows.height) == (DAY, 1440)


def leftovers(bench: Bench) -> list[Path]:
    """Files that a finished run should not have left."""
    root = bench.lake.catalog.root
    return [path for folder in (".tmp", ".downloads") for path in (root / folder).rglob("*")]
