"""Every declared table is whole: it has a builder that is there, checks with a text, an asset, and names of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lake_assets.assets.table_list import TABLE_ASSETS
from lake_assets.build.builder import builder_of
from lake_assets.schema.table import Table
from lake_assets.tables.declared import TABLES, table_named
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import CHECKS, GATE_CHECKS, TRADES_VS_KLINES, outcomes_from_json
from lake_resources.errors import SettingsError

EVERY = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


@EVERY
def test_a_table_names_a_builder_that_is_there(table: Table) -> None:
    if table.streams:
        assert callable(builder_of(table).rows)
    else:
        with pytest.raises(TypeError, match="names no builder"):
            builder_of(table)


def test_a_builder_that_is_none_is_told_with_the_table_that_names_it() -> None:
    with pytest.raises(TypeError, match="which um_minute names as its builder, is a function"):
        builder_of(replace(UM_MINUTE, builder="lake_assets.build.rows:build_rows"))


@EVERY
def test_a_table_has_the_checks_of_the_gate_and_each_says_what_it_asserts_of_it(table: Table) -> None:
    assert set(GATE_CHECKS) <= set(table.checks)
    texts = [table.check_text(check) for check in table.checks.values()]
    assert not [text for text in texts if "{" in text]


def test_texts_of_checks_speak_of_the_rows_of_their_table() -> None:
    assert UM_MINUTE.check_text(CHECKS["continuity"]).startswith("Exactly the expected minutes of the hour")
    assert UM_MINUTE.check_text(CHECKS["required_columns"]) == "No NULL or NaN in the 12 required columns"
    assert SPOT_BARS_1S.check_text(CHECKS["continuity"]).startswith("Exactly the expected seconds of the hour")


def test_outcomes_are_read_with_the_checks_of_the_table() -> None:
    told = f'[{{"name": "{TRADES_VS_KLINES}", "passed": false, "metadata": {{"compared": 1}}}}]'
    assert [each.name for each in outcomes_from_json(told, UM_MINUTE.checks)] == [TRADES_VS_KLINES]
    assert outcomes_from_json(told, SPOT_BARS_1S.checks) == ()


def test_every_declared_table_is_an_asset_and_has_places_of_its_own() -> None:
    # Macro minutes are assets of tickers, not of symbols of a market of the exchange.
    assert [shown.table for shown in TABLE_ASSETS] == [table for table in TABLES.values() if table.streams]
    places = [(table.layout.market, table.layout.directory) for table in TABLES.values()]
    assert len(set(places)) == len(places) == len(TABLES)


@EVERY
def test_a_table_is_found_by_its_name(table: Table) -> None:
    assert table_named(table.name) is table


def test_a_table_is_found_by_its_directory_and_an_unknown_one_is_told() -> None:
    assert table_named("minute") is UM_MINUTE
    assert table_named(" BARS_1S ") is SPOT_BARS_1S
    assert table_named("klines_1m").name == "spot_klines_1m"
    with pytest.raises(SettingsError, match=r"there is no table 'candles'\. One of bars_1s, klines_15m"):
        table_named("candles")
