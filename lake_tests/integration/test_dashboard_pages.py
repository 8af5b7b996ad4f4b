"""Every page of the dashboard over a lake with holes, an empty one, a damaged one and none: a sentence at worst."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import pytest

from lake_assets.dashboard.slice_states import certificate_of
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceRows, SliceSet
from lake_resources.storage.root import claim_root
from lake_tests.support.holed_lake import holed_lake
from lake_tests.support.research_lake import FEED_ROWS, MACRO_MINUTES, PRICES, research_lake

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

PAGES = {
    "chart": "from lake_assets.dashboard.chart_page import show; show()",
    "quality": "from lake_assets.dashboard.quality_page import show; show()",
    "parity": "from lake_assets.dashboard.parity_page import show; show()",
    "feed": "from lake_assets.dashboard.feed_page import show; show()",
    "slices": "from lake_assets.dashboard.slices_page import show; show()",
    "macro": "from lake_assets.dashboard.macro_page import show; show()",
}
WINDOW = {"window": "from … to …", "from": "2026-01-15", "to": "2026-01-16"}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def run(page: str, **state: object) -> AppTest:
    # Its import is seconds of work, which only the worker that has this file need do.
    from streamlit.testing.v1 import AppTest

    shown = AppTest.from_string(PAGES[page], default_timeout=120)
    for key, value in state.items():
        shown.session_state[key] = value
    shown.run()
    assert not shown.exception, shown.exception
    return shown


def buttons(shown: AppTest) -> list[str]:
    """Of files to take along, by what stands on them."""
    return [each.label for each in shown.download_button]


def texts(shown: AppTest) -> str:
    return " ".join(str(each.value) for each in (*shown.error, *shown.info))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "lake"
    monkeypatch.setenv("LAKE_ROOT", str(root))
    monkeypatch.setenv("LAKE_EXCHANGE", "simulator")
    monkeypatch.setenv("LAKE_START", "2026-01-15")
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of two days with holes, which nobody changes."""
    root = tmp_path_factory.mktemp("holed") / "lake"
    holed_lake(root)
    return root


@pytest.fixture
def holed(lake: Path, made: Path) -> Path:
    """A copy of them as the lake."""
    copytree(made, lake)
    return lake


@pytest.mark.usefixtures("holed")
def test_a_window_with_a_hole() -> None:
    shown = run("chart", **WINDOW)
    assert [each.value for each in shown.metric] == ["95.83 %", "1,380", "60", "0", "1m"]
    assert not texts(shown)
    shown.selectbox(key="timeframe").set_value("1h").run()
    assert not shown.exception
    assert shown.metric[-1].value == "1h"
    assert "ends before it begins" in texts(run("chart", **WINDOW | {"to": "2026-01-14"}))
    assert "banana" in texts(run("chart", **WINDOW | {"to": "banana"}))
    assert shown.multiselect[0].value == ["mark_price_close", "funding_rate", "oi_contracts"]
    quality = run("quality", span="1 year")
    assert [each.value for each in quality.metric[1:3]][1] == "1", "one value was revised"
    assert quality.title[0].value == "Quality of the minute table"
    assert "No heartbeat" in texts(quality)
    causes = next(each.value for each in quality.dataframe if "cause" in each.value.columns)
    assert causes["explained"].tolist() == [False, True]
    assert causes["cause"].tolist()[1] == "the exchange halted"
    parity = run("parity", instant="2026-01-15T00:07")
    assert "0 of" in parity.markdown[0].value
    assert "Nobody has said anything" in texts(run("parity", instant="2026-01-15T07:00"))


@pytest.mark.parametrize("page", PAGES)
def test_no_lake_is_a_sentence(lake: Path, page: str) -> None:
    assert str(lake) in texts(run(page))
    assert not lake.exists(), "a look creates nothing"


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_and_a_damaged_lake_are_sentences(lake: Path, page: str) -> None:
    claim_root(lake, "simulator")
    assert " yet: " in texts(run(page))
    (lake / "ledger.sqlite").write_bytes(b"no ledger at all" * 4096)
    feed = lake / "feed" / "ohlcv_readonly.duckdb"
    feed.parent.mkdir(exist_ok=True)
    feed.write_bytes(b"no table at all" * 4096)
    (lake / "slices").mkdir(exist_ok=True)
    (lake / "slices" / "ledger.sqlite").write_bytes(b"no ledger at all" * 4096)
    assert {"feed": "ohlcv"}.get(page, "ledger") in texts(run(page))


