"""Every page of the dashboard over a lake with holes, an empty one, a damaged one and none: a sentence at worst."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lake_resources.storage.root import claim_root
from lake_tests.support.holed_lake import holed_lake

PAGES = {
    "chart": "from lake_assets.dashboard.chart_page import show; show()",
    "quality": "from lake_assets.dashboard.quality_page import show; show()",
    "parity": "from lake_assets.dashboard.parity_page import show; show()",
    "feed": "from lake_assets.dashboard.feed_page import show_feed; show_feed()",
    "slices": "from lake_assets.dashboard.feed_page import show_slices; show_slices()",
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run(page: str, **state: object) -> AppTest:
    shown = AppTest.from_string(PAGES[page], default_timeout=120)
    for key, value in state.items():
        shown.session_state[key] = value
    shown.run()
    assert not shown.exception, shown.exception
    return shown


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


def test_a_window_with_a_hole(lake: Path) -> None:
    holed_lake(lake)
    window = {"window": "from … to …", "from": "2026-01-15", "to": "2026-01-16"}
    shown = run("chart", **window)
    assert [each.value for each in shown.metric] == ["95.83 %", "1,380", "60", "0", "1m"]
    assert not texts(shown)
    shown.selectbox(key="timeframe").set_value("1h").run()
    assert not shown.exception
    assert shown.metric[-1].value == "1h"
    assert "ends before it begins" in texts(run("chart", **window | {"to": "2026-01-14"}))
    assert "banana" in texts(run("chart", **window | {"to": "banana"}))
    quality = run("quality", span="1 year")
    assert [each.value for each in quality.metric[1:3]][1] == "1", "one value was revised"
    assert quality.title[0].value == "Quality of the minute table"
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
    if page != "feed":
        assert "ledger" in texts(run(page))
