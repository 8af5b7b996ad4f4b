"""Ranges with nothing in them, and roots without a lake: refused aloud, with a code of their own, and nothing made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.audit.listing import traded_window
from lake_assets.cli.main import main
from lake_assets.jobs.repair import REPAIR_JOB, build_repair_job
from lake_resources.clock import HOUR
from lake_resources.errors import NotYet, SettingsError
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.ledger.ledger import Listing
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, Bench, bench_on, hours
from lake_tests.support.terminal import run

pytestmark = pytest.mark.slow

REVERSED = ["--start", "2024-02-01", "--end", "2024-01-01"]
FUTURE = ["--start", "2199-01-01", "--end", "2200-01-01"]


@pytest.fixture
def bench(sim: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench_on(sim, tmp_path, webserver_port=1) as found:
        settings = found.settings
        values = {"ROOT": settings.root, "SYMBOLS": SYMBOL, "WEBSERVER_PORT": 1}
        values |= {"REST_URL": settings.rest_url, "VISION_URL": settings.vision_url}
        for name, value in values.items():
            monkeypatch.setenv(f"LAKE_{name}", str(value))
        yield found.at(PUBLISHED)


def process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the whole command."""
    monkeypatch.setattr("sys.argv", ["lake", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("command", ["backfill-range", "audit", "holes", "validate-rules", "slice"])
def test_a_reversed_range_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert process(monkeypatch, command, *REVERSED) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "SettingsError" in printed.err
    assert "2024-02-01" in printed.err


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("command", ["backfill-range", "audit", "holes", "validate-rules"])
@pytest.mark.parametrize("window", [FUTURE, FUTURE[:2]])
def test_a_range_that_has_not_begun_is_not_called_consistent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, window: list[str]
) -> None:
    assert process(monkeypatch, command, *window) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "nothing was looked at: no minute from 2199-01-01 00:00 UTC on must exist yet" in printed.err


def test_an_empty_lake_is_not_wrong_usage_and_prints_no_json(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert process(monkeypatch, "audit", "--json") == 3
    printed = capsys.readouterr()
    assert (printed.out, f"no hour of {SYMBOL} is committed in" in " ".join(printed.err.split())) == ("", True)
    assert process(monkeypatch, "audit", "--end", "2026-11-01") == 3
    bench.build(hours(0, 1))
    assert process(monkeypatch, "audit", "--end", "2026-11-01") == 2, "the end lies before the first hour"


def test_what_is_wrong_and_what_cannot_be_looked_at_have_codes_of_their_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.build(hours(0, 2))
    window = ["--start", f"{DAY:%Y-%m-%d}", "--end", f"{DAY + 3 * HOUR:%Y-%m-%dT%H:%M}"]
    out = str(bench.settings.lake_root.parent / "out")
    assert process(monkeypatch, "audit", *window, "--dagster", "no") == 1
    assert process(monkeypatch, "slice", *window, "--out", out, "--require", "clean") == 1
    assert process(monkeypatch, "inspect-metrics-columns", "--trade-date", "2026-11-24") == 4
    damaged = bench.settings.lake_root / "damaged.sqlite"
    damaged.write_bytes(b"no database" * 1000)
    monkeypatch.setenv("LAKE_LEDGER_URL", f"sqlite:///{damaged}")
    capsys.readouterr()
    assert process(monkeypatch, "audit", *window, "--json") == 4
    printed = capsys.readouterr()
    assert (printed.out, "LedgerError" in printed.err) == ("", True)


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2021-02-15T00:00:00+00:00", "2026-02-14T23:59:00+00:00"),
        ("2026-02-10", "2026-02-14T23:59Z"),
        ("20260210T000000Z", "2026-02-14 23:58:01"),
        ("2026-02-10T02:00+02:00", "2026-02-14T18:59:00-05:00"),
    ],
)
def test_a_range_is_taken_in_any_form_of_iso_8601(start: str, end: str) -> None:
    """The first form, five years, stands in a document of a user, letter by letter."""
    found = run("backfill-range", "--start", start, "--end", end, "--dry-run", "--json")
    assert found.exit_code == 0, found.output
    first = datetime(2021, 2, 15, tzinfo=UTC) if start.startswith("2021") else datetime(2026, 2, 10, tzinfo=UTC)
    hours_asked = (datetime(2026, 2, 15, tzinfo=UTC) - first) // HOUR
    assert json.loads(found.stdout)[0]["hours"] == hours_asked


