"""Archives and hours: the archive wins, late and broken sources are told of, and nothing stops the lake."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from lake_assets.audit.scan import audit_partitions
from lake_assets.inputs import vintages
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.lake import open_lake
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import StorageError
from lake_resources.known_hole import KnownHole
from lake_tests.support.simulated_lake import (
    DAY,
    PUBLISHED,
    SYMBOL,
    Bench,
    checks,
    failed_checks,
    hours,
    kinds,
    statuses,
)

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9"
"""The discard port: nobody answers."""


def unplugged(bench: Bench) -> Bench:
    """The same lake without any network."""
    settings = bench.settings.model_copy(update={"rest_url": NOWHERE, "vision_url": NOWHERE})
    bench.lake.close()
    bench.lake = open_lake(settings, clock=bench.sim.clock.now, sleep=lambda _: None)
    return bench


# The archive is the last word


def test_an_archive_that_is_put_off_as_a_whole_is_held_against_rest_at_once(bench: Bench) -> None:
    hour, stream = DAY + 10 * HOUR, "mark_price_klines_1m"
    bench.fault("moved", "daily/markPriceKlines/.*2026-11-18", by=3600.0)
    silent = bench.fault("5xx", "/fapi/v1/markPriceKlines")
    for at, kind in ((PUBLISHED, "unproven"), (PUBLISHED + HOUR, "clean")):
        if kind == "clean":
            bench.sim.faults.remove(silent)
        (found,) = bench.at(at).build([hour])
        row = bench.lake.ledger.partition(SYMBOL, hour)
        assert row is not None
        assert row.verdict == kind, row.verdict_detail
    assert kinds(found)[stream] == "rest"
    truth = bench.lake.rest.fetch(stream, SYMBOL, hour, hour + HOUR)["close"]
    assert bench.rows(hour)["mark_price_close"].to_list() == truth.to_list()
    (told,) = [row.reason for row in bench.lake.ledger.missing_sources(SYMBOL, stream)]
    assert "rows from 2026-11-18 01:00:00+00:00 to 2026-11-19 00:59:00+00:00 reach beyond 2026-11-18" in told


def test_what_an_archive_does_not_tell_rest_says_and_that_contradicts_nothing(bench: Bench) -> None:
    hour = DAY + 10 * HOUR
    bench.fault("garbled", "daily/metrics/.*2026-11-18", start=hour + 10 * MINUTE, end=hour + 30 * MINUTE)
    (found,) = bench.at(PUBLISHED).build([hour])
    row = bench.lake.ledger.partition(SYMBOL, hour)
    assert row is not None
    assert (row.verdict, kinds(found)["metrics"]) == ("clean", "archive+rest")
    assert bench.rows(hour)["oi_contracts"].null_count() == 0
    assert failed_checks(found) == set()


def test_hours_from_rest_are_rebuilt_from_the_archive_and_differences_are_recorded(bench: Bench) -> None:
    wanted = hours(0, 3)
    (before, *_) = bench.build(wanted)
    bench.fault("republished", "daily/(klines|metrics|aggTrades)/.*2026-11-18")
    results = bench.at(PUBLISHED).build(wanted)
    assert statuses(results) == ["committed"] * 3
    first, *others = results
    assert kinds(first)["klines_1m"] == "archive"
    assert first.content_hash != before.content_hash
    assert kinds(first)["metrics"] == "archive+rest", "nobody says which of both is right: what was there first stays"
    # The correction is in the day's first row of each of these files; bars and trades are corrected by the same.
    parity = checks(first)["archive_parity"]
    assert not parity.passed
    assert parity.severity == "error"
    assert parity.metadata["differing"] == 3
    assert "klines_1m" in str(parity.metadata["first"])
    assert "klines_1m.volume: 1, klines_1m.quote_volume: 1, klines_1m.taker" in str(parity.metadata["columns"])
    assert all(checks(other)["archive_parity"].passed for other in others)
    assert all(int(checks(other)["archive_parity"].metadata["compared"] or 0) > 240 for other in others)
    revisions = {
        (row.stream, row.column.split("#")[0]): row
        for row in bench.lake.ledger.revisions(SYMBOL, DAY - HOUR, DAY + HOUR)
    }
    assert revisions.keys() == {
        ("klines_1m", "volume"),
        ("klines_1m", "quote_volume"),
        ("klines_1m", "taker_buy_volume"),
        ("klines_1m", "taker_buy_quote_volume"),
        ("metrics", "sum_open_interest"),
        ("agg_trades", "quantity"),
    }
    volume = revisions["klines_1m", "volume"]
    assert (volume.old_source, volume.new_source, volume.timestamp) == ("rest", "archive", DAY)
    assert before.frame is not None
    assert volume.old_value == before.frame["volume_btc"][0]
    assert volume.new_value == bench.rows(DAY)["volume_btc"][0]


def test_an_hour_captured_while_it_was_open_differs_in_nothing_from_the_archive(bench: Bench) -> None:
    hour = DAY + 12 * HOUR
    bench.at(hour + 34 * MINUTE + timedelta(seconds=56)).build([hour])
    (result,) = bench.at(PUBLISHED).build([hour])
    parity = checks(result)["archive_parity"]
    assert int(parity.metadata["compared"] or 0) > 120
    assert parity.passed, parity.text()
    assert bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR) == []


def test_what_rest_returned_is_enough_to_build_again_without_a_network(bench: Bench) -> None:
    before = bench.build(hours(10, 15))
    for result in before:
        assert result.path is not None
        result.path.unlink()
    after = unplugged(bench).build(hours(10, 15))
    assert statuses(after) == ["committed"] * 5
    assert [result.content_hash for result in after] == [result.content_hash for result in before]
    # Also when archives are due by now and Vision does not answer either.
    bench.at(PUBLISHED)
    assert statuses(bench.build(hours(10, 15))) == ["unchanged"] * 5


def test_a_republished_archive_keeps_both_vintages_and_rebuilds_its_hours(bench: Bench) -> None:
    bench.at(PUBLISHED).build(hours(0, 2))
    before = bench.committed()
    (old,) = bench.archives("klines_1m", "2026-11-18")
    assert old.status == "unchanged"
    bench.fault("republished", "daily/(klines|aggTrades)/.*2026-11-18")
    (new,) = bench.archives("klines_1m", "2026-11-18")
    bench.archives("agg_trades", "2026-11-18")
    assert (new.status, old.path == new.path) == ("republished", False)
    vintages = bench.lake.ledger.archive_vintages(SYMBOL, "klines_1m", "2026-11-18")
    assert [(row.sha256, row.is_current) for row in vintages] == [(old.sha256, False), (new.sha256, True)]
    assert all(bench.lake.catalog.absolute(row.path).is_file() for row in vintages)
    assert statuses(bench.build(hours(0, 2))) == ["committed", "committed"]
    after = bench.committed()
    assert after[DAY] != before[DAY]
    assert bench.rows(DAY)["volume_btc"][0] == pl.read_parquet(new.path)["volume"][0]
    found = {(row.stream, row.column): row for row in bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR)}
    assert {stream for stream, _ in found} == {"klines_1m", "agg_trades"}
    revision = found["klines_1m", "volume"]
    assert revision.timestamp == DAY
    assert (revision.old_source, revision.new_source) == (f"archive:{old.sha256[:12]}", f"archive:{new.sha256[:12]}")
    assert old.path is not None
    assert revision.old_value == pl.read_parquet(old.path)["volume"][0]
    assert revision.new_value == bench.rows(DAY)["volume_btc"][0]
    assert doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 2 * HOUR) == {}, "bars and trades agree"


def test_bars_that_their_trades_contradict_are_taken_from_rest(bench: Bench) -> None:
    bench.at(PUBLISHED).build(hours(0, 2))
    before = bench.rows(DAY)
    bench.fault("republished", "daily/klines/.*2026-11-18")
    (new,) = bench.archives("klines_1m", "2026-11-18")
    assert new.status == "republished"
    first, second = bench.build(hours(0, 2))
    assert [kinds(result)["klines_1m"] for result in (first, second)] == ["archive+rest", "archive"]
    assert bench.rows(DAY).equals(before), "what was proven is not replaced"
    (hour, verdict), *others = doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 2 * HOUR).items()
    assert (hour, verdict.kind, others) == (DAY, "contradicted", [])
    assert "klines_1m" in verdict.text


@pytest.mark.parametrize("stream", ["agg_trades", "metrics"])
def test_rows_that_a_republication_adds_are_revisions(
    bench: Bench, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = {"start": DAY + 5 * HOUR, "end": DAY + 6 * HOUR}
    bench.at(PUBLISHED).fault("missing_minutes", "daily/(aggTrades|metrics)", **window)
    (first,) = bench.archives(stream, "2026-11-18")
    bench.sim.faults.clear()
    monkeypatch.setattr(vintages, "MOST_REVISIONS", 10)
    (second,) = bench.archives(stream, "2026-11-18")
    added = second.row_count - first.row_count
    assert added > 10
    assert f"{added} values changed, the first 10 are kept" in second.message
    revisions = bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR)
    assert len(revisions) == 10
    assert {(row.column.partition("#")[0], row.old_value, row.new_value) for row in revisions} == {("row", None, 1.0)}
    assert all(window["start"] <= row.timestamp < window["end"] for row in revisions)


def test_a_republication_is_taken_when_the_vintage_before_does_not_read(bench: Bench) -> None:
    (old,) = bench.at(PUBLISHED).archives("klines_1m", "2026-11-18")
    assert old.path is not None
    old.path.write_bytes(b"torn")
    bench.fault("republished", "daily/klines/.*2026-11-18")
    (new,) = bench.archives("klines_1m", "2026-11-18")
    assert new.status == "republished"
    assert "not compared" in new.message
    assert bench.lake.ledger.revisions(SYMBOL, DAY, DAY + 24 * HOUR) == []


# Late, absent and broken sources


def test_a_day_that_is_not_published_is_an_event_and_can_be_retried(bench: Bench) -> None:
    bench.at(PUBLISHED).fault("late", "daily/klines/.*2026-11-18", hours=3)
    (result,) = bench.archives("klines_1m", "2026-11-18")
    assert (result.status, result.present) == ("not_published", False)
    for part in ("/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-18.zip", "404", "08:40 UTC"):
        assert part in result.message
    (row,) = bench.lake.ledger.missing_sources(SYMBOL, "klines_1m")
    assert (row.period, row.source, row.attempts) == ("2026-11-18", "archive", 1)
    bench.archives("klines_1m", "2026-11-18")
    assert bench.lake.ledger.missing_sources(SYMBOL, "klines_1m")[0].attempts == 2
    (result,) = bench.at(PUBLISHED + 3 * HOUR).archives("klines_1m", "2026-11-18")
    assert result.status == "ingested"
    assert bench.lake.ledger.missing_sources(SYMBOL, "klines_1m") == []
    (resolved,) = bench.lake.ledger.missing_sources(SYMBOL, "klines_1m", resolved=True)
    assert resolved.resolved_at == PUBLISHED + 3 * HOUR


def test_the_minute_table_does_not_ask_for_an_absent_file_every_few_seconds(bench: Bench) -> None:
    bench.at(PUBLISHED).fault("missing", "daily/klines/.*2026-11-18")

    def asked() -> int:
        bench.sim.clear_requests()
        bench.build([DAY + 5 * HOUR])
        return sum("daily/klines" in path and "2026-11-18" in path for path in bench.paths_asked())

    assert asked() > 0
    bench.at(PUBLISHED + 5 * MINUTE)
    assert asked() == 0
    assert [result.status for result in bench.archives("klines_1m", "2026-11-18")] == ["not_published"], (
        "the archive's own asset always asks"
    )
    bench.at(PUBLISHED + 16 * MINUTE)
    assert asked() > 0
    bench.sim.faults.clear()
    (result,) = bench.at(PUBLISHED + 30 * MINUTE).build([DAY + 5 * HOUR])
    assert kinds(result)["klines_1m"] == "archive"


def test_minutes_that_the_archive_lacks_are_repaired_from_rest(bench: Bench) -> None:
    start = DAY + 10 * HOUR + 20 * MINUTE
    bench.at(PUBLISHED).fault("missing_minutes", "/data/.*/klines/", start=start, end=start + 7 * MINUTE)
    results = bench.build(hours(9, 12))
    assert statuses(results) == ["committed"] * 3
    assert [kinds(result)["klines_1m"] for result in results] == ["archive", "archive+rest", "archive"]
    assert [result.row_count for result in results] == [60] * 3
    asked = [query for _, path, query in bench.sim.requests if path == "/fapi/v1/klines"]
    assert len(asked) == 1, "only the broken hour is asked for"
    assert statuses(bench.build(hours(9, 12))) == ["unchanged"] * 3


def test_an_unknown_hole_puts_its_hour_into_quarantine_and_no_other(bench: Bench) -> None:
    start = DAY + 10 * HOUR + 17 * MINUTE
    bench.at(PUBLISHED).fault("missing_minutes", "/(klines|fapi/v1/klines)", start=start, end=start + 2 * MINUTE)
    results = bench.build(hours(8, 13))
    assert statuses(results) == ["committed", "committed", "quarantined", "committed", "committed"]
    broken = results[2]
    assert failed_checks(broken) >= {"continuity"}
    assert checks(broken)["continuity"].metadata["missing"] == 2
    assert "first_missing=2026-11-18 10:17" in broken.reason
    assert broken.path is not None
    assert pl.read_parquet(broken.path).height == 58, "its rows are kept for a look"
    (entry,) = bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR)
    assert (entry.start, entry.codes) == (DAY + 10 * HOUR, ("continuity",))
    assert bench.lake.ledger.watermark(SYMBOL) == DAY + 13 * HOUR - MINUTE, "one bad hour never stops the lake"
    # Again: still refused, noted once.
    assert bench.build([DAY + 10 * HOUR])[0].status == "quarantined"
    assert len(bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR)) == 1
    # A person finds out that the exchange was down: the hour is excused by name.
    bench.lake.ledger.declare_hole(
        KnownHole("klines_1m", SYMBOL, start, start + 2 * MINUTE, "matching engine down", "status page")
    )
    (excused,) = bench.build([DAY + 10 * HOUR])
    assert (excused.status, excused.row_count) == ("committed", 58)
    continuity = checks(excused)["continuity"]
    assert continuity.passed
    assert continuity.metadata["excused"] == 2
    assert "matching engine down" in str(continuity.metadata["excuse"])
    assert bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR) == []


def test_a_worse_republication_does_not_replace_the_committed_hour(bench: Bench) -> None:
    bench.at(PUBLISHED).build(hours(10, 12))
    before = bench.committed()
    start = DAY + 10 * HOUR + 17 * MINUTE
    bench.fault("missing_minutes", "/(klines|fapi/v1/klines)", start=start, end=start + MINUTE)
    assert [result.status for result in bench.archives("klines_1m", "2026-11-18")] == ["republished"]
    results = bench.build(hours(10, 12))
    assert statuses(results) == ["quarantined", "committed"]
    assert bench.committed()[DAY + 10 * HOUR] == before[DAY + 10 * HOUR]
    # Binance publishes the first version again: all is as before, and the quarantine is over.
    bench.sim.faults.clear()
    bench.archives("klines_1m", "2026-11-18")
    assert statuses(bench.build(hours(10, 12))) == ["unchanged", "committed"]
    assert bench.committed() == before
    assert bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR) == []


def test_an_hour_whose_sources_stay_away_does_not_hold_the_watermark_for_ever(bench: Bench) -> None:
    bench.build(hours(10, 12))
    bench.fault("5xx", "/fapi/v1/indexPriceKlines")
    bench.fault("missing", "indexPriceKlines")
    lost = DAY + 12 * HOUR
    (result,) = bench.build([lost])
    assert result.status == "source_missing"
    assert "required_columns" in failed_checks(result)
    for part in ("index_price_klines_1m", "/fapi/v1/indexPriceKlines", "503"):
        assert part in result.reason
    assert bench.lake.ledger.watermark(SYMBOL) == lost - MINUTE, "it may still come"
    bench.at(PUBLISHED).build([lost])
    assert bench.lake.ledger.watermark(SYMBOL) == lost + 59 * MINUTE
    (entry,) = bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR)
    assert entry.codes == ("source_missing",)
    assert bench.build([lost])[0].status == "source_missing"
    assert len(bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR)) == 1
    bench.sim.faults.clear()
    (result,) = bench.at(PUBLISHED + HOUR).build([lost])
    assert result.status == "committed"
    assert bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + 24 * HOUR) == []


def test_a_lost_raw_file_is_fetched_again(bench: Bench) -> None:
    bench.at(PUBLISHED)
    (before,) = bench.build([DAY + 5 * HOUR])
    archive = bench.lake.ledger.archive(SYMBOL, "klines_1m", "2026-11-18")
    assert archive is not None
    bench.lake.catalog.absolute(archive.path).unlink()
    assert before.path is not None
    before.path.unlink()
    (after,) = bench.build([DAY + 5 * HOUR])
    assert (after.status, after.content_hash) == ("committed", before.content_hash)
    assert bench.lake.catalog.absolute(archive.path).is_file()


def test_a_damaged_raw_file_is_named(bench: Bench) -> None:
    bench.at(PUBLISHED)
    bench.build([DAY + 5 * HOUR])
    archive = bench.lake.ledger.archive(SYMBOL, "agg_trades", "2026-11-18")
    assert archive is not None
    raw = bench.lake.catalog.absolute(archive.path)
    raw.write_bytes(raw.read_bytes()[:-2000])
    committed = bench.committed()
    assert bench.build([DAY + 5 * HOUR])[0].status == "unchanged", "it is not needed"
    with pytest.raises(StorageError, match=r"raw file .*agg_trades.*does not read back.*remove the file"):
        bench.build([DAY + 6 * HOUR])
    assert bench.committed() == committed
    raw.unlink()
    assert statuses(bench.build(hours(5, 7))) == ["unchanged", "committed"]


def lose_trades(bench: Bench, hour: datetime) -> None:
    """The archive of the day has no aggTrade from :20 to :40 of the hour."""
    twenty = timedelta(minutes=20)
    bench.fault("missing_minutes", "daily/aggTrades/", start=hour + twenty, end=hour + 2 * twenty)


def test_aggtrades_that_the_archive_lacks_are_null_and_told(bench: Bench) -> None:
    hour = DAY + 4 * HOUR
    bench.at(PUBLISHED + 48 * HOUR)  # REST has forgotten them
    lose_trades(bench, hour)
    before, after = bench.build([hour, hour + HOUR])
    assert statuses([before, after]) == ["committed", "committed"]
    rows = bench.rows(hour)
    lost = rows.filter(pl.col("count_buy_trades").is_null())["timestamp"].dt.minute()
    traded = rows.filter(pl.col("timestamp").dt.minute().is_between(20, 39) & (pl.col("trade_count") > 0))
    assert set(traded["timestamp"].dt.minute()) <= set(lost.to_list()) <= set(range(10, 50))
    assert rows["transact_time"].null_count() >= lost.len() >= 15
    assert rows["vwap_1m"].null_count() == 0
    assert failed_checks(before) == {"source_coverage", "trades_vs_klines", "evidence"}
    assert checks(before)["source_coverage"].metadata["lost_trade_minutes"] == lost.len()
    assert failed_checks(after) == set()
    assert bench.rows(hour + HOUR)["count_buy_trades"].null_count() == 0
    missing = {(r.source, r.period): r.reason for r in bench.lake.ledger.missing_sources(SYMBOL, "agg_trades")}
    assert missing.keys() == {
        ("archive rows", "2026-11-18"), ("archive rows", "2026-11-18T04"), ("rest", "2026-11-18T04"),
    }  # fmt: skip
    assert "aggTrade ids are missing in 1 place(s)" in missing["archive rows", "2026-11-18"]
    assert "the archive does not hold every trade" in missing["archive rows", "2026-11-18T04"]
    assert statuses(bench.build([hour, hour + HOUR])) == ["unchanged", "unchanged"]


@pytest.mark.parametrize("captured", ["before", "now"])
def test_what_rest_has_repairs_aggtrades_that_the_archive_lacks(bench: Bench, captured: str) -> None:
    hour = DAY + 4 * HOUR
    held = ""
    if captured == "before":
        (first,) = bench.build([hour])
        held = first.content_hash
    lose_trades(bench, hour)
    (result,) = bench.at(PUBLISHED).build([hour])
    assert result.present
    assert kinds(result)["agg_trades"] == "archive+rest", "minute by minute the best that is whole"
    assert kinds(result)["klines_1m"] == "archive"
    assert result.content_hash != held
    rows = bench.rows(hour)
    assert rows["count_buy_trades"].null_count() == 0
    assert failed_checks(result) == {"archive_parity"}, "REST has trades that the archive lacks"


def test_a_known_hole_of_whole_hours_is_no_defect(bench: Bench) -> None:
    start, end = DAY + 10 * HOUR + 30 * MINUTE, DAY + 12 * HOUR + 30 * MINUTE
    bench.at(PUBLISHED).fault("missing_minutes", "/(klines|fapi/v1/klines)", start=start, end=end)
    bench.lake.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, start, end, "matching engine down", "status page"))
    results = bench.build(hours(9, 14))
    assert statuses(results) == ["committed"] * 5
    assert [result.row_count for result in results] == [60, 30, 0, 30, 60]
    lake, until = bench.lake, DAY + 14 * HOUR
    report = audit_partitions(lake.store, SYMBOL, DAY + 9 * HOUR, until, now=bench.now, lag_minutes=3)
    assert [(verdict.hour, verdict.codes) for verdict in report.wrong] == []
    assert (report.present_rows, report.expected_rows) == (180, 300)
