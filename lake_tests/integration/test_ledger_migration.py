"""A lake of ledger version 1 becomes one of today in place, and readers see the same in it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lake_assets.at_rest import store_of
from lake_assets.audit.scan import audit_partitions
from lake_assets.reading import scan_minutes
from lake_resources.collector.journal import Journal
from lake_resources.errors import LedgerError, LedgerVersion, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.tables import LEDGER_VERSION, METADATA, OUTBOX
from lake_resources.storage.placement import serving_path
from lake_resources.storage.store import Store
from lake_tests.support.stores import store_at

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"
REPOSITORY = Path(__file__).parents[2]
EXPECTED = json.loads((DATA / "lake_v1_expected.json").read_text())
WINDOW = tuple(datetime.fromisoformat(instant) for instant in EXPECTED["window"])
SYMBOLS = ("BTCUSDT", "ETHUSDT")
NOW = datetime(2026, 11, 19, 12, tzinfo=UTC)


def csv_text(rows: list[tuple[Any, ...]], names: list[str]) -> str:
    """Rows as text that no version of a library changes: Python's own repr of each value, NULL empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow("" if v is None else v.isoformat() if isinstance(v, datetime) else repr(v) for v in row)
    return file.getvalue()


def plain(row: Any) -> dict[str, Any]:
    """A record of the ledger as JSON has it."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(row).items()
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "lake_v1", tmp_path / "lake"))


@pytest.fixture
def store(root: Path):
    opened = store_at(root)
    yield opened
    opened.close()


def version(root: Path) -> int:
    connection = sqlite3.connect(root / "ledger.sqlite")
    (found,) = connection.execute("SELECT max(version) FROM ledger_version").fetchone()
    connection.close()
    return int(found)


def dump(path: Path) -> list[str]:
    """All of a database as SQL text, whatever its pages look like."""
    connection = sqlite3.connect(path)
    found = list(connection.iterdump())
    connection.close()
    return found


def backups(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.name.startswith("ledger.sqlite.version-"))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_reader_finds_what_the_release_found(root: Path, store: Store, symbol: str) -> None:
    expected, ledger = EXPECTED["symbols"][symbol], store.ledger
    settings = LakeSettings(root=root, symbols=SYMBOLS)
    frame = scan_minutes(symbol, *WINDOW, settings=settings).collect()
    assert {name: str(dtype) for name, dtype in frame.schema.items()} == expected["columns"]
    assert hashlib.sha256(csv_text(frame.rows(), frame.columns).encode()).hexdigest() == expected["rows_sha256"]
    assert frame.height == expected["rows"]
    watermark, listing = ledger.watermark(symbol), ledger.listing(symbol)
    assert watermark is not None
    assert watermark.isoformat() == expected["watermark"]
    assert plain(listing) == expected["listing"]
    assert [
        {
            "hour": row.start.isoformat(),
            "path": row.path,
            "content_hash": row.content_hash,
            "read_from": store.catalog.relative(serving_path(store, row)),
            "row_count": row.row_count,
            "expected_rows": row.expected_rows,
            "complete": row.complete,
            "sources": {name: ref.kind for name, ref in row.sources.items()},
        }
        for row in ledger.partitions(symbol, *WINDOW)
    ] == expected["hours"]
    assert [
        {
            "path": file.path,
            "tier": file.tier,
            "start": file.start.isoformat(),
            "end": file.end.isoformat(),
            "hours": len(file.served),
            "row_count": file.row_count,
            "content_hash": file.content_hash,
            "rows_hash": file.rows_hash,
        }
        for file in ledger.compacted_files(symbol)
    ] == expected["segments"]
    quarantined = [plain(row) for row in ledger.quarantined(symbol, *WINDOW)]
    assert [{"hour" if name == "start" else name: value for name, value in row.items()} for row in quarantined] == (
        expected["quarantined"]
    )
    assert [plain(row) for row in ledger.revisions(symbol, *WINDOW)] == expected["revisions"]
    assert [plain(row) for row in ledger.known_holes(symbol, *WINDOW)] == expected["known_holes"]


def test_nothing_is_lost_and_no_file_is_touched(root: Path, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")}
    assert [plain(row) for row in store.ledger.missing_sources()] == EXPECTED["lake_missing"]
    connection = sqlite3.connect(root / "ledger.sqlite")
    counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in METADATA.tables}
    connection.close()
    told = {"compacted_files" if name == "segments" else name: count for name, count in EXPECTED["table_rows"].items()}
    assert OUTBOX.name in counts
    assert {name: count for name, count in counts.items() if name in told} == told
    assert {path.relative_to(root).as_posix(): file_hash(path) for path in root.rglob("*.parquet")} == EXPECTED["files"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")} == before
    journal = Journal(store.engine.url, "um")
    assert len(journal.connections()) == told["collector_connections"]
    assert sorted(journal.known()) == ["BTCUSDT"]
    assert Journal(store.engine.url, "spot").connections() == []
    journal.close()


def test_the_audit_finds_the_archived_day_consistent(store: Store) -> None:
    day, end = datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC)
    report = audit_partitions(store, "BTCUSDT", day, end, now=NOW, lag_minutes=3)
    assert (len(report.hours), report.wrong) == (24, [])


def test_tables_indexes_and_keys_are_those_of_a_new_lake(root: Path, store: Store, tmp_path: Path) -> None:
    def schema(path: Path) -> list[tuple[str, str]]:
        connection = sqlite3.connect(path)
        found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        connection.close()
        return found

    new = store_at(tmp_path / "new")
    assert new.ledger.symbols() == []
    assert store.ledger.symbols() == list(SYMBOLS)
    assert schema(root / "ledger.sqlite") == schema(tmp_path / "new" / "ledger.sqlite")
    new.close()


def test_the_backup_is_the_ledger_as_it_was(root: Path, store: Store) -> None:
    before = dump(root / "ledger.sqlite")
    assert store.ledger.symbols() == list(SYMBOLS)
    (backup,) = backups(root)
    assert backup.name.startswith("ledger.sqlite.version-1.")
    assert dump(backup) == before
    store.close()
    assert store.ledger.symbols() == list(SYMBOLS)
    assert backups(root) == [backup], "a ledger of today is not copied again"


OPEN = (
    "from pathlib import Path\n"
    "import sys\n"
    "from lake_tests.support.stores import store_at\n"
    "print(store_at(Path(sys.argv[1])).ledger.symbols())\n"
)


def test_processes_that_open_at_once_migrate_once(root: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(root)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert {each.communicate(timeout=120)[0] for each in running} == {f"{list(SYMBOLS)}\n"}
    assert [each.returncode for each in running] == [0] * 4
    assert (version(root), len(backups(root))) == (LEDGER_VERSION, 1)


def test_a_kill_in_the_middle_leaves_the_old_version(root: Path, store: Store) -> None:
    before = dump(root / "ledger.sqlite")
    killed = (
        "import os, signal\n"
        "from lake_resources.storage.ledger import versions\n"
        "made = versions._migrate_from_1\n"
        "def until_then(connection, present):\n"
        "    made(connection, present)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "versions._migrate_from_1 = until_then\n"
    )
    done = subprocess.run([sys.executable, "-c", killed + OPEN, str(root)], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (version(root), dump(root / "ledger.sqlite")) == (1, before)
    assert store.ledger.symbols() == list(SYMBOLS)
    assert version(root) == LEDGER_VERSION


def test_a_newer_ledger_is_refused_before_anything_is_written(root: Path, store: Store) -> None:
    assert store.ledger.symbols() == list(SYMBOLS)
    store.close()
    connection = sqlite3.connect(root / "ledger.sqlite")
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("UPDATE ledger_version SET version = version + 1")
    connection.execute("DROP TABLE listings")
    connection.commit()
    connection.close()
    before = file_hash(root / "ledger.sqlite"), sorted(path.name for path in root.iterdir())
    with pytest.raises(LedgerVersion, match=rf"version {LEDGER_VERSION + 1}.*Install the version.*nothing was changed"):
        store.ledger.symbols()
    assert (file_hash(root / "ledger.sqlite"), sorted(path.name for path in root.iterdir())) == before


@pytest.mark.parametrize("table", ["partitions", "archives", "captures"])
def test_a_table_that_was_lost_is_told_and_no_empty_one_takes_its_place(root: Path, store: Store, table: str) -> None:
    assert store.ledger.symbols() == list(SYMBOLS)
    store.close()
    with closing(sqlite3.connect(root / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(f"DROP TABLE {table}")
        connection.commit()
        before = connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    with pytest.raises(LedgerError, match=rf"lost its table {table}.*rebuild-ledger"):
        store.ledger.symbols()
    with closing(sqlite3.connect(root / "ledger.sqlite")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall() == before


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute("CREATE TABLE runs (id)")
    connection.close()
    before = file_hash(tmp_path / "ledger.sqlite")
    with pytest.raises(LedgerError, match="something else"):
        store_at(tmp_path).ledger.symbols()
    assert file_hash(tmp_path / "ledger.sqlite") == before


def read_only(root: Path, code: str) -> str:
    """What a process says that may write nothing of the lake; root gives up the power to write all the same."""
    powerless = ["setpriv", "--bounding-set=-all"] if os.getuid() == 0 else []
    modes = {path: path.stat().st_mode for path in [root, *root.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        done = subprocess.run(
            [*powerless, sys.executable, "-c", code, str(root)],
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    return done.stdout + done.stderr


def test_a_reader_without_write_access_reads_a_ledger_of_today(root: Path, store: Store) -> None:
    settings = LakeSettings(root=root)
    expected = scan_minutes("BTCUSDT", *WINDOW, settings=settings).collect()
    store_of(settings).close()
    store.close()
    rows = (
        "from lake_assets.reading import scan_minutes\n"
        "from lake_resources.settings import LakeSettings\n"
        "from lake_tests.integration.test_ledger_migration import WINDOW\n"
        "print(scan_minutes('BTCUSDT', *WINDOW, settings=LakeSettings(root=sys.argv[1])).collect().height)\n"
    )
    before = sorted(path.name for path in root.iterdir())
    assert read_only(root, OPEN + rows) == f"{list(SYMBOLS)}\n{expected.height}\n"
    assert sorted(path.name for path in root.iterdir()) == before
    writes = OPEN + "store_at(Path(sys.argv[1])).ledger.record_missing('A', 'b', 'c', 'rest', 'd', at=None)\n"
    assert "may be read here, not written" in read_only(root, writes)


def test_a_reader_without_write_access_is_told_of_an_old_ledger(root: Path) -> None:
    before = file_hash(root / "ledger.sqlite")
    told = read_only(root, OPEN)
    assert "has version 1, is read-only here and must become 2 first" in told
    assert "lake init-state" in told
    assert file_hash(root / "ledger.sqlite") == before


def test_a_backup_that_does_not_fit_leaves_the_old_version(root: Path, store: Store, monkeypatch) -> None:
    class Full(sqlite3.Connection):
        def backup(self, *_: Any, **__: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    opened = sqlite3.connect
    full = "lake_resources.storage.ledger.versions.sqlite3.connect"
    monkeypatch.setattr(full, lambda *args, **given: opened(*args, **{"factory": Full} | given))
    with pytest.raises(StorageError, match="backup of the ledger"):
        store.ledger.symbols()
    monkeypatch.undo()
    assert version(root) == 1
    assert store.ledger.symbols() == list(SYMBOLS)
