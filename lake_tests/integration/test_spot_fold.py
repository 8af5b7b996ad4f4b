"""Seconds made of single trades: a source after archive and REST, and the proof of both; quotes of the socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from lake_assets.build.builder import Builder
from lake_assets.build.hours import build_partitions
from lake_assets.build.spot_rows import SECOND_ROWS
from lake_assets.inputs.results import HourResult
from lake_assets.inputs.spot_trades import HeardSpot, read_beside
from lake_assets.lake import Lake, open_lake
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.transforms.quote_placing import QUOTES
from lake_assets.transforms.trade_fold import fills_of_trades
from lake_resources.binance.spot_streams import KLINES_1S, TRADES
from lake_resources.clock import DAY, HOUR, SECOND
from lake_resources.settings import LakeSettings
from lake_tests.support.spot_days import SYMBOL, keep_archive, klines, trades

FIRST = datetime(2025, 11, 29, tzinfo=UTC)
AT = FIRST + 6 * HOUR
NOW = FIRST + 20 * DAY
TRADED = trades(FIRST, DAY)
OFFICIAL = klines(TRADED, FIRST, DAY, SECOND)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    nobody = "http://127.0.0.1:9"
    settings = LakeSettings(
        _env_file=None, root=tmp_path / "lake", exchange="simulator", rest_url=nobody, spot_rest_url=nobody,
        vision_url=nobody, start=FIRST.date(),
    )  # fmt: skip
    opened = replace(open_lake(settings, clock=lambda: NOW), ask_rest=False).of(SPOT_BARS_1S)
    yield opened
    opened.close()


def built(lake: Lake, builder: Builder = SECOND_ROWS, hour: datetime = AT) -> HourResult:
    (day,) = build_partitions(lake, SYMBOL, [hour], builder=builder, now=NOW, report=lambda _: None)
    return day.hours[0]


def hearing(heard: HeardSpot) -> Builder:
    """The builder where a collector heard that."""
    return replace(
        SECOND_ROWS, beside=partial(read_beside, step=SECOND, hearing=lambda _lake, _symbol, _start, _end: heard)
    )


def rows(lake: Lake, hour: datetime = AT) -> pl.DataFrame:
    return pl.read_parquet(lake.catalog.partition_path(SYMBOL, hour))


def check(result: HourResult, name: str) -> dict[str, object] | None:
    return next(({"passed": each.passed, **each.metadata} for each in result.outcomes if each.name == name), None)


def test_the_fold_of_all_trades_equals_every_official_second(lake: Lake) -> None:
    keep_archive(lake, KLINES_1S, FIRST, OFFICIAL)
    keep_archive(lake, TRADES, FIRST, TRADED)
    found = built(lake)
    parity = check(found, "fold_parity")
    assert parity is not None
    assert (parity["passed"], parity["compared"], parity["differing"]) == (True, 3600, 0)
    assert found.sources["klines_1s"].kind == "archive", "what is published comes first"


def test_without_trades_nothing_is_compared_and_nothing_has_passed(lake: Lake) -> None:
    keep_archive(lake, KLINES_1S, FIRST, OFFICIAL)
    assert check(built(lake), "fold_parity") is None


def test_a_second_that_the_exchange_tells_otherwise_is_a_contradiction(lake: Lake) -> None:
    traded = OFFICIAL.filter(pl.col("open_time") >= AT + 77 * SECOND, pl.col("count") > 0)["open_time"][0]
    wrong = pl.col("open_time") == traded
    keep_archive(lake, KLINES_1S, FIRST, OFFICIAL.with_columns(volume=pl.col("volume") + wrong.cast(pl.Float64)))
    keep_archive(lake, TRADES, FIRST, TRADED)
    found = built(lake)
    parity = check(found, "fold_parity")
    assert parity is not None
    assert (parity["passed"], parity["differing"]) == (False, 1)
    held = lake.ledger.partition(SYMBOL, AT)
    assert held is not None
    assert held.verdict == "contradicted"


def test_seconds_that_no_kline_tells_are_taken_from_the_fold(lake: Lake) -> None:
    lost = pl.col("open_time").is_between(AT + 60 * SECOND, AT + 120 * SECOND)
    keep_archive(lake, KLINES_1S, FIRST, OFFICIAL.filter(~lost))
    keep_archive(lake, TRADES, FIRST, TRADED)
    found = built(lake)
    assert (found.status, found.row_count) == ("committed", 3600)
    assert found.sources["klines_1s"].kind == "archive+ws"
    keep_archive(lake, KLINES_1S, FIRST, OFFICIAL)
    again = built(lake)
    assert again.sources["klines_1s"].kind == "archive"
    assert again.content_hash != found.content_hash, "its provenance is in the file"
    assert rows(lake).equals(rows(lake)), "the same rows from either source"


def test_what_was_heard_makes_an_hour_alone_and_nothing_over_an_outage(lake: Lake) -> None:
    outage = (AT + 600 * SECOND, AT + 700 * SECOND)
    heard = HeardSpot(fills_of_trades(TRADED.filter(~pl.col("time").is_between(*outage))))
    found = built(lake, hearing(heard))
    assert found.status == "committed"
    assert found.sources["klines_1s"].kind == "ws"
    made = rows(lake)
    official = OFFICIAL.filter(pl.col("open_time").is_between(AT, AT + HOUR, closed="left"))
    both = made.join(official, left_on="window_start", right_on="open_time", how="inner")
    assert both.height == made.height == found.row_count
    assert both["close"].equals(both["close_right"].alias("close"))
    assert both["volume_quote"].equals(both["quote_volume"].alias("volume_quote"))
    absent = official.join(made, left_on="open_time", right_on="window_start", how="anti")["open_time"]
    assert absent.min() <= outage[0] + 60 * SECOND  # type: ignore[operator]
    assert made.filter(pl.col("window_start").is_between(*outage)).is_empty()
    held = lake.ledger.partition(SYMBOL, AT)
    assert held is not None
    assert held.verdict == "partial"


def test_quotes_are_placed_and_the_hour_keeps_how(lake: Lake) -> None:
    keep_archive(lake, KLINES_1S, FIRST, OFFICIAL)
    quotes = pl.DataFrame(
        [
            (AT + n * SECOND + timedelta(milliseconds=300), 150.0 + n / 100, 1.0, 150.05 + n / 100, 2.0)
            for n in range(1800)
        ],
        schema=QUOTES,
        orient="row",
    )
    offset = timedelta(milliseconds=1400)
    heard = HeardSpot(quotes=quotes, connected=[(AT, AT + 1790 * SECOND)], clock_offset=offset)
    found = built(lake, hearing(heard))
    made = rows(lake)
    assert made["has_quotes"].sum() == 1790
    assert made.filter("has_quotes").select((pl.col("spread") == pl.col("ask") - pl.col("bid")).all()).item()
    assert made["bid"].null_count() == 3600 - 1790
    assert found.sources["live"].detail == {"clock_offset_ms": 1400.0}
    assert check(found, "evidence") == {"passed": True, "verdict": "clean", "reasons": None}
    assert built(lake, hearing(heard)).status == "unchanged"
    other = replace(heard, quotes=quotes.with_columns(bid=pl.col("bid") - 0.01))
    assert built(lake, hearing(other)).status == "committed", "other quotes are other inputs"
