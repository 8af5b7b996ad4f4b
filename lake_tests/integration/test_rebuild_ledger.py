"""A lost or damaged ledger is told, and made anew from the files: compared with a copy of the lost one."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from lake_assets.at_rest import TableStore, table_store
from lake_assets.build.hours import build_partitions
from lake_assets.build.ledger_rebuild import BETTER_FROM_OLD, FROM_OLD
from lake_assets.cli.main import app
from lake_assets.lake import open_lake
from lake_assets.reading import scan_minutes
from lake_assets.slices.server import open_slices, run_once
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import CHECKS, outcomes_from_json
from lake_resources.clock import HOUR
from lake_resources.errors import LedgerError, LedgerVersion, NotYet, SettingsError
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.storage.compaction import Period, clear, compact
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Ledger
from lake_resources.storage.ledger.restored_rows import LOST
from lake_resources.storage.ledger.slice_rows import SliceRows
from lake_resources.storage.ledger.tables import METADATA
from lake_resources.storage.root import claim_root, require_lake
from lake_tests.support.simulated_lake import DAY, PUBLISHED, SYMBOL, bench_on, exchange, hours
from lake_tests.support.sliced import OF, ms
from lake_tests.support.stores import store_at

pytestmark = pytest.mark.slow

NEXT = DAY + 24 * HOUR
END = NEXT + 24 * HOUR
BEFORE = DAY - 48 * HOUR
HOLE = KnownHole("klines_1m", SYMBOL, DAY, DAY + HOUR, "halt", "notice")
DEAF = "http://127.0.0.1:1"
REPOSITORY = Path(__file__).parents[2]
RUNBOOK = REPOSITORY / "docs" / "runbook.md"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lake with archived hours, compacted and cleared and not, hours from REST, an open hour and a refused one."""
    with exchange() as sim, bench_on(sim, tmp_path_factory.mktemp("built")) as bench:
        store = bench.at(PUBLISHED).lake.store
        lost = DAY + 5 * HOUR + timedelta(minutes=17)
        bench.fault("missing_minutes", "/(klines|fapi/v1/klines)", start=lost, end=lost + timedelta(minutes=2))
        bench.build(hours(0, 3))
        held = store.ledger.partition_files(SYMBOL, DAY, NEXT)
        compact(store, Period(SYMBOL, "day", DAY, NEXT), held, clock=bench.lake.clock)
        clear(store, SYMBOL, clock=lambda: PUBLISHED + 48 * HOUR, grace=HOUR)
        assert not bench.lake.catalog.partition_path(SYMBOL, DAY).exists()
        bench.build(hours(3, 5))
        assert [each.status for each in bench.build(hours(5, 6))] == ["quarantined"]
        sim.faults.clear()
        bench.at(NEXT + 10 * HOUR + timedelta(minutes=30, seconds=30))
        bench.fault("5xx", "/fapi/v1/premiumIndexKlines", times=None)
        assert {each.status for each in bench.build(hours(6, 8) + hours(9, 10, NEXT))} == {"committed"}
        sim.faults.clear()
        assert bench.build(hours(10, 11, NEXT))[0].expected_rows == 27
        bench.lake.ledger.declare_hole(HOLE)
        settings = bench.settings.model_copy(update={"spot_rest_url": sim.base_url})
        with open_slices(settings, clock=bench.lake.clock) as slices:
            assert run_once(slices, OF, first=ms(DAY), most=2).standing["ok"] == 1
        _stamp(bench.lake.store)
        yield bench.settings.lake_root


def _stamp(store: TableStore) -> None:
    """Give files the times of the test's clock, which the ledger has."""
    ledger = store.ledger
    times = {row.path: row.committed_at for row in ledger.partitions(SYMBOL, DAY, END)}
    times |= {row.path: row.compacted_at for row in ledger.compacted_files(SYMBOL, superseded=True)}
    times |= {str(row.path): row.quarantined_at for row in ledger.quarantined(SYMBOL, DAY, END, resolved=True)}
    for name in UM_MINUTE.uses:
        times |= {row.path: row.fetched_at for row in ledger.archives_between(SYMBOL, name, BEFORE, END)}
        times |= {row.path: row.captured_at for row in ledger.captures_between(SYMBOL, name, BEFORE, END)}
    for path, at in times.items():
        if store.catalog.absolute(path).is_file():
            os.utime(store.catalog.absolute(path), (at.timestamp(), at.timestamp()))


