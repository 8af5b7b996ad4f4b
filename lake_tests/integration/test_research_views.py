"""The research views over a lake with planted defects: names, columns, values, UTC, and every query of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.assets.research import RESEARCH_KEY, build_research_asset
from lake_assets.cli.commands_research import app
from lake_assets.lake import open_lake
from lake_assets.reading import load
from lake_assets.research.views_file import VIEWS, remake_views_file, views_path, write_views
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, HOUR, MINUTE
from lake_resources.errors import SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.root import claim_root
from lake_tests.support import holed_lake as holed
from lake_tests.support import research_lake as planted
from lake_tests.support.opener import Opener
from lake_tests.support.sound_hours import FIRST, NOW, SYMBOL

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "research.md"
SQL = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
DOCUMENT = {
    "bars_1s": "exchange symbol ts open high low close volume_base volume_quote trade_count vwap bid ask spread",
    "bars_1m": "exchange symbol ts open high low close volume_base volume_quote trade_count vwap bid ask spread",
    "klines_1m": "exchange symbol ts open high low close volume_base volume_quote trade_count taker_buy_base"
    " taker_buy_quote",
    "compare_our_vs_kline_1m": "exchange symbol ts our_open kline_open open_diff our_high kline_high high_diff our_low"
    " kline_low low_diff our_close kline_close close_diff our_volume kline_volume volume_diff_abs volume_diff_bps",
    "funding_oi_hourly": "exchange symbol ts funding_rate open_interest oi_usd",
    "macro_minute": "ticker ts open high low close volume",
    "dxy_synthetic_minute": "ticker ts open high low close volume",
}
"""The document's seven views, with its columns first."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LakeSettings:
    found = planted.research_lake(tmp_path_factory.mktemp("research") / "lake")
    write_views(found, now=NOW)
    return found


