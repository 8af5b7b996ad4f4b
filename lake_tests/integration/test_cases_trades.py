"""aggTrades that lie with a sound checksum: what they lack comes from elsewhere or is NULL, and everybody says so."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.audit.scan import audit_partitions
from lake_assets.build.compaction import plan_compaction
from lake_assets.cli.main import app
from lake_assets.inputs.doubted_hours import doubted_hours
from lake_assets.inputs.sources import find_sources
from lake_assets.inputs.trade_sources import Heard, TradesAsked, find_trades
from lake_assets.quality.certificate import Certificate, certify, require_clean
from lake_assets.quality.month_card import report_card
from lake_assets.source import Wanted
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import NotClean
from lake_resources.storage.provenance import SourceRef
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours, kinds, statuses

pytestmark = pytest.mark.slow

CUT = DAY + 9 * HOUR + 29 * MINUTE + timedelta(seconds=10)
HOURS = hours(8, 12)
FORGOTTEN = PUBLISHED + 48 * HOUR
"""REST does not keep the aggTrades of the day any more."""
TRADES = "daily/aggTrades/"
COLUMNS = ["timestamp", "count_buy_trades", "count_sell_trades", "max_trade_size_btc", "vwap_1m", "realized_vol_1m"]


def truth(bench: Bench) -> pl.DataFrame:
    """The rows of the hours as REST has them, from a lake that sees nothing else."""
    return pl.concat([bench.rows(hour) for hour in HOURS]).select(COLUMNS)


def rows(bench: Bench) -> pl.DataFrame:
    return pl.concat([bench.rows(hour) for hour in HOURS])


def cut_the_archive(bench: Bench) -> None:
    bench.fault("missing_minutes", TRADES, start=CUT, end=DAY + 24 * HOUR)


def certificate(bench: Bench, start: datetime = HOURS[0], end: datetime = HOURS[-1] + HOUR) -> Certificate:
    lake = bench.lake
    return certify(lake.store, SYMBOL, start, end, now=bench.now, lag_minutes=3)


def told_everywhere(bench: Bench, first: datetime, kind: str) -> None:
    """Nobody calls the hours from `first` on clean, and everybody names the stream."""
    lake, doubted = bench.lake, [hour for hour in HOURS if hour >= first]
    found = doubted_hours(lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR)
    assert {hour: verdict.kind for hour, verdict in found.items()} == dict.fromkeys(doubted, kind)
    assert all("agg_trades" in verdict.text for verdict in found.values())
    with pytest.raises(NotClean, match="agg_trades"):
        require_clean(certificate(bench))
    assert doubted[0] == HOURS[0] or certificate(bench, HOURS[0], doubted[0]).clean, "the hours before are"
    audit = audit_partitions(lake.store, SYMBOL, HOURS[0], HOURS[-1] + HOUR, now=bench.now, lag_minutes=3)
    assert {verdict.hour: verdict.names for verdict in audit.wrong} == dict.fromkeys(doubted, (kind,))
    missing = {(row.source, row.period) for row in lake.ledger.missing_sources(SYMBOL, "agg_trades")}
    assert {("archive rows", f"{hour:%Y-%m-%dT%H}") for hour in doubted} <= missing
    card = report_card(lake.store, SYMBOL, DAY, now=bench.now, lag_minutes=3)
    assert card.verdict != "CLEAN"
    listed = CliRunner().invoke(
        app,
        ["holes", SYMBOL, "--start", "2026-11-18T08:00", "--end", "2026-11-18T12:00", "--json"],
        env={**environment(bench)},
    )
    assert listed.exit_code == 1, listed.output
    assert f"{doubted[0].isoformat()}" in listed.output


def environment(bench: Bench) -> dict[str, str]:
    return {"LAKE_ROOT": str(bench.settings.root), "LAKE_EXCHANGE": bench.settings.exchange}


def day_waits(bench: Bench) -> str:
    """Why the day is not compacted; all of its hours are built."""
    (step, *_) = plan_compaction(UM_MINUTE, bench.lake.ledger, SYMBOL, now=bench.now + timedelta(days=30))
    return step.waits_for


def test_what_rest_still_has_fills_an_archive_that_ends_early(bench: Bench) -> None:
    bench.build(HOURS)
    before = truth(bench)
    cut_the_archive(bench)
    results = bench.at(PUBLISHED).build(HOURS)
    assert statuses(results) == ["committed"] * 4
    assert [kinds(result)["agg_trades"] for result in results] == ["archive", "archive+rest", "rest", "rest"]
    assert rows(bench).select(COLUMNS).equals(before), "no value was lost, none was made up"
    told_everywhere(bench, DAY + 9 * HOUR, "provisional")


def test_rest_is_asked_for_what_an_archive_that_ends_early_lacks(bench: Bench) -> None:
    bench.build(HOURS)
    before = truth(bench)
    for hour in HOURS:
        bench.lake.catalog.partition_path(SYMBOL, hour).unlink()
        for capture in bench.lake.ledger.capture_vintages(SYMBOL, "agg_trades", hour):
            bench.lake.catalog.absolute(capture.path).unlink()
    cut_the_archive(bench)
    results = bench.at(PUBLISHED).build(HOURS)
    assert [kinds(result)["agg_trades"] for result in results] == ["archive", "archive+rest", "rest", "rest"]
    assert rows(bench).select(COLUMNS).equals(before)


def test_what_was_captured_is_not_replaced_by_an_archive_that_ends_early(bench: Bench) -> None:
    bench.build(HOURS)
    before = truth(bench)
    cut_the_archive(bench)
    bench.at(FORGOTTEN).build(HOURS)
    assert rows(bench).select(COLUMNS).equals(before)


def test_what_nobody_has_is_null_and_the_day_does_not_close(bench: Bench) -> None:
    bench.build(HOURS)
    before = truth(bench)
    for hour in HOURS:  # a lake that never saw them
        bench.lake.catalog.partition_path(SYMBOL, hour).unlink()
    for hour in HOURS:
        for capture in bench.lake.ledger.capture_vintages(SYMBOL, "agg_trades", hour):
            bench.lake.catalog.absolute(capture.path).unlink()
    cut_the_archive(bench)
    bench.at(FORGOTTEN).build(hours(0, 24))
    after = rows(bench)
    lost = after.filter(pl.col("timestamp") >= CUT.replace(second=0))
    assert lost["count_buy_trades"].null_count() > 120
    told = lost.filter(pl.col("count_buy_trades").is_not_null()).select(COLUMNS)
    assert told.equals(before.join(told, on="timestamp", how="semi")), "what is told is the truth"
    proven = pl.col("timestamp") < CUT.replace(second=0)
    assert after.filter(proven).select(COLUMNS).equals(before.filter(proven))
    assert "contradicted" in day_waits(bench)
    found = doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR)
    assert list(found) == hours(9, 24)
    text = found[DAY + 9 * HOUR].text
    assert "trades" in text
    assert "of the klines" in text
    assert "to 09:59" in text


def test_the_truth_gives_the_bytes_of_a_lake_that_never_saw_the_lie(bench: Bench, tmp_path: Path) -> None:
    cut_the_archive(bench)
    bench.at(FORGOTTEN).build(HOURS)
    lied = bench.committed()
    bench.sim.faults.clear()
    bench.archives("agg_trades", "2026-11-18")
    assert statuses(bench.build(HOURS)) == ["committed"] * 4
    after = bench.committed()
    assert lied.keys() == after.keys()
    assert doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR) == {}
    assert not [r for r in bench.lake.ledger.missing_sources(SYMBOL, "agg_trades") if r.period.startswith("2026-11-18")]
    with bench_on(bench.sim, tmp_path / "another") as honest:
        honest.at(FORGOTTEN).build(HOURS)
        assert honest.committed() == after


def test_what_the_collector_proved_fills_an_archive_that_ends_early(bench: Bench) -> None:
    cut_the_archive(bench)
    bench.at(FORGOTTEN)
    for stream in ("klines_1m", "agg_trades"):
        bench.archives(stream, "2026-11-18")
    use, hour = UM_MINUTE.uses["agg_trades"], DAY + 9 * HOUR
    bars = find_sources(
        bench.lake, Wanted(SYMBOL, [hour], bench.now, bench.reports.append, UM_MINUTE.uses["klines_1m"])
    )
    live = SourceRef("agg_trades", "ws", "what was heard")
    after = [minute for minute in bars.frame(hour, hour + HOUR)["open_time"] if minute >= CUT - timedelta(minutes=1)]
    heard = Heard(minutes=frozenset(after[:-1]), refs={hour: live})
    klines, told = bars.frame(hour, hour + HOUR), {hour: bars.ref(hour)}
    asking = TradesAsked([hour], klines, told, heard, bench.now, bench.reports.append)
    found, _ = find_trades(bench.lake, SYMBOL, use, asking)
    assert found.ref(hour).kind == "archive+ws"
    (filed, live_take) = found.takes[hour]
    assert (filed.kind, live_take.kind) == ("archive", "ws")
    assert max(filed.minutes) < min(live_take.minutes)
    assert found.lost_minutes(hour) == after[-1:], "of the last minute nobody proves anything"


@pytest.mark.parametrize("asked", ["rest has it", "forgotten"])
def test_an_archive_without_rows_says_nothing_of_its_day(bench: Bench, asked: str) -> None:
    bench.build(HOURS)
    before = truth(bench)
    bench.fault("missing_minutes", TRADES + ".*2026-11-18", start=DAY, end=DAY + 24 * HOUR)
    results = bench.at(PUBLISHED if asked == "rest has it" else FORGOTTEN).build(HOURS)
    assert all(result.present for result in results)
    assert rows(bench).select(COLUMNS).equals(before)
    told_everywhere(bench, HOURS[0], "provisional")


@pytest.mark.parametrize("by", [0.0, 1e-9])
def test_quantities_that_are_no_quantities_are_not_believed(bench: Bench, by: float) -> None:
    bench.fault("scaled", TRADES, column="quantity", by=by, every=3)
    bench.at(FORGOTTEN).build(HOURS)
    after = rows(bench)
    quantity = after.filter(pl.col("count_buy_trades").is_not_null())
    archive = bench.lake.ledger.archive(SYMBOL, "agg_trades", "2026-11-18")
    assert archive is not None
    bad = pl.read_parquet(bench.lake.catalog.absolute(archive.path)).filter(pl.col("quantity") < 1e-8)
    spoilt = bad.select(timestamp=pl.col("transact_time").dt.truncate("1m")).unique()
    assert quantity.join(spoilt, on="timestamp", how="semi").is_empty(), "no minute with such a trade has a value"
    assert {v.kind for v in doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR).values()} == {"contradicted"}
    bench.sim.faults.clear()
    with_rest = bench.at(PUBLISHED).build(HOURS)
    assert [kinds(result)["agg_trades"] for result in with_rest] == ["archive+rest"] * 4
    assert rows(bench)["count_buy_trades"].null_count() == 0, "REST reaches them"


def test_a_notional_that_does_not_fit_is_named(bench: Bench) -> None:
    window = {"start": DAY + 9 * HOUR + 10 * MINUTE, "end": DAY + 9 * HOUR + 20 * MINUTE}
    bench.fault("scaled", TRADES, column="price", by=1.002, every=1, **window)
    bench.at(FORGOTTEN).build(HOURS)
    found = doubted_hours(bench.lake.ledger, SYMBOL, DAY, DAY + 24 * HOUR)
    assert [(hour, verdict.kind) for hour, verdict in found.items()] == [(DAY + 9 * HOUR, "contradicted")]
    assert "notional" in found[DAY + 9 * HOUR].text
    assert "minute(s) from 2026-11-18 09:10" in found[DAY + 9 * HOUR].text
