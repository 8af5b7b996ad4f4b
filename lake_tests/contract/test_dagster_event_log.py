"""The pooled event log against Dagster's own: the same files, read alike by both, and what it leans on still there."""

import inspect
import os
import sqlite3
import threading
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from lake_resources import event_log
from lake_resources.dagster_private import record_checks, record_materialization
from lake_resources.event_log import PooledSqliteEventLogStorage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning", "ignore::dagster.BetaWarning"),
]

HOURS = dg.HourlyPartitionsDefinition("2026-01-01-00:00")
KEY = dg.AssetKey(["um", "btcusdt", "minute"])
CHECKS = ("ohlc", "continuity")
CHANGED = "Dagster changed: lake_resources/event_log.py leans on {}; use Dagster's own event log until it is adapted"
POOLED = """
event_log_storage:
  module: lake_resources.event_log
  class: PooledSqliteEventLogStorage
  config: {{home: "{home}"}}
"""


def minute_asset():
    """An hourly asset with a check row per hour, recorded hour by hour."""

    @dg.multi_asset(
        specs=[dg.AssetSpec(KEY, partitions_def=HOURS, skippable=True)],
        check_specs=[dg.AssetCheckSpec(name, asset=KEY, partitions_def=HOURS) for name in CHECKS],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def minute(context):
        for hour in context.partition_keys:
            context.log_event(dg.AssetMaterialization(KEY, partition=hour, metadata={"rows": 60}, tags={"lake": "x"}))
            wanted = dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[hour])
            record = context.instance.fetch_materializations(wanted, limit=1).records[0]
            for name in CHECKS:
                yield dg.AssetCheckEvaluation(
                    asset_key=KEY,
                    check_name=name,
                    passed=name == "ohlc" or not hour.endswith("03:00"),
                    partition=hour,
                    metadata={"rows": 60},
                    target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
                    ),
                )
        for name in CHECKS:
            yield dg.Output(None, output_name=f"um__btcusdt__minute_{name}")

    return minute


def instance_at(home, config):
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n" + config.format(home=home))
    return dg.DagsterInstance.from_config(str(home))


def run(instance, hours=5):
    keys = HOURS.get_partition_keys(current_time=datetime(2026, 1, 2))[:hours]  # noqa: DTZ001
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    result = dg.materialize([minute_asset()], instance=instance, tags=tags)
    assert result.success
    return result.run_id


def everything(storage, run_id):
    """What the UI and the daemon read, as comparable values."""
    check_keys = [dg.AssetCheckKey(KEY, name) for name in CHECKS]
    records = storage.get_records_for_run(run_id, limit=1000).records
    materializations = storage.fetch_materializations(dg.AssetRecordsFilter(asset_key=KEY), limit=100).records
    return {
        "log": [(record.storage_id, record.event_log_entry) for record in records],
        "stats": storage.get_stats_for_run(run_id),
        "steps": storage.get_step_stats_for_run(run_id),
        "materializations": [(record.storage_id, record.event_log_entry) for record in materializations],
        "assets": [record.asset_entry for record in storage.get_asset_records()],
        "partitions": storage.get_materialized_partitions(KEY),
        "checks": [storage.get_asset_check_execution_history(key, limit=100) for key in check_keys],
        "latest": storage.get_latest_asset_check_execution_by_key(check_keys),
        "planned": storage.get_latest_planned_materialization_info(KEY),
        "runs": sorted(storage.get_all_run_ids()),
    }


@pytest.mark.parametrize("writer", ["pooled", "stock"])
def test_both_classes_read_the_same_from_the_same_files(tmp_path, writer):
    with instance_at(tmp_path, POOLED if writer == "pooled" else "") as instance:
        written_by = type(instance.event_log_storage)
        assert written_by is (PooledSqliteEventLogStorage if writer == "pooled" else SqliteEventLogStorage)
        run_id = run(instance)
        seen_by_writer = everything(instance.event_log_storage, run_id)
    base_dir = str(tmp_path / "history" / "runs")
    for reader in (SqliteEventLogStorage, PooledSqliteEventLogStorage):
        storage = reader(base_dir)
        assert everything(storage, run_id) == seen_by_writer
        storage.dispose()
    assert len(seen_by_writer["materializations"]) == 5
    assert [len(history) for history in seen_by_writer["checks"]] == [5, 5]
    failed = [row.partition for rows in seen_by_writer["checks"] for row in rows if row.status.value == "FAILED"]
    assert failed == ["2026-01-01-03:00"]