@pytest.fixture(scope="module", params=["UTC", "America/New_York"])
def views(settings: LakeSettings, request: pytest.FixtureRequest) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file, opened by a reader whose session is in a time zone."""
    with duckdb.connect(str(views_path(settings)), read_only=True) as connection:
        connection.execute(f"SET TimeZone = '{request.param}'")
        yield connection


def frame(connection: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    found = pl.from_arrow(connection.sql(query).to_arrow_table())
    assert isinstance(found, pl.DataFrame)
    return found


def naive(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None)


def columns(connection: duckdb.DuckDBPyConnection, view: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {view}").fetchall()}


def test_the_documents_views_have_its_columns(views: duckdb.DuckDBPyConnection) -> None:
    for view, named in DOCUMENT.items():
        found = columns(views, view)
        assert list(found)[: len(named.split())] == named.split(), view
        assert found["ts"] == "TIMESTAMP", "UTC whatever the session's zone"
    for view in VIEWS:
        assert frame(views, f"SELECT count(*) AS n FROM {view}")["n"][0] > 0, view


def test_seconds_are_those_of_the_lake_in_utc(views: duckdb.DuckDBPyConnection, settings: LakeSettings) -> None:
    first, last = frame(views, "SELECT min(ts) AS a, max(ts) AS b FROM bars_1s").row(0)
    assert (first, last) == (naive(FIRST), naive(FIRST + planted.SECONDS_HOURS * HOUR - planted.SECOND))
    there = frame(views, "SELECT count(*) AS n FROM bars_1s WHERE ts < TIMESTAMP '2026-01-15T01:00:00Z'")
    assert there["n"][0] == 3600
    assert frame(views, "SELECT DISTINCT CAST(ts AS DATE) AS day FROM bars_1s")["day"].to_list() == [FIRST.date()]
    assert columns(views, "bars_1s_traded") == columns(views, "bars_1s")
    rows = load(
        planted.SPOT, FIRST, FIRST + HOUR, table=SPOT_BARS_1S, settings=settings, clock=lambda: NOW
    ).frame.collect()
    traded = frame(views, "SELECT count(*) AS n FROM bars_1s_traded WHERE ts < TIMESTAMP '2026-01-15 01:00'")["n"][0]
    assert traded == rows.filter("has_trades").height


@pytest.mark.parametrize(
    "view", ["bars_1s", "bars_1s_traded", "bars_1m", "minute", "funding_oi_hourly", "klines_1m", "macro_minute"]
)
def test_a_filter_on_ts_reads_only_the_files_parts_that_it_asks_for(
    views: duckdb.DuckDBPyConnection, view: str
) -> None:
    """Years of seconds are read in a moment where one hour of them is asked for."""

    def scanned(where: str) -> tuple[int, int]:
        query = f"EXPLAIN ANALYZE SELECT count(DISTINCT ts), min(ts) FROM {view} WHERE {where}"
        plan = views.sql(query).fetchall()[0][1]
        groups = re.findall(r"Row Groups Scanned: (\d+) / (\d+)", plan)
        # A file that cannot have such a row may be left out of the plan altogether.
        return sum(int(read) for read, _ in groups), sum(int(there) for _, there in groups)

    read, there = scanned("true")
    assert read == there > 0
    none, _ = scanned("ts >= TIMESTAMP '2031-01-01' AND ts < TIMESTAMP '2031-01-02'")
    assert none == 0
    first = views.sql(f"SELECT min(ts) FROM {view}").fetchall()[0][0]
    some, _ = scanned(f"ts = TIMESTAMP '{first}'")
    assert 0 < some <= there
    if view.startswith("bars_1"):
        assert some == 1, "the seconds of an hour are one part of a file"


def test_minutes_are_the_roll_up_of_the_lake(views: duckdb.DuckDBPyConnection, settings: LakeSettings) -> None:
    end = FIRST + planted.SECONDS_HOURS * HOUR
    expected = load(
        planted.SPOT, FIRST, end, table=SPOT_BARS_1S, timeframe="1m", settings=settings, clock=lambda: NOW
    ).frame.collect()
    found = frame(views, "SELECT * FROM bars_1m ORDER BY ts")
    for name in ("open", "high", "low", "close", "volume_base", "volume_quote", "trade_count", "vwap", "bid"):
        assert found[name].equals(expected[name], check_names=False), name
    assert found["complete"].equals(expected["complete"], check_names=False)
    assert found["bar_count"].to_list() == expected["seconds"].to_list()
    (partial,) = found.filter(~pl.col("complete")).rows(named=True)
    assert (partial["ts"], partial["bar_count"]) == (naive(FIRST + HOUR + MINUTE), 55)
    assert partial["coverage"] == 55 / 60


def test_a_minute_that_one_side_lacks_is_a_row(views: duckdb.DuckDBPyConnection) -> None:
    found = frame(views, "SELECT * FROM compare_our_vs_kline_1m ORDER BY ts")
    assert found.height == found["ts"].n_unique() == 1440
    minutes = 60 * planted.SECONDS_HOURS
    assert dict(found["present_in"].value_counts().iter_rows()) == {"both": minutes, "klines": 1440 - minutes}
    both = found.filter(present_in="both", our_complete=True)
    assert both.height == minutes - 1
    assert both.select(pl.col("open_diff", "high_diff", "low_diff", "close_diff").abs().sum()).row(0) == (0, 0, 0, 0)
    assert both["volume_diff_bps"].max() == 0
    only = found.filter(present_in="klines")
    assert only["our_open"].null_count() == only.height
    assert only["kline_open"].null_count() == 0


def test_funding_and_open_interest_are_known_at_the_end_of_the_hour(
    views: duckdb.DuckDBPyConnection, settings: LakeSettings
) -> None:
    found = frame(views, "SELECT * FROM funding_oi_hourly ORDER BY ts")
    assert found.height == holed.HOURS - 2
    assert set(found["exchange"]) == {"binance_futures"}
    expected = load(SYMBOL, FIRST, holed.END, timeframe="1h", settings=settings, clock=lambda: NOW).frame.collect()
    for name, source in (("funding_rate", "funding_rate"), ("open_interest", "oi_contracts"), ("minutes", "minutes")):
        assert found[name].to_list() == expected[source].to_list()
    assert list(columns(views, "minute"))[:6] == ["symbol", "ts", "year", "month", "day", "hour"]
    assert set(UM_MINUTE.names) < set(columns(views, "minute"))


def test_the_dollar_index_is_that_of_ice(views: duckdb.DuckDBPyConnection) -> None:
    found = frame(views, "SELECT * FROM dxy_synthetic_minute ORDER BY ts")
    assert found.height == planted.MACRO_MINUTES
    assert set(found["ticker"]) == {"DXY_SYN"}
    exponents = {
        "EURUSD=X": -0.576, "USDJPY=X": 0.136, "GBPUSD=X": -0.119, "USDCAD=X": 0.091, "USDSEK=X": 0.042,
        "USDCHF=X": 0.036,
    }  # fmt: skip
    index = 50.14348112
    for ticker, exponent in exponents.items():
        index *= planted.PRICES[ticker] ** exponent
    assert found["open"][0] == pytest.approx(index, rel=1e-12)
    without = found.filter(components=5).row(0, named=True)
    assert (without["ts"], without["missing"]) == (naive(planted.NO_KRONA), "USDSEK=X")
    assert [without[name] for name in ("open", "high", "low", "close")] == [None] * 4
    whole = found.filter(components=6)
    assert whole.height == planted.MACRO_MINUTES - 1
    assert whole.filter(pl.col("high") > pl.max_horizontal("open", "close")).height == whole.height
    assert whole.filter(pl.col("low") < pl.min_horizontal("open", "close")).height == whole.height
    assert whole["is_final"].to_list() == [True] * (whole.height - 1) + [False]


def test_quality_is_a_row_per_symbol_table_and_hour(views: duckdb.DuckDBPyConnection) -> None:
    found = frame(views, 'SELECT * FROM quality ORDER BY "table", symbol, ts')
    assert found.select("symbol", "table", "ts").is_unique().all()
    assert set(found["table"]) == {"um_minute", "spot_bars_1s", "spot_klines_1m", "macro_minute"}
    minutes = found.filter(table="um_minute", symbol=SYMBOL)
    of = {row["ts"]: row for row in minutes.iter_rows(named=True)}
    assert (of[naive(holed.ABSENT)]["verdict"], of[naive(holed.ABSENT)]["coverage"]) == ("absent", 0)
    assert of[naive(holed.ABSENT)]["unexplained_rows"] == 60
    known = of[naive(holed.EXPLAINED)]
    assert (known["verdict"], known["reason"], known["explained_rows"]) == ("explained", "the exchange halted", 60)
    assert (of[naive(FIRST)]["coverage"], of[naive(FIRST)]["rows"]) == (1, 60)
    assert "klines_1m=archive" in of[naive(FIRST)]["sources"]
    seconds = found.filter(table="spot_bars_1s").row(1, named=True)
    assert (seconds["verdict"], seconds["rows"], seconds["expected_rows"]) == ("partial", 3595, 3600)
    day = found.filter(table="spot_klines_1m").filter(pl.col("ts").dt.date() == FIRST.date())
    assert day.height == 24
    assert day["coverage"].to_list() == [1.0] * 24
    macro = found.filter(table="macro_minute", symbol="USDSEK_3DX", ts=naive(FIRST + 14 * HOUR))
    assert macro["rows"].to_list() == [planted.MACRO_MINUTES - 1]


def test_an_hour_of_the_view_is_what_a_certificate_says(settings: LakeSettings) -> None:
    with duckdb.connect(str(views_path(settings)), read_only=True) as connection:
        found = frame(connection, "SELECT * FROM quality WHERE symbol = 'SOLUSDT'")
    asked = {"spot_bars_1s": FIRST + HOUR, "spot_klines_1m": FIRST + 5 * HOUR}
    for table, at in asked.items():
        certificate = load(planted.SPOT, at, at + HOUR, table=table, settings=settings, clock=lambda: NOW).certificate
        (row,) = found.filter(table=table, ts=naive(at)).iter_rows(named=True)
        assert row["rows"] == certificate.present_rows
        assert row["expected_rows"] == certificate.expected_rows


@pytest.mark.parametrize("query", SQL)
def test_every_query_of_the_page_has_an_answer(views: duckdb.DuckDBPyConnection, query: str) -> None:
    statements = duckdb.extract_statements(query)
    assert statements
    for statement in statements:
        assert frame(views, statement.query).height > 0


def test_the_page_has_a_query_for_each_view() -> None:
    text = " ".join(SQL)
    assert [view for view in VIEWS if not re.search(rf"\b{view}\b", text)] == []


def test_a_lake_without_rows_has_all_views_with_their_columns(settings: LakeSettings, tmp_path: Path) -> None:
    root = tmp_path / "empty"
    empty = LakeSettings(_env_file=None, root=root, exchange="simulator")
    with pytest.raises(SettingsError, match="no lake"):
        write_views(empty, now=NOW)
    assert not root.exists()
    claim_root(root, "simulator")
    assert remake_views_file(empty, now=NOW) == ""
    assert not views_path(empty).exists(), "it is made by who wants it"
    written = write_views(empty, now=NOW)
    assert set(written.files.values()) == {0}
    with (
        duckdb.connect(str(written.path), read_only=True) as none,
        duckdb.connect(str(views_path(settings)), read_only=True) as full,
    ):
        for view in VIEWS:
            assert columns(none, view) == columns(full, view), view
            assert frame(none, f"SELECT * FROM {view}").is_empty()


def test_the_file_is_replaced_in_one_step_and_not_for_writing(settings: LakeSettings, tmp_path: Path) -> None:
    path = tmp_path / "views.duckdb"
    write_views(settings, now=NOW, path=path)
    assert path.stat().st_mode & 0o222 == 0
    with duckdb.connect(str(path), read_only=True) as reader:
        before, inode = frame(reader, "SELECT count(*) AS n FROM quality")["n"][0], path.stat().st_ino
        write_views(settings, now=NOW + DAY, path=path)
        assert path.stat().st_ino != inode
        assert frame(reader, "SELECT count(*) AS n FROM quality")["n"][0] == before, "who reads keeps what was there"
    assert {each.name for each in tmp_path.iterdir()} == {path.name, f".{path.name}.lock"}


def test_a_partition_that_does_not_read_leaves_the_old_file(tmp_path: Path) -> None:
    found = holed.holed_lake(tmp_path / "lake").settings
    path = write_views(found, now=NOW).path
    before = path.read_bytes()
    for file in (tmp_path / "lake" / "futures").rglob("*.parquet"):
        file.write_bytes(b"torn")
    with pytest.raises(StorageError, match="lake audit"):
        write_views(found, now=NOW)
    assert "as old as before" in remake_views_file(found, now=NOW)
    assert path.read_bytes() == before


def test_dagster_and_the_command_write_it(settings: LakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    result = dg.materialize(
        [build_research_asset(settings, [])],
        resources={"lake": Opener(lambda: open_lake(settings, clock=lambda: NOW + timedelta(hours=1)))},
    )
    (event,) = result.get_asset_materialization_events()
    assert event.asset_key == RESEARCH_KEY
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["um_minute_files"].value == holed.HOURS - 2
    assert "`bars_1m`" in str(metadata["views"].value)
    monkeypatch.setenv("LAKE_ROOT", str(settings.lake_root))
    monkeypatch.setenv("LAKE_EXCHANGE", "simulator")
    told = CliRunner().invoke(app, [])
    assert told.exit_code == 0, told.output
    assert "11 views" in " ".join(told.output.split())