@pytest.fixture
def root(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which the environment names, and beside it a copy of its ledger."""
    root = tmp_path / "lake"
    subprocess.run(["cp", "-a", str(built), str(root)], check=True)
    with closing(store_at(root)) as store:
        store.ledger.symbols()
    with closing(sqlite3.connect(root / "ledger.sqlite")) as held, closing(sqlite3.connect(tmp_path / "copy")) as copy:
        held.backup(copy)
    monkeypatch.chdir(tmp_path)
    for name, value in {"ROOT": str(root), "SYMBOLS": SYMBOL, "REST_URL": DEAF, "VISION_URL": DEAF}.items():
        monkeypatch.setenv(f"LAKE_{name}", value)
    return root


def lose(root: Path) -> None:
    for path in root.glob("ledger.sqlite*"):
        path.unlink()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rebuild-ledger", *arguments])


def told(ledger: Ledger, url: str) -> dict[str, Any]:
    """What the two ledgers are compared by."""
    partitions = ledger.partitions(SYMBOL, DAY, END)
    missing = [row for row in ledger.missing_sources(SYMBOL) if row.source == "rest"]
    quarantined = ledger.quarantined(SYMBOL, DAY, END, resolved=True)
    archives = [a for name in UM_MINUTE.uses for a in ledger.archives_between(SYMBOL, name, BEFORE, END)]
    with closing(SliceRows(url)) as rows:
        held = [row for row in rows.slice_rows(OF) if row.path]
        slices = (rows.origin(OF), [row for row in held if row.status == "ok"], [row.sha256 for row in held])
    captures = [c for name in UM_MINUTE.uses for c in ledger.captures_between(SYMBOL, name, BEFORE, END)]
    compacted = ledger.compacted_files(SYMBOL, superseded=True)
    return {
        "watermark": ledger.watermark(SYMBOL),
        # What a check compared reaches into the hours that were built with it, so of checks the verdict is compared.
        "partitions": [replace(row, checks=passed(row.checks)) for row in partitions],
        "compacted": [replace(row, cleared_at=row.cleared_at and DAY) for row in compacted],
        "archives": [replace(row, size_bytes=0) for row in archives],
        "captures": [replace(row, request="") for row in captures],
        "missing": {(row.stream, row.period) for row in missing if row.stream == "premium_index_klines_1m"},
        "quarantined": [(row.start, row.path, row.codes, row.accounted_until) for row in quarantined],
        "holes": ledger.known_holes(SYMBOL, DAY, END),
        "slices": slices,
    }


def passed(checks: str) -> str:
    return json.dumps([(each.name, each.passed) for each in outcomes_from_json(checks, CHECKS)])


def files(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*.parquet")
    }


def both(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the copy of the lost ledger tells, and what the new one does."""
    copy = f"sqlite:///{root.parent / 'copy'}"
    with closing(table_store(root, copy, UM_MINUTE)) as old, closing(store_at(root)) as new:
        return told(old.ledger, copy), told(new.ledger, f"sqlite:///{root / 'ledger.sqlite'}")


def test_a_lost_ledger_is_told_and_not_begun_anew(root: Path) -> None:
    lose(root)
    for command in ("show-watermark", "audit", "holes", "run-once"):
        result = CliRunner().invoke(app, [command])
        assert isinstance(result.exception, LedgerError), (command, result.exception)
        assert "is gone, but the lake holds data" in str(result.exception)
        assert "lake rebuild-ledger" in str(result.exception)
        section = str(result.exception).rpartition("section '")[2].partition("'")[0]
        assert f"## {section}" in RUNBOOK.read_text()
        assert not (root / "ledger.sqlite").exists()
    (root / "ledger.sqlite").touch()
    with closing(store_at(root)) as store, pytest.raises(LedgerError, match="is empty, but the lake holds data"):
        store.ledger.symbols()


def test_a_lost_ledger_is_made_anew_from_the_files(root: Path) -> None:
    before, rows = files(root), scan_minutes(SYMBOL, DAY, END).collect()
    lose(root)
    result = run()
    assert result.exit_code == 0, (result.output, result.exception)
    assert files(root) == before
    assert scan_minutes(SYMBOL, DAY, END).collect().equals(rows)
    lost, found = both(root)
    assert lost.pop("holes") == [HOLE]
    assert found.pop("holes") == []
    assert "all of known_holes" in result.output
    assert len(found["partitions"]) == 9
    for name, value in lost.items():
        assert found[name] == value, name
    assert {row.verdict for row in found["partitions"]} >= {"clean", "partial", "provisional"}


def test_each_table_of_the_ledger_is_made_anew_taken_over_or_told_as_lost() -> None:
    made = {"partitions", "compacted_files", "archives", "captures", "missing_sources", "quarantine", "watermark"}
    of_the_moment = {"ledger_version", "intents"}
    assert {*FROM_OLD, *BETTER_FROM_OLD} | made | of_the_moment == set(METADATA.tables)


def test_a_rebuilt_lake_needs_no_build(root: Path) -> None:
    lose(root)
    assert run("--json").exit_code == 0
    with closing(store_at(root)) as store:
        held = {row.start: row for row in store.ledger.partitions(SYMBOL, DAY, END)}
        lake = replace(open_lake(LakeSettings()), ask_rest=False)
        again = [
            result
            for day in build_partitions(lake, SYMBOL, hours(0, 5), now=PUBLISHED, report=lambda _: None)
            for result in day.hours
        ]
        lake.close()
        assert {result.status for result in again} == {"unchanged"}
        assert {row.start: row for row in store.ledger.partitions(SYMBOL, DAY, END)} == held


def test_without_judging_the_files_alone_speak(root: Path) -> None:
    lose(root)
    result = run("--no-judge")
    assert result.exit_code == 0, result.output
    lost, found = both(root)
    assert found["watermark"] == lost["watermark"]
    cleared = {row.start for row in found["partitions"] if row.content_hash == LOST}
    assert cleared == set(hours(0, 3)), "files that were removed after compaction"
    for old, new in zip(lost["partitions"], found["partitions"], strict=True):
        assert (new.verdict, new.checks) == (None, "[]")
        assert (new.expected_rows, new.complete, new.row_count) == (old.expected_rows, old.complete, old.row_count)
        if new.start not in cleared:
            same = replace(new, verdict=old.verdict, verdict_detail=old.verdict_detail, checks=old.checks)
            assert same == old


def test_a_damaged_ledger_is_kept_and_gives_what_still_reads(root: Path) -> None:
    path = root / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("DELETE FROM partitions")
        connection.execute("DROP TABLE captures")
        connection.commit()
    damaged = file_hash(path)
    result = run()
    assert result.exit_code == 0, (result.output, result.exception)
    (kept,) = root.glob("ledger.sqlite.before-*")
    assert file_hash(kept) == damaged
    lost, found = both(root)
    assert found == lost


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_ledger_is_told_and_made_anew(root: Path, share: float) -> None:
    path = root / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    cut = path.read_bytes()
    result = CliRunner().invoke(app, ["audit", "--full"])
    assert isinstance(result.exception, LedgerError), result.exception
    assert "The ledger is damaged" in str(result.exception)
    if share:
        assert path.read_bytes()[:18] + path.read_bytes()[20:] == cut[:18] + cut[20:], "but the mark of its journal"
    assert run("--no-judge").exit_code == 0
    lost, found = both(root)
    assert found["watermark"] == lost["watermark"]


def test_a_newer_ledger_is_not_taken_for_a_damaged_one(root: Path) -> None:
    with closing(sqlite3.connect(root / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("UPDATE ledger_version SET version = version + 1")
        connection.commit()
    before = file_hash(root / "ledger.sqlite")
    result = run()
    assert isinstance(result.exception, LedgerVersion)
    assert sorted(path.name for path in root.glob("ledger.sqlite*")) == ["ledger.sqlite"]
    assert file_hash(root / "ledger.sqlite") == before


def test_a_file_that_says_too_little_is_left_out_and_named(root: Path) -> None:
    lose(root)
    with closing(store_at(root)) as store:
        store.catalog.partition_path(SYMBOL, DAY + 4 * HOUR).write_bytes(b"PAR1 torn PAR1")
        stray = store.catalog.partition_path(SYMBOL, DAY + 9 * HOUR)
        stray.parent.mkdir(parents=True)
        pl.DataFrame({"a": [1]}).write_parquet(stray)
    result = run("--no-judge")
    assert result.exit_code == 1, result.output
    assert "hour=04/part.parquet" in result.output
    assert "hour=09/part.parquet" in result.output
    with closing(store_at(root)) as store:
        assert store.ledger.partition(SYMBOL, DAY + 3 * HOUR) is not None
        assert store.ledger.partition(SYMBOL, DAY + 4 * HOUR) is None


def test_the_ledger_knows_whose_data_a_root_holds(root: Path) -> None:
    (root / "EXCHANGE").unlink()
    require_lake(root, "simulator")
    with pytest.raises(SettingsError, match="holds data of the exchange 'simulator'"):
        claim_root(root, "binance")
    assert not (root / "EXCHANGE").exists()
    claim_root(root, "simulator")
    assert (root / "EXCHANGE").read_text() == "simulator\n"


def test_a_symbol_that_the_lake_does_not_know_is_told(root: Path) -> None:
    day = f"{DAY - timedelta(days=9):%Y-%m-%d}"
    assert CliRunner().invoke(app, ["show", SYMBOL, "--day", day]).exit_code == 0, "a day without anything is a day"
    result = CliRunner().invoke(app, ["show", "DOGEUSDT", "--json"])
    assert isinstance(result.exception, NotYet), root
    assert "knows no DOGEUSDT" in str(result.exception)


def test_files_follow_the_umask(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "os.umask(0o027)\n"
        "from pathlib import Path\n"
        "from lake_resources.storage.root import claim_root\n"
        "from lake_tests.support.sound_hours import FIRST, commit_sound, open_files\n"
        "root = Path(sys.argv[1])\n"
        "claim_root(root, 'simulator')\n"
        "commit_sound(open_files(root), FIRST, 1)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lake")], cwd=REPOSITORY, check=True)
    paths = [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]
    assert {"EXCHANGE", "part.parquet", "ledger.sqlite"} <= {path.name for path in paths}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert set(modes.values()) == {0o640}, modes
