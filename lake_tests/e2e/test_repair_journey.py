"""`lake backfill-range` against the running stack: it repairs what is wrong through Dagster, and only that."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner, Result

from lake_assets.cli.demo import demo_windows
from lake_assets.cli.main import app
from lake_resources.clock import HOUR
from lake_tests.e2e.conftest import Journey

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_a_repair_in_dagster(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = journey.settings
    values = {
        "ROOT": settings.root, "SYMBOLS": "BTCUSDT", "SIMULATOR_PORT": settings.simulator_port,
        "WEBSERVER_PORT": settings.webserver_port,
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    day, _ = demo_windows(journey.lake.clock())
    day -= timedelta(days=3)
    window = ["--start", f"{day:%Y-%m-%d}", "--end", f"{day + 4 * HOUR:%Y-%m-%dT%H:%M}"]

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, *window])

    capped = run("backfill-range", "--max-missing-hours", "2")
    assert capped.exit_code == 0, capped.output
    assert "left wrong: BTCUSDT 2 hours" in capped.output
    rest = run("backfill-range")
    assert rest.exit_code == 0, rest.output
    assert "left wrong: BTCUSDT 0 hours" in rest.output
    assert run("audit", "--dagster", "yes").exit_code == 0
    assert "nothing to repair" in run("backfill-range").output

    row = journey.lake.ledger.partition("BTCUSDT", day + HOUR)
    assert row is not None
    journey.lake.catalog.absolute(row.path).unlink()
    again = run("backfill-range", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)[0]["reasons"]["ledger_without_file"] == 1, "standard output is JSON and no more"
    assert "left wrong: BTCUSDT 0 hours" in again.stderr
    mended = journey.lake.ledger.partition("BTCUSDT", day + HOUR)
    assert mended is not None
    assert mended.content_hash == row.content_hash
    tagged = journey.api.query("{ partitionBackfillsOrError { ... on PartitionBackfills { results { title } } } }")
    titles = [found["title"] for found in tagged["partitionBackfillsOrError"]["results"]]
    assert titles.count("repair BTCUSDT: 2 hours") == 2
    assert "repair BTCUSDT: 1 hours" in titles
