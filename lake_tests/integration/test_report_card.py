"""The report card of a month: its numbers, its page, its picture, its asset."""

import io
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from PIL import Image

from lake_assets.assets.report_card import build_report_card_asset, report_card_key
from lake_assets.lake import open_lake
from lake_assets.quality.month_card import month_window, picture, render, report_card, write_report_card
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR, MINUTE
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition
from lake_resources.storage.compaction import Period, compact
from lake_resources.storage.ledger.ledger import Revision
from lake_resources.storage.root import claim_root
from lake_tests.support.minute_hours import SYMBOL, candidate, clock, lake
from lake_tests.support.opener import Opener

pytestmark = pytest.mark.slow

MONTH = datetime(2026, 2, 1, tzinfo=UTC)
AFTER = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def here(tmp_path):
    root = tmp_path / "lake"
    root.mkdir()
    claim_root(root, "simulator")
    store = lake(root)
    yield store
    store.ledger.close()


def commit(here, first, count, **given):
    checks = '[{"name":"ohlc","passed":true,"metadata":{}}]'
    kinds = dict.fromkeys(UM_MINUTE.uses, "archive") | {"book_ticker": "none"}
    hours = [candidate(MONTH + n * HOUR, kinds=kinds, **given) for n in range(first, first + count)]
    commit_partitions(here, SYMBOL, [type(h)(**(vars(h) | {"checks": checks})) for h in hours], clock=clock)


def card(here, now=AFTER):
    return report_card(here, SYMBOL, MONTH + timedelta(days=9), now=now, lag_minutes=3)


def test_a_whole_month_is_clean(here):
    commit(here, 0, 672)
    found = card(here)
    assert (found.verdict, set(found.cells), len(found.cells)) == ("CLEAN", {"whole"}, 672)
    assert found.checks["ohlc"] == {"passed": 672}
    assert found.files == {"month": 0, "day": 0, "hour": 672}
    page = render(found, "picture.png")
    assert "# BTCUSDT, February 2026: CLEAN" in page
    assert "40,320 of 40,320 minutes (100.00 %)" in page
    assert "| klines_1m | 40,320 | 0 | 0 | 0 | 0 | 100.00 % |" in page


def test_planted_defects_are_on_the_page(here):
    hole = MONTH + 50 * HOUR + 30 * MINUTE
    here.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, hole, hole + 30 * MINUTE, "halt", "issue 1"))
    commit(here, 0, 50)
    commit(here, 50, 1, rows=30)
    commit(here, 51, 100)
    quarantine_partition(here, SYMBOL, Rejection(MONTH + 151 * HOUR, None, ["ohlc"], "low above close"), clock=clock)
    commit(here, 152, 520)
    revision = Revision(SYMBOL, "agg_trades", MONTH, "price#123", "rest", "archive", 1.0, 2.0, AFTER)
    here.ledger.record_revisions([revision])
    found = card(here)
    assert found.verdict == "LOOK"
    assert (found.cells[50], found.cells[151]) == ("explained", "lacking")
    assert (found.certificate.unexplained_rows, found.certificate.missing_rows) == (60, 90)
    page = render(found, "p.png")
    for line in (
        "| halt | 1 | 30 | issue 1 |",
        "| hour in quarantine: ohlc | 1 | 60 | unexplained |",
        "| agg_trades | price | 1 |",
        "- 2026-02-07 07:00: ohlc: low above close",
        "40,230 of 40,320 minutes (99.77 %)",
    ):
        assert line in page, line


def test_an_hour_that_a_known_hole_explains_is_not_held_against_the_month(here):
    hour = MONTH + 50 * HOUR
    commit(here, 0, 50)
    commit(here, 51, 621)
    quarantine_partition(here, SYMBOL, Rejection(hour, None, ["source_missing"], "none"), clock=clock)
    assert card(here).verdict == "LOOK"
    here.ledger.declare_hole(KnownHole("klines_1m", SYMBOL, hour, hour + HOUR, "halt", "issue 1"))
    found = card(here)
    assert (found.verdict, found.rejected, found.cells[50]) == ("CLEAN", (), "explained")


def test_the_open_month_expects_what_is_closed(here):
    commit(here, 0, 10)
    found = card(here, MONTH + 10 * HOUR + 3 * MINUTE)
    assert (found.verdict, found.cells.count("whole"), found.cells.count("not expected")) == ("OPEN", 10, 662)
    assert "Expected up to 2026-02-01 10:00 UTC" in render(found, "p.png")


def test_the_picture_has_a_cell_per_hour(here):
    commit(here, 0, 24 * 28 - 1)
    image = Image.open(io.BytesIO(picture(card(here)))).convert("RGB")
    assert image.size == (24 * 14, 28 * 8)
    assert image.getpixel((3, 3)) == (72, 150, 92)
    assert image.getpixel((23 * 14 + 3, 27 * 8 + 3)) == (196, 64, 56)


def test_the_same_month_gives_the_same_files_also_compacted(here):
    commit(here, 0, 672)
    path = write_report_card(here.catalog, card(here))
    first = path.read_bytes(), path.with_suffix(".png").read_bytes()
    assert write_report_card(here.catalog, card(here)) == path
    assert (path.read_bytes(), path.with_suffix(".png").read_bytes()) == first
    assert len(list(path.parent.iterdir())) == 2
    window = month_window(MONTH)
    compact(here, Period(SYMBOL, "month", *window), here.ledger.partition_files(SYMBOL, *window), clock=clock)
    assert card(here).files == {"month": 1, "day": 0, "hour": 0}
    assert card(here).certificate == report_card(here, SYMBOL, MONTH, now=AFTER, lag_minutes=3).certificate


def test_months_are_calendar_months():
    assert month_window(datetime(2026, 12, 31, 23, tzinfo=UTC)) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def settings(here, monkeypatch):
    for name, value in {"ROOT": here.catalog.root, "SYMBOLS": SYMBOL, "START": "2026-01-15"}.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    return LakeSettings()


def test_the_asset_shows_the_page(here, settings):
    commit(here, 0, 672)

    asset = build_report_card_asset(SYMBOL, settings)
    result = dg.materialize(
        [asset],
        partition_key="2026-02-01",
        resources={"lake": Opener(lambda: open_lake(settings, clock=lambda: AFTER))},
    )
    (event,) = result.asset_materializations_for_node(asset.op.name)
    assert event.asset_key == report_card_key(SYMBOL)
    assert event.metadata["verdict"].value == "CLEAN"
    assert "data:image/png;base64," in event.metadata["report"].value
    assert here.catalog.report_path(SYMBOL, MONTH).is_file()
