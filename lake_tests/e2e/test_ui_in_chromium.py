"""A person materializes one partition in the web UI. Needs Debian's chromium; skips without it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from lake_assets.dagster_names import hour_key
from lake_assets.metadata import minute_key
from lake_tests.e2e.conftest import Journey
from lake_tests.support.chromium import QUIET

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: Debian's package `chromium` provides it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(240_000)
        yield page
        browser.close()


def test_one_partition_by_hand(journey: Journey, page: Page, tmp_path: Path) -> None:
    hour = (journey.lake.clock() - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    partition = hour_key(hour)
    address = f"{journey.stack.address}/assets/um/BTCUSDT/minute"

    page.goto(f"{address}?view=overview")
    page.get_by_text("One row per minute of BTCUSDT").wait_for()
    page.get_by_text("kline open, verbatim").wait_for()
    tour = page.get_by_text("Skip tour")
    if tour.count():
        tour.first.click()
    page.get_by_role("button", name="Materialize").first.click()
    # Dagster warns when an upstream asset was never materialized; hours find their archives by themselves.
    confirm = page.get_by_role("button", name="Confirm")
    box = page.get_by_placeholder("No matching partitions")
    confirm.or_(box).first.wait_for()
    if confirm.count():
        confirm.click()
    box.wait_for()
    box.fill(partition)
    box.press("Enter")
    page.get_by_role("button", name="Launch").last.click()

    journey.wait("the hour of the UI's run", lambda: journey.lake.ledger.partition("BTCUSDT", hour))
    row = journey.lake.ledger.partition("BTCUSDT", hour)
    assert row is not None
    assert row.row_count == 60
    journey.wait("its materialization", lambda: _is_in(journey, partition, "MATERIALIZED"))
    page.goto(f"{address}?view=partitions&partition={partition.replace(':', '%3A')}")
    page.get_by_text("premium_index_klines_1m").first.wait_for()
    picture = page.get_by_role("img", name="close and volume")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 0
    page.goto(f"{address}?view=checks&checkDetail=continuity")
    page.get_by_text("Passed").first.wait_for()
    page.get_by_text("first_missing").or_(page.get_by_text("expected")).first.wait_for()


def _is_in(journey: Journey, partition: str, status: str) -> bool:
    found = journey.api.statuses(minute_key("BTCUSDT").path).partitions
    return any(each.status == status and each.start <= partition <= each.end for each in found)
