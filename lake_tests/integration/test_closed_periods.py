"""Which days and months are closed, and what `lake compact` and the asset do with them."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from lake_assets.assets.compacted import build_compacted_asset
from lake_assets.build.compaction import plan_compaction, run_compaction
from lake_assets.cli.main import app
from lake_assets.lake import open_lake
from lake_assets.metadata import compacted_key
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import LedgerError, SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition
from lake_resources.storage.compaction import clear
from lake_resources.storage.placement import stretches
from lake_resources.storage.reader import scan
from lake_resources.storage.root import claim_root
from lake_tests.support.minute_hours import NOW, SCHEMA, SYMBOL, candidate, clock, lake
from lake_tests.support.opener import Opener

pytestmark = pytest.mark.slow

MONTH = datetime(2026, 2, 1, tzinfo=UTC)
NEXT = datetime(2026, 3, 1, tzinfo=UTC)
STREAMS = (
    "klines_1m", "mark_price_klines_1m", "index_price_klines_1m", "premium_index_klines_1m", "agg_trades", "metrics",
)  # fmt: skip
ARCHIVE = dict.fromkeys((*STREAMS, "funding_rate"), "archive") | {"book_ticker": "none"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A lake with every hour of the month, made once: tests take copies."""
    root = tmp_path_factory.mktemp("month") / "lake"
    root.mkdir()
    claim_root(root, "simulator")
    store = lake(root)
    commit(store, MONTH, 24 * 28)
    store.ledger.close()
    return root


@pytest.fixture
def here(tmp_path, request):
    """An empty lake; to a test of commands, which has settings, one with every hour of the month."""
    root = tmp_path / "lake"
    if "settings" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("filled"), root)
    else:
        root.mkdir()
        claim_root(root, "simulator")
    store = lake(root)
    yield store
    store.ledger.close()


def commit(here, start, count, **given):
    kinds, verdict = ARCHIVE | given.pop("kinds", {}), given.pop("verdict", None)
    hours = [candidate(start + index * HOUR, kinds=kinds, **given) for index in range(count)]
    commit_partitions(here, SYMBOL, [replace(hour, verdict=verdict) for hour in hours], clock=clock)


def plan(here, now):
    return {step.period.name: step.waits_for for step in plan_compaction(UM_MINUTE, here.ledger, SYMBOL, now=now)}


def test_a_closed_month_is_one_step_and_the_open_month_one_per_day(here):
    commit(here, MONTH, 24 * 28)
    commit(here, NEXT, 24 * 2 + 5)
    assert plan(here, NEXT + 2 * DAY + 6 * HOUR) == {
        "2026-02": "",
        "2026-03-01": "",
        "2026-03-02": "",
        "2026-03-03": "the day is not over",
    }
    assert plan(here, NEXT + 4 * DAY)["2026-03-03"] == "19 hour(s) are not committed, first 05:00"


def test_what_is_compacted_is_not_planned_again_until_an_hour_is_rewritten(here):
    commit(here, MONTH, 24 * 28)
    assert [one.period.name for one in run_compaction(UM_MINUTE, here, SYMBOL, now=NEXT, clock=clock)] == ["2026-02"]
    assert plan(here, NEXT) == {}
    commit(here, MONTH + 50 * HOUR, 1, value=2.0)
    assert plan(here, NEXT) == {"2026-02": ""}
    commit(here, MONTH + 51 * HOUR, 1, value=2.0, rows=30)
    assert plan(here, NEXT) == {"2026-02": ""}, "a worse version was refused"


