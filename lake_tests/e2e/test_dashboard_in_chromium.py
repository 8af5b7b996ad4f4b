"""The dashboard as a person sees it: its server, a chart with its holes, and nothing from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeout

from lake_tests.support.chromium import QUIET
from lake_tests.support.holed_lake import holed_lake
from lake_tests.support.waiting import free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "lake"
    holed_lake(root)
    port = free_port()
    environment = {
        **os.environ, "LAKE_ROOT": str(root), "LAKE_EXCHANGE": "simulator", "LAKE_DASHBOARD_PORT": str(port),
        "LAKE_START": "2026-01-15", "HOME": str(tmp_path),
    }  # fmt: skip
    log = (tmp_path / "log").open("wb")
    command = [sys.executable, "-m", "lake_assets.dashboard.web_server"]
    served = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def listens() -> bool:
        assert served.poll() is None, (tmp_path / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, "the dashboard")
        yield f"http://127.0.0.1:{port}"
    finally:
        served.terminate()
        served.wait(120)
        log.close()


def test_holes_are_seen_and_nothing_comes_from_outside(address: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: Debian's package `chromium` provides it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(240_000)
        outside: list[str] = []
        page.on("request", lambda asked: None if _local(asked.url, address) else outside.append(asked.url))
        page.goto(address)
        page.get_by_label("Window").click()
        page.get_by_text("from … to …").click()
        page.get_by_label("From (UTC, ISO 8601)").fill("2026-01-15")
        page.get_by_label("From (UTC, ISO 8601)").press("Enter")
        page.get_by_label("To", exact=True).fill("2026-01-16")
        page.get_by_label("To", exact=True).press("Enter")
        chart = page.frame_locator("iframe")
        chart.locator("body[data-bars='1380'][data-holes='60'][data-marked='1']").wait_for()
        assert chart.locator(".name").all_text_contents() == ["mark_price_close", "funding_rate", "oi_contracts"]
        keeps_the_zoom(page)
        chart.locator("#charts").click(position={"x": 300, "y": 200})
        page.get_by_text("of 60 rows").first.wait_for()
        assert page.locator("a[href*='/minute?view=partitions'][href*='partition=2026-01-15']").count() == 1
        told = json.loads(downloaded(page, "Certificate", ".certificate.json"))
        assert (told["present_minutes"], told["unexplained_minutes"]) == (1380, 60)
        assert len(downloaded(page, "CSV", ".csv").splitlines()) == 1 + 1380
        page.get_by_text("Quality", exact=True).click()
        page.get_by_text("Quality of the minute table").wait_for()
        page.get_by_text("Macro", exact=True).click()
        page.get_by_text("No macro minute is here yet").wait_for()
        assert outside == []
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example", "Upgrade": "websocket"}):
            assert page.request.post(address, headers=headers).status == 403
        browser.close()


def downloaded(page: Page, button: str, ending: str) -> str:
    """The text of the file that a button gives, whose name ends so.

    A click that meets a page which is being drawn anew is refused, as the button then says; a person clicks again.
    """
    page.locator("[data-testid='stApp'][data-test-script-state='notRunning']").wait_for()
    for _attempt in range(12):
        with contextlib.suppress(PageTimeout):
            with page.expect_download(lambda file: file.suggested_filename.endswith(ending), timeout=20_000) as given:
                page.get_by_text(button, exact=True).click()
            return given.value.path().read_text("utf-8")
    raise AssertionError(f"{button}: {page.get_by_test_id('stDownloadButtonError').all_text_contents()}")


def keeps_the_zoom(page: Page) -> None:
    """What is looked at stays what it was when newer rows are drawn."""
    (frame,) = (each for each in page.frames if each != page.main_frame)
    assert frame.evaluate("charts[1].lines.length") == 3, "two pieces, the hole between them, and the axis"
    first = int(datetime(2026, 1, 15, 10, tzinfo=UTC).timestamp())
    scale = "charts[0].chart.timeScale()"
    frame.wait_for_function("silent === null")
    frame.evaluate(f"{scale}.setVisibleRange({{ from: {first}, to: {first + 7200} }})")
    # The library applies a range with the next frame.
    frame.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    frame.evaluate("draw({ meta: held.meta, view: shown, data: new Uint8Array(held.column.time.buffer) }, false)")
    frame.wait_for_function("silent === null")
    seen = frame.evaluate(f"{scale}.getVisibleRange()")
    assert abs(seen["from"] - first) <= 120
    assert abs(seen["to"] - first - 7200) <= 120
    frame.evaluate(f"{scale}.fitContent()")


def _local(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http:", "ws:"), "data:", "blob:", "about:"))