def test_dagster_still_has_what_is_overridden_and_used():
    """Fails with a plain message, rather than somewhere in a backfill, when a new Dagster moved these."""
    for name in (
        "_connect",
        "_initdb",
        "has_table",
        "dispose",
        "from_config_value",
        "path_for_shard",
        "conn_string_for_shard",
    ):
        assert name in vars(SqliteEventLogStorage), CHANGED.format(f"SqliteEventLogStorage.{name}")
    for name, parameters in {
        "_connect": ["self", "shard"],
        "_initdb": ["self", "engine", "for_index_shard"],
        "has_table": ["self", "table_name"],
        "__init__": ["self", "base_dir", "inst_data"],
    }.items():
        found = list(inspect.signature(vars(SqliteEventLogStorage)[name]).parameters)
        assert found == parameters, CHANGED.format(f"SqliteEventLogStorage.{name}{parameters}")
    for name in ("run_connection", "index_connection"):
        assert "_connect" in inspect.getsource(vars(SqliteEventLogStorage)[name]), CHANGED.format(f"{name} → _connect")
    for name in ("_db_lock", "_initialized_dbs"):
        assert name in inspect.getsource(SqliteEventLogStorage.__init__), CHANGED.format(
            f"SqliteEventLogStorage.{name}"
        )


@pytest.fixture
def storage(tmp_path):
    storage = PooledSqliteEventLogStorage(str(tmp_path / "runs"))
    yield storage
    storage.dispose()


def entry(run_id="run-1", text="x"):
    return EventLogEntry(
        error_info=None, level=20, user_message=text, run_id=run_id, timestamp=time.time(), dagster_event=None
    )


def texts(storage, run_id="run-1"):
    return [record.event_log_entry.user_message for record in storage.get_records_for_run(run_id, limit=1000).records]


def test_a_run_opens_a_handful_of_connections(tmp_path):
    """The point of the class: if Dagster opened connections past the overridden methods, this says so."""
    opened = []

    def count(connection, _record):
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        opened.extend([path] if "/history/runs/" in path else [])

    with instance_at(tmp_path, POOLED) as instance:
        run(instance)
        sa.event.listen(sa.pool.Pool, "connect", count)
        try:
            run(instance, hours=20)
        finally:
            sa.event.remove(sa.pool.Pool, "connect", count)
    assert 0 < len(opened) <= 8, CHANGED.format(f"every connection of an event being made by _connect: {len(opened)}")