def test_days_wait_for_the_archives_of_what_they_need(here):
    cases = {
        1: ({"klines_1m": "rest"}, "klines_1m comes from rest"),
        2: ({"metrics": "rest"}, "metrics comes from rest"),
        3: ({"agg_trades": "none"}, "agg_trades comes from none"),
        4: ({"klines_1m": "archive+rest"}, ""),
        5: ({"funding_rate": "rest"}, ""),
    }
    for index, (kinds, _) in cases.items():
        commit(here, MONTH + (index - 1) * DAY, 24, kinds=kinds)
    found = plan(here, MONTH + 5 * DAY)
    for index, (_, reason) in cases.items():
        assert found[f"2026-02-0{index}"].startswith(reason), index
        assert bool(found[f"2026-02-0{index}"]) == bool(reason)
    later = plan(here, MONTH + 13 * DAY)
    assert [day for day, reason in later.items() if reason] == ["2026-02-01"], "candles must come from the archive"


def read(here):
    return scan(here, SYMBOL, MONTH, MONTH + 4 * DAY, schema=SCHEMA).collect()


def test_a_sealed_day_is_one_file_until_its_archive_comes(here):
    from_rest = {"klines_1m": "rest", "mark_price_klines_1m": "rest"}
    commit(here, MONTH, 24 * 2, kinds=from_rest)
    commit(here, MONTH + 2 * DAY, 24, kinds=from_rest, verdict="unproven")
    commit(here, MONTH + 3 * DAY, 24, kinds=from_rest, verdict="contradicted")
    before, now = read(here), MONTH + 4 * DAY
    done = list(run_compaction(UM_MINUTE, here, SYMBOL, now=now, clock=clock))
    assert [(one.period.name, one.status) for one in done] == [("2026-02-01", "compacted"), ("2026-02-02", "compacted")]
    assert read(here).equals(before)
    assert [len(found.paths) for found in stretches(here, SYMBOL, MONTH, now)] == [1, 1, 48]
    steps = list(plan_compaction(UM_MINUTE, here.ledger, SYMBOL, now=now))
    assert [(step.sealed, step.served, step.due) for step in steps] == [(True, True, False)] * 2 + [(False,) * 3] * 2
    assert {step.waits_for for step in steps} == {"klines_1m comes from rest, not from the archive, in the hour 00:00"}
    clear(here, SYMBOL, clock=lambda: NOW + 3 * DAY, grace=DAY)
    assert hour_files(here) == 48
    # The archives of the first day come, with another value in one of its hours.
    commit(here, MONTH, 23)
    commit(here, MONTH + 23 * HOUR, 1, value=2.0)
    assert plan(here, now)["2026-02-01"] == ""
    assert {
        file.sources.count('"kind":"rest"') for file in here.ledger.partition_files(SYMBOL, MONTH, MONTH + DAY)
    } == {0}
    (again,) = run_compaction(UM_MINUTE, here, SYMBOL, now=now, clock=clock)
    assert (again.period.name, again.status) == ("2026-02-01", "compacted")
    assert read(here).filter(pl.col("close") == 2.0).height == 60
    assert "2026-02-01" not in plan(here, now)
    # After a week nothing speaks for or against the third day any more; a contradiction stays one.
    late = list(run_compaction(UM_MINUTE, here, SYMBOL, now=MONTH + 20 * DAY, clock=clock))
    assert [one.period.name for one in late] == ["2026-02-03"]


def test_an_incomplete_hour_keeps_its_day_open(here):
    commit(here, MONTH, 23)
    commit(here, MONTH + 23 * HOUR, 1, rows=59)
    assert plan(here, MONTH + 30 * DAY)["2026-02-01"] == "1 hour(s) are not complete, first 23:00"


def test_a_missing_hour_keeps_its_day_open_unless_it_is_in_quarantine_for_long(here):
    commit(here, MONTH, 10)
    commit(here, MONTH + 11 * HOUR, 13 + 24)
    assert plan(here, MONTH + 20 * DAY)["2026-02-01"] == "1 hour(s) are not committed, first 10:00"
    quarantine_partition(here, SYMBOL, Rejection(MONTH + 10 * HOUR, None, ["ohlc"], "low above close"), clock=clock)
    assert plan(here, MONTH + 3 * DAY)["2026-02-01"] == "1 hour(s) are not committed, first 10:00"
    assert plan(here, MONTH + 20 * DAY)["2026-02-01"] == ""


