"""The spot tables through the one engine: from archives to rows, verdicts, certificates, exports and day files."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.audit.files import AuditedFile, read_facts
from lake_assets.audit.rulepack_bars import check_bars
from lake_assets.audit.scan import audit_partitions
from lake_assets.build.compaction import run_compaction
from lake_assets.build.hours import build_partitions
from lake_assets.exports.export import ExportRequest, ExportTarget, write_export
from lake_assets.inputs.results import HourResult
from lake_assets.lake import Lake, open_lake
from lake_assets.reading import load
from lake_assets.schema.table import Table
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.clock import DAY, HOUR, MINUTE, SECOND
from lake_resources.errors import NotClean, SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.reader import scan
from lake_tests.support.spot_days import SYMBOL, keep_archive, klines, trades

FIRST = datetime(2025, 11, 29, tzinfo=UTC)
NOW = FIRST + 20 * DAY
UNKNOWN = FIRST + 5 * HOUR + 100 * SECOND
"""Five seconds from here are in no archive."""
DOCUMENT = (
    "symbol", "window_start", "open", "high", "low", "close", "volume_base", "volume_quote", "trade_count", "vwap",
    "bid", "ask", "spread",
)  # fmt: skip
KLINE_DOCUMENT = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades", "taker_base_vol",
    "taker_quote_vol",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LakeSettings:
    nobody = "http://127.0.0.1:9"
    return LakeSettings(
        _env_file=None, root=tmp_path_factory.mktemp("spot") / "lake", exchange="simulator", rest_url=nobody,
        spot_rest_url=nobody, vision_url=nobody, start=FIRST.date(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def traded() -> pl.DataFrame:
    return trades(FIRST, DAY)


@pytest.fixture(scope="module")
def lake(settings: LakeSettings, traded: pl.DataFrame) -> Iterator[Lake]:
    """A lake with the archives of one day, whose seconds lack five, and everything built of them."""
    opened = replace(open_lake(settings, clock=lambda: NOW), ask_rest=False).of(SPOT_BARS_1S)
    seconds = klines(traded, FIRST, DAY, SECOND)
    unknown = pl.col("open_time").is_between(UNKNOWN, UNKNOWN + 5 * SECOND, closed="left")
    keep_archive(opened, SPOT_STREAMS["klines_1s"], FIRST, seconds.filter(~unknown))
    keep_archive(opened, SPOT_STREAMS["klines_1m"], FIRST, klines(traded, FIRST, DAY, MINUTE))
    yield opened
    opened.close()


def built(lake: Lake, table: Table, starts: list[datetime], **given: bool) -> list[HourResult]:
    days = build_partitions(lake.of(table), SYMBOL, starts, now=NOW, report=lambda _: None, **given)
    return [result for day in days for result in day.hours]


@pytest.fixture(scope="module")
def seconds(lake: Lake) -> list[HourResult]:
    return built(lake, SPOT_BARS_1S, [FIRST + n * HOUR for n in range(24)])


@pytest.fixture(scope="module")
def minutes(lake: Lake) -> HourResult:
    (found,) = built(lake, SPOT_KLINES["1m"], [FIRST])
    return found


def test_columns_are_those_of_the_document_in_its_order() -> None:
    assert SPOT_BARS_1S.names[:13] == DOCUMENT
    assert SPOT_BARS_1S.names[13:] == (
        "taker_buy_base", "taker_buy_quote", "bid_qty", "ask_qty", "has_trades", "has_quotes",
    )  # fmt: skip
    assert list(SPOT_KLINES) == ["1s", "1m", "5m", "15m", "1h", "1d"]
    assert all(table.names == KLINE_DOCUMENT for table in SPOT_KLINES.values())


def test_a_day_of_seconds_is_24_hours_that_know_what_is_not_known(lake: Lake, seconds: list[HourResult]) -> None:
    assert [each.status for each in seconds] == ["committed"] * 24
    assert [each.row_count for each in seconds] == [3600] * 5 + [3595] + [3600] * 18
    verdicts = {row.start.hour: row.verdict for row in lake.ledger.partitions(SYMBOL, FIRST, FIRST + DAY)}
    assert {hour for hour, verdict in verdicts.items() if verdict != "clean"} == {5}
    assert verdicts[5] == "partial"
    evidence = next(each for each in seconds[5].outcomes if each.name == "evidence")
    assert not evidence.passed
    assert "5 row(s) are in no source, first 2025-11-29 05:01:40" in str(evidence.metadata["reasons"])
    path = lake.catalog.partition_path(SYMBOL, FIRST)
    assert path.is_relative_to(lake.catalog.root / "spot" / "bars_1s")


def test_a_quiet_second_is_a_row_and_carries_the_close(lake: Lake, seconds: list[HourResult]) -> None:
    del seconds
    rows = pl.read_parquet(lake.catalog.partition_path(SYMBOL, FIRST + HOUR))
    assert rows.schema == SPOT_BARS_1S.polars_schema
    before = pl.col("close").shift(1)
    quiet = rows.with_columns(before=before).filter(pl.col("trade_count") == 0, before.is_not_null())
    assert quiet.height > 100
    assert (
        quiet.select((pl.col(name) == pl.col("before")).all() for name in ("open", "high", "low", "close", "vwap")).row(
            0
        )
        == (True,) * 5
    )
    assert quiet["volume_base"].sum() == quiet["volume_quote"].sum() == 0
    assert not quiet["has_trades"].any()
    assert rows["bid"].null_count() == rows.height, "quotes have no history"
    assert not rows["has_quotes"].any()
    assert rows["symbol"].unique().to_list() == [SYMBOL]


def test_building_again_leaves_every_byte(lake: Lake, seconds: list[HourResult]) -> None:
    again = built(lake, SPOT_BARS_1S, [FIRST, FIRST + HOUR, FIRST + 5 * HOUR], force=True)
    assert [each.status for each in again] == ["unchanged"] * 3
    assert [each.content_hash for each in again] == [seconds[n].content_hash for n in (0, 1, 5)]


def test_klines_are_a_day_of_1440_rows_and_end_the_same_from_every_source(minutes: HourResult, lake: Lake) -> None:
    assert (minutes.status, minutes.row_count) == ("committed", 1440)
    rows = pl.read_parquet(lake.of(SPOT_KLINES["1m"]).catalog.partition_path(SYMBOL, FIRST))
    assert rows.select((pl.col("close_time") - pl.col("open_time")).unique()).item() == MINUTE - timedelta(
        milliseconds=1
    )


def test_seconds_roll_up_to_the_klines_to_the_last_digit(
    settings: LakeSettings, seconds: list[HourResult], minutes: HourResult
) -> None:
    del seconds, minutes
    window = (FIRST, FIRST + 5 * HOUR)
    rolled = load(SYMBOL, *window, table=SPOT_BARS_1S, timeframe="1m", settings=settings, clock=lambda: NOW)
    klines_1m = load(SYMBOL, *window, table=SPOT_KLINES["1m"], settings=settings, clock=lambda: NOW)
    bars, official = rolled.frame.collect(), klines_1m.frame.collect()
    assert bars["complete"].all()
    assert bars["seconds"].unique().to_list() == [60]
    pairs = {
        "open": "open", "high": "high", "low": "low", "close": "close", "volume_base": "volume",
        "volume_quote": "quote_volume", "trade_count": "trades", "taker_buy_base": "taker_base_vol",
        "taker_buy_quote": "taker_quote_vol",
    }  # fmt: skip
    assert bars.height == official.height == 300
    assert [ours for ours, theirs in pairs.items() if bars[ours].to_list() != official[theirs].to_list()] == []
    vwap = official["quote_volume"] / official["volume"]
    assert bars["vwap"].to_list() == vwap.zip_with(official["volume"] > 0, official["close"]).to_list()


def test_a_longer_bar_says_how_many_of_its_seconds_are_there(settings: LakeSettings, seconds: list[HourResult]) -> None:
    del seconds
    hour = FIRST + 5 * HOUR
    found = load(SYMBOL, hour, hour + HOUR, table=SPOT_BARS_1S, timeframe="15m", settings=settings, clock=lambda: NOW)
    rows = found.frame.collect()
    assert rows.select("seconds", "complete").rows() == [(895, False), (900, True), (900, True), (900, True)]
    whole = load(
        SYMBOL, hour, hour + HOUR, table=SPOT_BARS_1S, timeframe="15m", incomplete="omit", settings=settings,
        clock=lambda: NOW,
    )  # fmt: skip
    assert whole.frame.collect().height == 3


def test_the_certificate_names_unknown_seconds_and_clean_refuses_them(
    settings: LakeSettings, seconds: list[HourResult]
) -> None:
    del seconds
    frame, certificate = load(SYMBOL, FIRST, FIRST + DAY, table=SPOT_BARS_1S, settings=settings, clock=lambda: NOW)
    assert frame.collect().height == certificate.present_rows == 86_395
    (hole,) = certificate.holes
    assert (hole.start, hole.end, hole.explained) == (UNKNOWN, UNKNOWN + 5 * SECOND, False)
    assert certificate.as_json()["unexplained_seconds"] == 5
    clean = load(
        SYMBOL, FIRST, FIRST + 5 * HOUR, table=SPOT_BARS_1S, require="clean", settings=settings, clock=lambda: NOW
    )
    assert clean.certificate.clean
    with pytest.raises(NotClean, match="05:01:40"):
        load(SYMBOL, FIRST, FIRST + DAY, table=SPOT_BARS_1S, require="clean", settings=settings, clock=lambda: NOW)
    with pytest.raises(NotClean, match="bid"):
        load(
            SYMBOL,
            FIRST,
            FIRST + HOUR,
            ["bid"],
            table=SPOT_BARS_1S,
            require="clean",
            settings=settings,
            clock=lambda: NOW,
        )


def test_traded_seconds_are_a_view(settings: LakeSettings, seconds: list[HourResult]) -> None:
    del seconds
    every = load(SYMBOL, FIRST, FIRST + HOUR, table="bars_1s", settings=settings, clock=lambda: NOW)
    view = load(SYMBOL, FIRST, FIRST + HOUR, table="bars_1s_traded", settings=settings, clock=lambda: NOW)
    wanted = every.frame.collect().filter(pl.col("trade_count") > 0)
    assert 0 < wanted.height < 3600
    assert view.frame.collect().equals(wanted)
    assert view.certificate.present_rows == every.certificate.present_rows == 3600, (
        "known seconds count, quiet ones too"
    )
    few = load(SYMBOL, FIRST, FIRST + HOUR, ["close"], table="bars_1s_traded", settings=settings, clock=lambda: NOW)
    assert few.frame.collect().equals(wanted.select("window_start", "close"))
    with pytest.raises(SettingsError, match="bars_1s_traded has no bars of 1m"):
        load(
            SYMBOL, FIRST, FIRST + HOUR, table="bars_1s_traded", timeframe="1m", settings=settings, clock=lambda: NOW
        )  # fmt: skip


def test_exports_name_the_symbol_once(lake: Lake, seconds: list[HourResult], tmp_path: Path) -> None:
    del seconds
    request = ExportRequest(FIRST, FIRST + HOUR, "1s")
    target = ExportTarget(tmp_path, "csv", "simulator")
    written = write_export(lake.store, SYMBOL, request, target, now=NOW, lag_minutes=3)
    with written.path.open(newline="") as file:
        header, first = next(reader := csv.reader(file)), next(reader)
    assert tuple(header) == SPOT_BARS_1S.names
    assert first[:2] == [SYMBOL, "2025-11-29T00:00:00Z"]
    bars = write_export(
        lake.store, SYMBOL, ExportRequest(FIRST, FIRST + HOUR, "1h"), replace(target, form="parquet"), now=NOW,
        lag_minutes=3,
    )  # fmt: skip
    rolled = pl.read_parquet(bars.path)
    assert rolled.columns[:4] == ["symbol", "window_start", "seconds", "complete"]
    assert rolled.select("symbol", "seconds").rows() == [(SYMBOL, 3600)]


def test_rules_and_audit_speak_of_seconds(lake: Lake, seconds: list[HourResult]) -> None:
    del seconds
    found = check_bars(lake, SYMBOL, FIRST, FIRST + 5 * HOUR)
    assert (found.verdict, found.rows) == ("PASS", 5 * 3600)
    assert next(rule for rule in found.rules if rule.rule == "R7").checked == 5 * 3600
    holed = check_bars(lake, SYMBOL, FIRST + 5 * HOUR, FIRST + 6 * HOUR)
    assert next(rule for rule in holed.rules if rule.rule == "R5").stats["missing"] == 5
    report = audit_partitions(lake.store, SYMBOL, FIRST, FIRST + DAY, now=NOW, lag_minutes=3, full=True)
    assert [(each.hour, each.names) for each in report.wrong] == [(FIRST + 5 * HOUR, ("partial",))]


def test_an_hour_that_another_version_wrote_is_audited_as_its_rows(
    lake: Lake, seconds: list[HourResult], tmp_path: Path
) -> None:
    hour = seconds[5].hour
    rows = scan(lake.store, SYMBOL, hour, hour + HOUR).collect()
    assert rows.height == 3595
    path = tmp_path / "part.parquet"
    rows.write_parquet(path, compression="lz4")
    facts = read_facts(SPOT_BARS_1S, [AuditedFile(hour, path, hour, hour + HOUR)], [])[hour]
    assert (facts.row_count, facts.codes) == (3595, ()), "that seconds are absent is the ledger's to tell"
    rows.clear().write_parquet(path)
    empty = read_facts(SPOT_BARS_1S, [AuditedFile(hour, path, hour, hour + HOUR)], [])[hour]
    assert "empty_partition" in empty.codes


def test_a_day_that_is_not_over_stays_hours(lake: Lake, seconds: list[HourResult]) -> None:
    del seconds
    late = FIRST + DAY - 30 * MINUTE
    assert list(run_compaction(SPOT_BARS_1S, lake.store, SYMBOL, now=late, clock=lambda: late)) == []


def test_three_lines_of_the_readme_give_seconds_with_a_certificate(
    settings: LakeSettings,
    seconds: list[HourResult],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del seconds
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    (code,) = [each for each in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if 'table="bars_1s"' in each]
    assert len([line for line in code.splitlines() if "bars" in line]) == 3
    monkeypatch.setenv("LAKE_ROOT", str(settings.root))
    monkeypatch.setenv("LAKE_EXCHANGE", "simulator")
    told = code.replace("datetime.now(UTC)", f"datetime.fromisoformat({str(FIRST + 2 * DAY)!r})")
    assert told != code
    names: dict[str, Any] = {}
    exec(told, names)
    assert names["bars"].collect().height == names["certificate"].present_rows == 86_395
    assert "(86_395," in capsys.readouterr().out


def test_a_day_that_is_whole_becomes_one_file(lake: Lake, traded: pl.DataFrame, seconds: list[HourResult]) -> None:
    del traded, seconds
    done = list(run_compaction(SPOT_BARS_1S, lake.store, SYMBOL, now=NOW, clock=lake.clock))
    assert [(each.period.name, each.status, each.row_count) for each in done] == [("2025-11-29", "compacted", 86_395)]
    path = done[0].path
    assert path is not None
    assert json.loads((path.parent / "2025-11-29.meta.json").read_text()) == {
        "timezone": "UTC", "date": "2025-11-29", "symbol": SYMBOL, "exchange": "binance", "rows": 86_395,
        "missing_seconds": 5, "duplicates": 0, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    hours = (lake.catalog.root / "spot" / "bars_1s").rglob("*.parquet")
    assert sum(pl.read_parquet(each, columns=["window_start"]).height for each in hours) == 86_395, (
        "who globs the hours reads each row once"
    )
