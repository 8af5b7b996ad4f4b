"""One engine: a table of another market, grain and span goes all the way by one declaration and one function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from lake_assets.assets.table_asset import build_table_asset
from lake_assets.audit.cache import AuditCache
from lake_assets.audit.rulepack_bars import check_bars
from lake_assets.audit.scan import audit_partitions
from lake_assets.build.compaction import run_compaction
from lake_assets.build.hours import build_partitions
from lake_assets.exports.export import ExportRequest, ExportTarget, write_export
from lake_assets.inputs.results import HourResult
from lake_assets.lake import Lake, open_lake
from lake_assets.quality.certificate import certify
from lake_assets.quality.month_card import picture, render, report_card
from lake_assets.reading import load, scan, verify
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, SECOND
from lake_resources.errors import NotClean, SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_tests.support.toy_seconds import SYMBOL, TOY, TOY_ASSET, keep_archive, klines

FIRST = datetime(2025, 11, 29, tzinfo=UTC)
HOLED, REFUSED = FIRST + DAY, FIRST + 2 * DAY
END = FIRST + 3 * DAY
NOW = END + 20 * DAY
HOLE = (HOLED + 3600 * SECOND, HOLED + 3610 * SECOND)
LAG = {"now": NOW, "lag_minutes": 3}


@pytest.fixture
def settings(tmp_path: Path) -> LakeSettings:
    nobody = "http://127.0.0.1:9"
    return LakeSettings(
        _env_file=None, root=tmp_path / "lake", symbols=(SYMBOL,), exchange="simulator", rest_url=nobody,
        vision_url=nobody, start=FIRST.date(),
    )  # fmt: skip


@pytest.fixture
def lake(settings: LakeSettings) -> Iterator[Lake]:
    """The lake on the toy table, with archives of three days: one whole, one with a known hole, one that lacks rows."""
    opened = replace(open_lake(settings, clock=lambda: NOW), ask_rest=False).of(TOY)
    for day, missing in ((FIRST, ()), (HOLED, range(3600, 3610)), (REFUSED, range(100, 105))):
        keep_archive(opened, day, missing)
    opened.ledger.declare_hole(KnownHole("klines_1s", SYMBOL, *HOLE, "the exchange halted", "its notice"))
    yield opened
    opened.close()


def built(lake: Lake, **given: bool) -> list[HourResult]:
    days = build_partitions(lake, SYMBOL, [FIRST, HOLED, REFUSED], now=NOW, report=lambda _: None, **given)
    return [result for day in days for result in day.hours]


def test_partitions_are_built_judged_and_committed_beside_another_table(lake: Lake) -> None:
    found = built(lake)
    assert [(each.hour, each.status) for each in found] == [
        (FIRST, "committed"), (HOLED, "committed"), (REFUSED, "quarantined"),
    ]  # fmt: skip
    assert [each.row_count for each in found] == [86_400, 86_390, 86_395]
    assert "missing=5, first_missing=2025-12-01 00:01:40" in found[2].reason
    assert {name: ref.kind for name, ref in found[0].sources.items()} == {"klines_1s": "archive"}
    assert [each.name for each in found[0].outcomes if not each.passed] == []
    path = lake.catalog.partition_path(SYMBOL, FIRST)
    assert path.is_relative_to(lake.catalog.root / "spot" / "toy_seconds")
    rows = pl.read_parquet(path)
    assert rows.equals(klines(FIRST).select(
        timestamp="open_time", open="open", high="high", low="low", close="close", volume="volume",
        swing=pl.col("high") - pl.col("low"),
    ))  # fmt: skip
    assert lake.of(UM_MINUTE).ledger.partitions(SYMBOL, FIRST, END) == []
    again = built(lake)
    assert [each.status for each in again] == ["unchanged", "unchanged", "quarantined"]


def test_the_audit_finds_what_is_refused_and_what_is_damaged(lake: Lake, tmp_path: Path) -> None:
    built(lake)
    cache = AuditCache(tmp_path / "audit.sqlite")
    report = audit_partitions(lake.store, SYMBOL, FIRST, END, **LAG, cache=cache)
    assert [(verdict.hour, verdict.codes) for verdict in report.wrong] == [
        (REFUSED, ("missing_file", "quarantined:continuity"))
    ]
    assert (report.expected_rows, report.present_rows) == (3 * 86_400, 86_400 + 86_390)
    assert audit_partitions(lake.store, SYMBOL, FIRST, REFUSED, **LAG, cache=cache).from_cache == 2
    assert audit_partitions(lake.of(UM_MINUTE).store, SYMBOL, FIRST, REFUSED, **LAG, cache=cache).from_cache == 0
    path = lake.catalog.partition_path(SYMBOL, FIRST)
    pl.read_parquet(path).with_columns(low=pl.col("high") + 1).write_parquet(path)
    codes = audit_partitions(lake.store, SYMBOL, FIRST, HOLED, **LAG).wrong[0].codes
    assert codes[0].startswith("ohlc_broken:high_too_low:86400")
    assert "content_hash_mismatch" in codes


def test_a_closed_month_becomes_one_file_and_reads_the_same(lake: Lake, settings: LakeSettings) -> None:
    built(lake)
    before = scan(TOY, SYMBOL, FIRST, END, settings=settings).collect()
    done = list(run_compaction(TOY, lake.store, SYMBOL, now=NOW, clock=lake.clock))
    assert [(each.period.name, each.status, each.partitions, each.row_count) for each in done] == [
        ("2025-11", "compacted", 2, 86_400 + 86_390)
    ]
    after = scan(TOY, SYMBOL, FIRST, END, settings=settings).collect()
    assert after.equals(before)
    assert after.height == 86_400 + 86_390
    assert not audit_partitions(lake.store, SYMBOL, FIRST, REFUSED, **LAG).wrong


def test_the_certificate_counts_seconds(lake: Lake, settings: LakeSettings) -> None:
    built(lake)
    found = certify(lake.store, SYMBOL, FIRST, END, **LAG)
    assert (found.present_rows, found.missing_rows, found.unexplained_rows) == (172_790, 86_410, 86_400)
    assert [(hole.start, hole.rows, hole.cause, hole.explained) for hole in found.holes] == [
        (HOLE[0], 10, "the exchange halted", True),
        (REFUSED, 86_400, "day in quarantine: continuity", False),
    ]
    told = found.as_json()
    assert (told["table"], told["unexplained_seconds"], told["sources"]) == (
        "toy_seconds", 86_400, {"klines_1s": {"archive": 172_790}},
    )  # fmt: skip
    given = {"table": TOY, "settings": settings, "clock": lambda: NOW}
    frame, certificate = load(SYMBOL, FIRST, REFUSED, ["close"], require="clean", **given)
    verify(certificate, settings=settings)
    assert frame.collect().shape == (172_790, 2)
    with pytest.raises(NotClean, match=r"86400 seconds without an explanation in 1 hole.*day in quarantine"):
        load(SYMBOL, FIRST, END, require="clean", **given)
    with pytest.raises(SettingsError, match="no window of whole seconds"):
        load(SYMBOL, FIRST + timedelta(microseconds=1), END, **given)


def test_a_month_card_has_a_cell_per_day(lake: Lake) -> None:
    built(lake)
    card = report_card(lake.store, SYMBOL, FIRST, now=END - 2 * DAY + 3 * 60 * SECOND, lag_minutes=3)
    assert card.cells[-2:] == ("whole", "not expected")
    assert len(card.cells) == 30
    page = render(card, "picture.png")
    assert "a cell per day" in page
    assert "86,400 of 2,505,600 seconds" in page
    assert picture(card).startswith(b"\x89PNG")


def test_rows_and_bars_are_exported_with_their_certificate(lake: Lake, tmp_path: Path) -> None:
    built(lake)
    target = ExportTarget(tmp_path / "out", "csv", "simulator")
    seconds = write_export(lake.store, SYMBOL, ExportRequest(FIRST, FIRST + 90 * SECOND, "1s"), target, **LAG)
    assert seconds.path.name == "BTCUSDT_toy_1s_20251129T000000_20251129T000130.csv"
    assert seconds.row_count == 90
    target = replace(target, form="parquet")
    minutes = write_export(lake.store, SYMBOL, ExportRequest(HOLED, REFUSED, "1m"), target, **LAG)
    bars = pl.read_parquet(minutes.path)
    assert (bars.height, minutes.incomplete_bars) == (1440, 1)
    assert bars.columns[:4] == ["symbol", "timestamp", "seconds", "complete"]
    assert bars.filter(~pl.col("complete"))["seconds"].to_list() == [50]
    assert "swing" not in bars.columns
    told = json.loads(minutes.certificate_path.read_text())
    assert (told["timeframe"], told["present_seconds"], told["explained_seconds"]) == ("1m", 86_390, 10)
    with pytest.raises(SettingsError, match="the minute table has no rows of 1s"):
        ExportRequest(FIRST, END, "1s").chosen(UM_MINUTE)


def test_its_bars_pass_the_rulepack_against_their_klines(lake: Lake) -> None:
    built(lake)
    result = check_bars(lake, SYMBOL, FIRST, REFUSED)
    assert (result.verdict, result.rows) == ("PASS", 172_790)
    by_rule = {rule.rule: rule for rule in result.rules}
    assert (by_rule["R5"].checked, by_rule["R5"].stats["excused"]) == (172_800, 10)
    assert by_rule["R7"].checked == 172_790


class Opened:
    """The resource `lake` of an asset."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def open(self) -> Lake:
        """As it was opened, on the minute table."""
        return self.lake.of(UM_MINUTE)


def test_its_asset_materializes_and_checks_each_partition(lake: Lake, settings: LakeSettings) -> None:
    asset = build_table_asset(TOY_ASSET, SYMBOL, settings)
    assert asset.key == dg.AssetKey(["spot", SYMBOL, "toy_seconds"])
    with dg.DagsterInstance.ephemeral() as instance:
        given = {"instance": instance, "resources": {"lake": Opened(lake)}, "raise_on_error": False}
        whole = dg.materialize([asset], partition_key="2025-11-29", **given)
        assert whole.success
        checks = {each.check_name: each.passed for each in whole.get_asset_check_evaluations()}
        # There is no answer of REST beside the archive, so that nothing was compared.
        assert checks == {name: True for name in TOY.checks if name != "archive_parity"}
        event = instance.fetch_materializations(asset.key, limit=1).records[0]
        assert event.partition_key == "2025-11-29"
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["dagster/partition_row_count"].value == 86_400
        refused = dg.materialize([asset], partition_key="2025-12-01", **given)
        assert not refused.success
        failed = [each.check_name for each in refused.get_asset_check_evaluations() if not each.passed]
        assert failed == ["continuity"]