@pytest.mark.parametrize("page", ["chart", "quality", "parity"])
def test_a_file_that_does_not_read_is_a_sentence(holed: Path, page: str) -> None:
    for file in (holed / "futures").rglob("hour=05/part.parquet"):
        file.write_bytes(b"torn")
    at = {"chart": WINDOW, "parity": {"instant": "2026-01-15T05:07"}, "quality": {"span": "2 weeks"}}[page]
    shown = run(page, **at)
    if page == "quality":
        assert not shown.error, "it asks the ledger alone, and says what that says"
        assert shown.metric
    else:
        assert "lake audit" in texts(shown)


@pytest.mark.parametrize("page", ["chart", "quality", "parity", "macro"])
def test_a_lake_that_is_being_written_is_shown(holed: Path, page: str) -> None:
    with closing(sqlite3.connect(holed / "ledger.sqlite")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert not run(page, **WINDOW, span="2 weeks").error
        writer.execute("ROLLBACK")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a lake with rows in every table."""
    root = tmp_path_factory.mktemp("whole") / "lake"
    research_lake(root)
    return root


@pytest.fixture
def at_noon(whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """That lake, looked at on the day of its rows."""
    for name, value in (("LAKE_ROOT", str(whole)), ("LAKE_EXCHANGE", "simulator"), ("LAKE_START", "2026-01-15")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    moment = datetime(2026, 1, 15, 18, tzinfo=UTC)
    for page in ("macro_page", "quality_page", "chart_page"):
        monkeypatch.setattr(f"lake_assets.dashboard.{page}.now", lambda: moment)
    return whole


def test_macro_tickers_at_a_glance_and_one_closely(at_noon: Path) -> None:
    del at_noon
    shown = run("macro", **{"macro-ticker": "USDSEK_3DX"})
    assert not texts(shown)
    overview = shown.dataframe[0].value
    assert set(overview["ticker"]) == set(PRICES)
    of = overview.set_index("ticker")
    assert of.loc["EURUSD=X", "minutes"] == 10
    assert of.loc["USDSEK=X", "minutes"] == 9
    assert not of.loc["EURUSD=X", "final"], "its newest minute was running when it was asked for"
    assert [each.value for each in shown.subheader[:2]] == ["Dollar index", "USDSEK=X"]
    figures = {each.label: each.value for each in shown.metric}
    powers = {
        "EURUSD=X": -0.576, "USDJPY=X": 0.136, "GBPUSD=X": -0.119, "USDCAD=X": 0.091, "USDSEK=X": 0.042,
        "USDCHF=X": 0.036,
    }  # fmt: skip
    last = {ticker: price + (MACRO_MINUTES - 1) / 1e4 + 1e-4 for ticker, price in PRICES.items()}
    index = 50.14348112 * math.prod(last[ticker] ** power for ticker, power in powers.items())
    assert figures["Index"] == f"{index:.3f}"
    assert (figures["Minutes with all six"], figures["Minutes without"]) == ("9", "1")
    holes = shown.dataframe[1].value
    assert 1 in holes["minutes"].tolist(), "the minute without a price"


def test_the_feed_is_shown_with_what_it_is_worth(at_noon: Path) -> None:
    del at_noon
    shown = run("feed", **{"kept-refresh": "15 s"})
    assert shown.selectbox(key="refresh").value == "15 s", "it was chosen on another page"
    assert shown.metric[0].value == str(FEED_ROWS)
    assert shown.metric[1].value == "100.0 %"
    assert len(shown.dataframe[0].value) == FEED_ROWS


def test_slices_are_told_set_by_set_with_what_they_are_worth(lake: Path) -> None:
    claim_root(lake, "simulator")
    rows = SliceRows(LakeSettings().resolved_slices_ledger_url)
    (lake / "slices").mkdir()
    klines, trades = SliceSet("klines", "BTCUSDT", "1m"), SliceSet("aggTrades", "ETHUSDT", "id")
    whole = SliceRow(1_768_435_200_000, 1000, "ok", "closed", path="a.json", sha256="a" * 64, n_items=1000)
    torn = SliceRow(1_768_495_200_000, 1000, "partial", "gap", n_items=997, missing="1768495260000")
    rows.put_slices(klines, [whole, torn])
    rows.put_slices(trades, [SliceRow(5000, 1000, "pending", "new")])
    rows.close()
    shown = run("slices")
    overview = shown.dataframe[0].value.set_index("symbol")
    assert overview.loc["BTCUSDT", "complete %"] == 50.0
    assert overview.loc["BTCUSDT", ["slices", "ok", "partial", "pending"]].tolist() == [2, 1, 1, 0]
    shown.selectbox(key="slice-set").set_value(klines).run()
    assert [each.value for each in shown.metric] == ["50.0 %", "2", "1", "1,997"]
    lacking = shown.dataframe[1].value
    assert lacking["start"].tolist() == [datetime(2026, 1, 15, 16, 40, tzinfo=UTC)]
    assert buttons(shown) == ["CSV", "Parquet", "Certificate"]
    worth = certificate_of(klines, [whole, torn])
    assert (worth["expected_slices"], worth["complete_slices"], worth["completeness_pct"]) == (2, 1, 50.0)
    assert [each["missing"] for each in worth["not_complete"]] == ["1768495260000"]
    shown.selectbox(key="slice-set").set_value(trades).run()
    assert shown.dataframe[1].value["first_id"].tolist() == [5000], "an id is no time"


@pytest.mark.parametrize("page", ["chart", "quality", "parity", "feed", "macro"])
def test_what_is_seen_can_be_taken_along_with_its_certificate(at_noon: Path, page: str) -> None:
    del at_noon
    shown = run(page, **WINDOW, instant="2026-01-15T02:01", table="um_minute")
    assert set(buttons(shown)) == {"CSV", "Parquet", "Certificate"}
    assert shown.selectbox(key="refresh").value == "1 min"


def test_quality_counts_checks_and_tells_what_the_watchdog_said(at_noon: Path) -> None:
    beat = {
        "ts_utc": "2026-01-15T17:59:30+00:00",
        "problems": ["late: klines_1m of BTCUSDT for 2026-01-14 is not published", "disk"],
        "collector": {"status": "running", "last_latency_p50_ms": 41.0, "last_seen_ts": "2026-01-15T17:59:29+00:00"},
    }
    path = at_noon / "logs" / "health" / "heartbeat.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("torn", encoding="utf-8")
    assert "No heartbeat" in texts(run("quality", table="spot_bars_1s"))
    path.write_text(json.dumps(beat), encoding="utf-8")
    shown = run("quality", table="spot_bars_1s")
    assert not texts(shown)
    frames = [each.value for each in shown.dataframe]
    checks = next(frame for frame in frames if "check" in frame.columns).set_index("check")
    assert checks.loc["schema", "passed"] == 3
    assert checks.loc["evidence", "failed"] == 1
    assert "2026-01-15T01" in checks.loc["evidence", "last failure"]
    fresh = next(frame for frame in frames if "minutes ago" in frame.columns)
    assert fresh["minutes ago"].tolist() == [15 * 60]
    latency = next(frame for frame in frames if "p50 ms" in frame.columns)
    assert latency["p50 ms"].tolist() == [41.0]
    late = next(frame for frame in frames if "archive" in frame.columns)
    assert late["archive"].tolist() == ["klines_1m of BTCUSDT for 2026-01-14 is not published"]
    assert any("30 s ago" in each.value for each in shown.caption)


@pytest.mark.parametrize("table", ["spot_bars_1s", "spot_klines_1m", "macro_minute"])
def test_every_page_shows_every_table(at_noon: Path, table: str) -> None:
    del at_noon
    chart = run("chart", table=table, **WINDOW)
    assert not texts(chart)
    assert chart.multiselect[0].value == (["spread"] if table == "spot_bars_1s" else [])
    assert int(chart.metric[1].value.replace(",", "")) > 0
    parity = run("parity", table=table, instant="2026-01-15T14:01" if table == "macro_minute" else "2026-01-15T02:01")
    assert not texts(parity)
    assert "0 of" in parity.markdown[0].value