def test_a_forked_child_and_its_parent_write_side_by_side(storage):
    storage.store_event(entry(text="before"))
    child = os.fork()
    if child == 0:
        try:
            for number in range(20):
                storage.store_event(entry(text=f"child {number}"))
            os._exit(0)
        finally:
            os._exit(1)
    for number in range(20):
        storage.store_event(entry(text=f"parent {number}"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(texts(storage)) == 41
    assert [text for text in texts(storage) if text.startswith("child")] == [f"child {number}" for number in range(20)]


def test_threads_write_side_by_side(storage):
    def work(name):
        for number in range(20):
            storage.store_event(entry(text=f"{name} {number}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts(storage))) == 80


def test_a_process_with_dagsters_own_class_may_write_too(storage):
    own = SqliteEventLogStorage(storage._base_dir)
    for number in range(5):
        storage.store_event(entry(text=f"pooled {number}"))
        own.store_event(entry(text=f"own {number}"))
    assert len(texts(storage)) == len(texts(own)) == 10
    own.dispose()


def test_a_run_can_be_followed_by_dagsters_own_watcher(storage):
    """Rows lie in the write-ahead file while a connection is open; the watcher looks at the main file."""
    storage.store_event(entry(text="first"))
    seen, found = [], threading.Event()

    def follow(event, _cursor):
        seen.append(event.user_message)
        found.set()

    own = SqliteEventLogStorage(storage._base_dir)
    own.watch("run-1", None, follow)
    deadline = time.monotonic() + 120
    while "second" not in seen and time.monotonic() < deadline:
        storage.store_event(entry(text="second"))
        found.wait(0.2)
    own.dispose()
    assert "second" in seen


def test_files_that_another_process_wiped_are_made_anew(storage):
    storage.store_event(entry(text="old"))
    own = SqliteEventLogStorage(storage._base_dir)
    own.wipe()
    own.dispose()
    storage.store_event(entry(text="new"))
    assert texts(storage) == ["new"]


def made_of(path):
    """What a run's file is, apart from its events."""
    with closing(sqlite3.connect(path)) as file:
        tables = file.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
        revision = file.execute("SELECT version_num FROM alembic_version").fetchall()
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        pragmas = [file.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "page_size", "encoding")]
    return tables, revision, pragmas, path.stat().st_mode


@pytest.mark.parametrize("links", [True, False])
def test_a_copied_file_of_a_run_is_the_one_that_dagster_makes(storage, monkeypatch, links):
    monkeypatch.setattr(event_log, "_EMPTY", [])
    if not links:

        def refuse(*_):
            raise PermissionError

        monkeypatch.setattr(os, "link", refuse)
    initialized = []

    def initialize(engine):
        initialized.append(engine)
        SqliteEventLogStorage._initdb(storage, engine)

    monkeypatch.setattr(storage, "_initdb", initialize)
    for number in range(3):
        storage.store_event(entry(run_id=f"run-{number}", text=str(number)))
    assert [texts(storage, f"run-{number}") for number in range(3)] == [["0"], ["1"], ["2"]]
    assert len(initialized) == (1 if links else 3)
    storage.dispose()
    files = [Path(storage.path_for_shard(f"run-{number}")) for number in range(3)]
    first, *others = map(made_of, files)
    assert len(first[0]) >= 20
    assert others == [first, first]
    assert {path.name for path in files[0].parent.iterdir()} == {"index.db", *(path.name for path in files)}


def test_a_file_that_another_process_makes_meanwhile_is_kept(storage):
    storage.store_event(entry(run_id="first"))
    path = Path(storage.path_for_shard("second"))
    own = SqliteEventLogStorage(storage._base_dir)
    own.store_event(entry(run_id="second", text="own"))
    assert not event_log._appears(path, event_log._EMPTY[0])
    storage.store_event(entry(run_id="second", text="pooled"))
    assert texts(storage, "second") == texts(own, "second") == ["own", "pooled"]
    own.dispose()


def test_check_rows_that_are_spared_stand_with_their_asset_and_not_in_the_log_of_the_run(tmp_path):
    told = dg.DagsterRun("told", status=dg.DagsterRunStatus.SUCCESS)
    events = [dg.AssetMaterialization(KEY, partition=hour) for hour in ("2026-01-01-00:00", "2026-01-01-01:00")]
    with instance_at(tmp_path, POOLED) as instance:
        instance.add_run(told)
        with instance.event_log_storage.in_one_transaction(told.run_id, spare_checks=True):
            for event in events:
                record_materialization(instance, told, event)
            checks = [
                dg.AssetCheckEvaluation(KEY, name, passed=True, metadata={"rows": 60}, partition=event.partition)
                for event in events
                for name in CHECKS
            ]
            record_checks(instance, told, checks)
        instance.event_log_storage.let_go(told.run_id)
        assert not list(tmp_path.rglob("*told.db-wal")), "what lay beside the file went into it"
    with instance_at(tmp_path, "") as stock:
        found = everything(stock.event_log_storage, told.run_id)
        assert [len(rows) for rows in found["checks"]] == [2, 2], CHANGED.format("store_event")
        assert {row.evaluation.partition for rows in found["checks"] for row in rows} == found["partitions"]
        kinds = [entry.dagster_event_type for _, entry in found["log"]]
        assert kinds == [dg.DagsterEventType.ASSET_MATERIALIZATION] * 2
        stock.delete_run(told.run_id)
        left = everything(stock.event_log_storage, told.run_id)
        assert not left["log"]


def test_many_runs_hold_few_files(storage, monkeypatch):
    monkeypatch.setattr(event_log, "MAX_OPEN_SHARDS", 3)
    for number in range(8):
        storage.store_event(entry(run_id=f"run-{number}", text=str(number)))
    assert len(storage._open_shards) <= 3
    assert [texts(storage, f"run-{number}") for number in range(8)] == [[str(number)] for number in range(8)]
    size = Path(storage.path_for_shard("run-0")).stat().st_size
    assert size < 64 * 1024, "a run's file is made of small pages: of ordinary ones its empty tables alone take 100 kB"
    storage.dispose()
    assert not storage._open_shards
    assert texts(storage, "run-3") == ["3"]
