"""The minute table as declared (case A-1), and what is derived from the declaration."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from lake_assets.schema.known_holes import holes_of, known_holes, parse_holes
from lake_assets.tables.declared import TABLES
from lake_assets.tables.dictionary import PAGES, render
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.errors import SettingsError

CANONICAL_TEXT = """
event_time transact_time arrival_time latency_engine latency_network update_id_start update_id_end timestamp open high
low close vwap_1m micro_price_close volume_btc volume_usdt trade_count avg_trade_size_btc max_trade_size_btc
taker_buy_vol_btc taker_buy_vol_usdt net_taker_vol_btc count_buy_trades count_sell_trades taker_buy_ratio
vol_buy_whale_btc vol_sell_whale_btc vol_buy_retail_btc vol_sell_retail_btc whale_trade_count realized_vol_1m
liq_long_vol_usdt liq_short_vol_usdt liq_long_count liq_short_count liq_avg_fill_price liq_unfilled_ratio
avg_spread_usdt bid_ask_imbalance avg_bid_depth avg_ask_depth spread_pct price_impact_100k oi_contracts oi_value_usdt
top_trader_ls_ratio_acct global_ls_ratio_acct ls_ratio_divergence top_trader_long_pct top_trader_short_pct
mark_price_open mark_price_close index_price_open index_price_close premium_index funding_rate predicted_funding
next_funding_time
"""
CANONICAL = CANONICAL_TEXT.split()
FLAGS_TEXT = """
has_ws_latency has_depth has_liq has_ls_ratio ws_latency_bad liq_unfilled_supported impact_fillable depth_degraded
"""
FLAGS = FLAGS_TEXT.split()
REQUIRED_TEXT = """
timestamp open high low close volume_btc volume_usdt trade_count mark_price_open mark_price_close index_price_open
index_price_close
"""
REQUIRED = REQUIRED_TEXT.split()


def test_a1_58_columns_then_8_flags_in_order() -> None:
    assert (len(CANONICAL), len(FLAGS)) == (58, 8)
    assert UM_MINUTE.canonical == tuple(CANONICAL)
    assert UM_MINUTE.flags == tuple(FLAGS)
    assert UM_MINUTE.names == (*CANONICAL, *FLAGS)
    assert len(set(UM_MINUTE.names)) == 66


def test_a1_support_classes_and_required_set() -> None:
    def classes(names: tuple[str, ...]) -> Counter[str]:
        return Counter(UM_MINUTE.column(name).support_class for name in names)

    assert classes(UM_MINUTE.canonical) == {"HARD_REQUIRED": 12, "BACKFILL_AVAILABLE": 31, "LIVE_ONLY": 15}
    assert classes(UM_MINUTE.names) == {"HARD_REQUIRED": 12, "BACKFILL_AVAILABLE": 32, "LIVE_ONLY": 22}
    assert UM_MINUTE.required == tuple(REQUIRED)


def test_schema_hash_is_stable_and_follows_the_meaning() -> None:
    def changed(**change: object) -> str:
        first, *rest = UM_MINUTE.columns
        return dataclasses.replace(UM_MINUTE, columns=(dataclasses.replace(first, **change), *rest)).schema_hash

    assert UM_MINUTE.schema_hash == "7410ee5f91e3bef90d7fd1927901b38f380ad505a3dbe8228f07f2cdadaa1320"
    assert changed() == UM_MINUTE.schema_hash
    changes = ({"name": "x"}, {"unit": "s"}, {"definition": "x"}, {"fill_policy": "x"}, {"dtype": pl.Float64()})
    hashes = {changed(**change) for change in changes}
    assert len(hashes | {UM_MINUTE.schema_hash}) == 6


def test_only_required_columns_and_never_null_flags_refuse_null() -> None:
    strict = {column.name for column in UM_MINUTE.columns if not column.nullable}
    assert strict == {*REQUIRED, "has_ws_latency", "has_depth", "has_liq", "has_ls_ratio"}


def test_bounds_read_as_a_person_writes_them() -> None:
    names = ("open", "volume_btc", "taker_buy_ratio", "bid_ask_imbalance", "latency_network")
    assert [UM_MINUTE.column(name).bounds.text() for name in names] == ["> 0", "≥ 0", "0..1", "-1..1", ""]


@pytest.mark.parametrize("name", PAGES)
def test_dictionary_page_is_fresh_and_names_every_column(name: str) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / f"data-dictionary{PAGES[name].mark}.md"
    assert page.read_text("utf-8") == render(PAGES[name].table), "run `make docs`"
    rows = [line for line in render(PAGES[name].table).splitlines() if line.startswith("| ") and "| `" in line]
    assert [line.split("`")[1] for line in rows] == list(PAGES[name].table.names)


def test_every_table_has_the_columns_of_a_page_of_the_dictionary() -> None:
    hashes = {page.table.schema_hash for page in PAGES.values()}
    assert {name for name, table in TABLES.items() if table.schema_hash not in hashes} == set()


def test_known_holes_of_the_project_are_whole_minutes_with_a_reference() -> None:
    holes = known_holes()
    assert [(hole.stream, hole.end - hole.start) for hole in holes if not hole.reference] == []
    quiet = holes_of(holes, "ETHUSDT", datetime(2022, 5, 28, 17, tzinfo=UTC), datetime(2022, 5, 28, 18, tzinfo=UTC))
    assert [(hole.start.minute, hole.end.minute) for hole in quiet] == [(39, 15)]


def test_holes_of_another_symbol_or_time_are_left_out() -> None:
    text = "stream,symbol,start,end,cause,reference\nklines_1m,BTCUSDT,2024-08-12T00:05Z,2024-08-12T00:07Z,x,y\n"
    holes = parse_holes(text)
    day, next_day = datetime(2024, 8, 12, tzinfo=UTC), datetime(2024, 8, 13, tzinfo=UTC)
    assert holes_of(holes, "BTCUSDT", day, next_day) == list(holes)
    assert holes_of(holes, "ETHUSDT", day, next_day) == []
    assert holes_of(holes, "BTCUSDT", holes[0].end, next_day) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("klines_1m,*,2024-08-12T00:05:30Z,2024-08-12T00:07Z,x,y", "no whole minute"),
        ("klines_1m,*,2024-08-12T00:07Z,2024-08-12T00:07Z,x,y", "not before end"),
        ("klines_1m,*,yesterday,2024-08-12T00:07Z,x,y", "yesterday"),
        ("klines_1m,*,2024-08-12T00:05Z,2024-08-12T00:07Z,,y", "an empty field"),
    ],
)
def test_a_bad_hole_is_refused_with_its_line(line: str, found: str) -> None:
    with pytest.raises(SettingsError, match=f"line 2.*{found}"):
        parse_holes(f"stream,symbol,start,end,cause,reference\n{line}\n")


def test_a_file_of_other_columns_is_refused() -> None:
    with pytest.raises(SettingsError, match="header"):
        parse_holes("a,b\n1,2\n")