@pytest.mark.usefixtures("bench")
def test_what_lies_before_the_first_day_is_said_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_START", "2026-11-18")
    window = ["--start", "2026-11-10", "--end", f"{DAY + 3 * HOUR:%Y-%m-%dT%H:%M}"]
    cut = run("backfill-range", *window, "--dry-run", "--json")
    assert cut.exit_code == 0, cut.output
    assert json.loads(cut.stdout)[0]["hours"] == 3
    assert "LAKE_START is 2026-11-18: what lies before it is not looked at" in cut.stderr
    for arguments in (["--preset", "2019"], ["--start", "2026-11-10", "--end", "2026-11-18"]):
        refused = run("backfill-range", *arguments)
        assert isinstance(refused.exception, SettingsError)
        assert "lies before LAKE_START (2026-11-18)" in str(refused.exception)


def test_a_range_in_which_nothing_is_traded_is_not_nothing_to_repair(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_START", "2019-01-01")
    window = ["--start", "2019-03-01", "--end", "2019-04-01"]
    refused = run("backfill-range", *window, "--json")
    assert isinstance(refused.exception, SettingsError)
    assert "nothing was looked at" in str(refused.exception)
    assert refused.stdout == ""
    bench.lake.ledger.record_listing(Listing(SYMBOL, DAY, None), at=bench.now)
    audited = run("audit", *window)
    assert (audited.exit_code, "nothing to look at" in audited.output, "100.00" in audited.output) == (0, True, False)
    assert json.loads(run("audit", *window, "--json").stdout)[0]["completeness_pct"] is None
    listed = run("holes", *window)
    assert (listed.exit_code, "100.00" in listed.output) == (0, False)


def test_the_traded_part_of_a_reversed_range_is_not_empty_but_an_error(bench: Bench) -> None:
    with pytest.raises(SettingsError, match="is empty"):
        traded_window(bench.lake, SYMBOL, DAY + HOUR, DAY)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"start": "2026-11-19", "end": "2026-11-18"}, SettingsError),
        ({"start": "2199-01-01", "end": "2200-01-01"}, NotYet),
        ({"start": "2199-01-01"}, NotYet),
        ({"preset": "2019"}, SettingsError),
        ({"preset": "2026", "end": "2026-11-18"}, SettingsError),
        ({"start": "2020-03-01", "end": "2020-04-01", "symbols": ["LATEUSDT"]}, SettingsError),
    ],
)
def test_the_job_repair_refuses_the_same(bench: Bench, config: dict[str, object], error: type[Exception]) -> None:
    bench.lake.ledger.record_listing(Listing("LATEUSDT", DAY, None), at=bench.now)
    settings = bench.settings.model_copy(update={"symbols": (SYMBOL, "LATEUSDT")})

    job = dg.Definitions(
        assets=[build_table_asset(MINUTE_ASSET, symbol, settings) for symbol in settings.symbols],
        jobs=[build_repair_job(settings)],
        resources={"lake": Opener(lambda: bench.lake)},
    ).resolve_job_def(REPAIR_JOB)
    with pytest.raises(error):
        job.execute_in_process(run_config={"ops": {"plan_and_launch": {"config": config}}})


def test_a_time_that_has_not_come_builds_nothing(bench: Bench) -> None:
    bench.build(hours(0, 1))
    refused = run("run-once", "--at", f"{bench.now + timedelta(days=365):%Y-%m-%dT%H:%M}")
    assert isinstance(refused.exception, SettingsError)
    assert "lies in the future" in str(refused.exception)
    assert bench.lake.ledger.quarantined(SYMBOL, DAY, DAY + timedelta(days=800)) == []


READ_ONLY = [
    ["audit"], ["holes"], ["missing"], ["show", SYMBOL], ["show-watermark"], ["doctor"], ["health"],
    ["validate-rules"], ["slice", "--start", "2024-01-01", "--end", "2024-01-02"], ["compact", "--dry-run"],
    ["materialize-duckdb"], ["live"],
    ["declare-hole", "klines_1m", SYMBOL, "2024-01-01T00:00", "2024-01-01T00:01", "--cause", "x", "--reference", "y"],
    ["rebuild-live", SYMBOL, "2024-01-01T00:00", "2024-01-01T00:01"],
]  # fmt: skip


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("arguments", READ_ONLY, ids=lambda arguments: str(arguments[0]))
def test_looking_at_a_mistyped_root_does_not_create_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], there: bool
) -> None:
    root = tmp_path / "laek"
    if there:
        root.mkdir()
    monkeypatch.setenv("LAKE_ROOT", str(root))
    monkeypatch.chdir(tmp_path)
    refused = run(*arguments)
    assert isinstance(refused.exception, SettingsError), refused.output
    assert str(root) in str(refused.exception)
    assert "LAKE_ROOT" in str(refused.exception)
    assert list(tmp_path.rglob("*")) == ([root] if there else [])


def test_the_columns_of_an_archive_are_shown_without_a_lake(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    root = bench.settings.lake_root.parent / "none"
    monkeypatch.setenv("LAKE_ROOT", str(root))
    shown = run("inspect-metrics-columns", "--trade-date", f"{DAY:%Y-%m-%d}")
    assert shown.exit_code == 0, shown.output
    assert not root.exists()