def test_listing_and_delisting_leave_no_gap(here):
    commit(here, MONTH + 9 * HOUR, 24 * 27)
    now = NEXT + 10 * DAY
    assert plan(here, now) == {"2026-02": ""}
    (found,) = run_compaction(UM_MINUTE, here, SYMBOL, now=now, clock=clock)
    assert found.partitions == 24 * 27


def test_a_month_waits_for_its_funding_rates_but_not_for_ever(here):
    commit(here, MONTH, 24 * 28, kinds={"funding_rate": "rest"})
    assert len(plan(here, NEXT + DAY)) == 28
    assert plan(here, NEXT + 8 * DAY) == {"2026-02": ""}


@pytest.fixture
def settings(here, monkeypatch):
    for name, value in {"ROOT": here.catalog.root, "SYMBOLS": SYMBOL}.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    return LakeSettings()


def run(*arguments):
    result = CliRunner().invoke(app, ["compact", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)[0]


def hour_files(here):
    return len(list(here.catalog.root.rglob("part.parquet")))


def test_the_command_says_then_does_then_removes(here, settings):
    assert run("--dry-run", "--remove", "--grace-hours", "0")["months"] == 1
    assert here.ledger.compacted_files(SYMBOL) == []
    done = run()
    assert (done["compacted"], hour_files(here)) == (1, 672)
    assert run("--remove")["removed_files"] == 0, "the grace is not over"
    assert run("--remove", "--grace-hours", "0", "--dry-run")["removed_files"] == 672
    assert hour_files(here) == 672
    assert run("--remove", "--grace-hours", "0")["removed_files"] == 672
    assert hour_files(here) == 0
    assert "becomes one file" not in CliRunner().invoke(app, ["compact"]).output


def test_the_asset_compacts_and_removes_only_when_told(here, settings):
    asset = build_compacted_asset(SYMBOL, settings)
    name = asset.op.name

    def materialize(now, *, remove):
        config = {"ops": {name: {"config": {"remove": remove}}}}
        result = dg.materialize(
            [asset], resources={"lake": Opener(lambda: open_lake(settings, clock=lambda: now))}, run_config=config
        )
        (event,) = result.asset_materializations_for_node(name)
        assert event.asset_key == compacted_key(SYMBOL)
        assert (event.metadata["month_files"].value, event.metadata["compacted_hours"].value) == (1, 672)
        return event.metadata["files_written"].value, event.metadata["files_removed"].value

    assert materialize(NEXT + 9 * DAY, remove=False) == (1, 0)
    assert materialize(NEXT + 9 * DAY, remove=True) == (0, 0), "the grace is not over"
    assert materialize(NEXT + 11 * DAY, remove=False) == (0, 0)
    assert hour_files(here) == 672
    assert materialize(NEXT + 11 * DAY, remove=True) == (0, 672)
    assert hour_files(here) == 0


def test_a_damaged_period_does_not_keep_the_others(here, settings):
    commit(here, NEXT, 24 * 3)
    for hour in (MONTH + 5 * HOUR, NEXT + 30 * HOUR):
        here.catalog.partition_path(SYMBOL, hour).unlink()
    with pytest.raises(
        LedgerError, match=r"2 periods .*hour=05/part\.parquet is lost .*day=02/hour=06/part\.parquet is lost"
    ):
        list(run_compaction(UM_MINUTE, here, SYMBOL, now=NEXT + 3 * DAY, clock=clock))
    assert [segment.path.split("/")[-1][:10] for segment in here.ledger.compacted_files(SYMBOL)] == [
        "2026-03-01",
        "2026-03-03",
    ]
    result = CliRunner().invoke(app, ["compact", "--json", "--remove", "--grace-hours", "0"])
    (found,) = json.loads(result.stdout)
    assert (result.exit_code, len(found["errors"]), found["removed_files"]) == (1, 1, 48)
    assert "hour=05/part.parquet is lost" in result.stderr


def test_an_hour_committed_between_plan_and_reading_is_no_damage(here):
    commit(here, MONTH, 24 * 3)
    rewritten, calls = MONTH + 30 * HOUR, []

    def clock_of_the_first_day():
        if not calls:
            calls.append(commit(here, rewritten, 1, value=2.0))
        return clock()

    now = MONTH + 3 * DAY
    first = list(run_compaction(UM_MINUTE, here, SYMBOL, now=now, clock=clock_of_the_first_day))
    assert [one.status for one in first] == ["compacted", "changed_meanwhile", "compacted"]
    again = list(run_compaction(UM_MINUTE, here, SYMBOL, now=now, clock=clock))
    assert [(one.period.name, one.status) for one in again] == [("2026-02-02", "compacted")]


def seen(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute("SELECT count(*), sum(close) FROM minute").fetchall()[0]


def materialized(*arguments):
    result = CliRunner().invoke(app, ["materialize-duckdb", "--no-write-queries", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def test_views_are_remade_before_their_files_are_removed(here, settings, tmp_path):
    default, other = here.catalog.root / "minute.duckdb", tmp_path / "sql" / "other.duckdb"
    materialized()
    materialized("--db-path", str(other))
    run("--remove", "--grace-hours", "0")
    assert hour_files(here) == 0
    assert seen(default) == seen(other) == (672 * 60, 672 * 60.0)
    commit(here, MONTH + 50 * HOUR, 1, value=2.0)
    assert seen(default)[1] == 672 * 60.0, "the view names the files of its making"
    run()
    assert seen(default) == seen(other) == (672 * 60, 673 * 60.0)
    other.unlink()
    run()
    assert not other.exists(), "what was thrown away is not made again"
    assert json.loads(here.catalog.views_path.read_text()).keys() == {"minute.duckdb"}


def test_the_asset_remakes_views_also_when_a_period_is_damaged(here, settings):
    view = here.catalog.root / "minute.duckdb"
    materialized()
    commit(here, MONTH + 50 * HOUR, 1, value=2.0)
    commit(here, NEXT, 24)
    here.catalog.partition_path(SYMBOL, MONTH + 5 * HOUR).unlink()

    with pytest.raises(LedgerError, match="hour=05"):
        dg.materialize(
            [build_compacted_asset(SYMBOL, settings)],
            resources={"lake": Opener(lambda: open_lake(settings, clock=lambda: NEXT + 9 * DAY))},
        )
    with duckdb.connect(str(view), read_only=True) as connection:
        ((text,),) = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'minute'").fetchall()
    assert "minute_compacted/symbol=BTCUSDT/2026-03-01-" in text


def test_a_view_held_by_a_writer_is_remade_with_a_warning(here, settings):
    view = here.catalog.root / "minute.duckdb"
    materialized()
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(view)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "open\n"
        result = CliRunner().invoke(app, ["compact", "--json"])
        assert (result.exit_code, json.loads(result.stdout)[0]["compacted"]) == (0, 1)
        assert "has it open for writing" in result.stderr
        holder.stdin.close()
    assert seen(view) == (672 * 60, 672 * 60.0)


def test_a_database_with_anything_else_is_never_overwritten(here, settings, tmp_path):
    mine, text = tmp_path / "mine.duckdb", tmp_path / "notes.txt"
    text.write_text("notes " * 1000)
    materialized("--db-path", str(mine))
    with duckdb.connect(str(mine)) as connection:
        connection.execute("CREATE TABLE orders AS SELECT 42 AS id")
    for path in (mine, text):
        refused = CliRunner().invoke(app, ["materialize-duckdb", "--db-path", str(path)])
        assert isinstance(refused.exception, SettingsError), path
        assert "is not overwritten" in str(refused.exception)
    compacted = CliRunner().invoke(app, ["compact", "--json"])
    assert (compacted.exit_code, "it is as old as before" in compacted.stderr) == (0, True)
    with duckdb.connect(str(mine), read_only=True) as connection:
        assert connection.execute("SELECT id FROM orders").fetchall() == [(42,)]
    assert text.read_text() == "notes " * 1000
