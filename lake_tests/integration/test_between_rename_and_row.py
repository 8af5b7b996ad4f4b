"""A writer halted between the renames of its files and their ledger rows: no look sees a mixture or raises an alarm."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lake_assets.audit.scan import audit_partitions
from lake_assets.build.compaction import run_compaction
from lake_assets.cli.lake_tables import hours_table
from lake_assets.reading import load, verify
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.watchdog.look import find_facts
from lake_resources.clock import MINUTE
from lake_resources.dagster_history import open_history
from lake_resources.errors import StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition, recover
from lake_resources.storage.compaction import Period, compact
from lake_resources.storage.hashing import file_hash
from lake_tests.support.halted_writer import HELD_ROWS, STREAMS, halted_writer
from lake_tests.support.sound_hours import (
    FIRST,
    HOUR,
    LAG,
    NOW,
    SYMBOL,
    candidate,
    commit_sound,
    open_files,
    sound_rows,
)

pytestmark = pytest.mark.slow

END = FIRST + 3 * HOUR
REPOSITORY = Path(__file__).resolve().parents[2]
HALTS = [signal.SIGSTOP, signal.SIGKILL]


@pytest.fixture
def settings(tmp_path):
    """A lake with a whole hour and one that lacks its last minute."""
    found = LakeSettings(root=tmp_path, symbols=(SYMBOL,), collector=False)
    store = open_files(found.lake_root)
    commit_sound(store, FIRST, 1, streams=STREAMS)
    held = candidate(FIRST + HOUR, sound_rows(FIRST, 3).slice(60, HELD_ROWS), streams=STREAMS)
    commit_partitions(store, SYMBOL, [held], clock=lambda: NOW)
    store.ledger.close()
    return found


def loaded(settings, end, require="any"):
    """Frame and certificate, which agree with each other and with the files."""
    frame, certificate = load(SYMBOL, FIRST, end, ["close"], require=require, settings=settings, clock=lambda: NOW)
    rows = frame.collect()
    verify(certificate, settings=settings)
    assert rows.height == certificate.present_rows
    return rows.height


def audited(settings, end):
    store = open_files(settings.lake_root)
    report = audit_partitions(store, SYMBOL, FIRST, end, now=NOW, lag_minutes=LAG)
    assert report.hours
    return {verdict.hour: verdict.names for verdict in report.wrong}


def shown(settings):
    """The column of rows of `lake show`."""
    store = open_files(settings.lake_root)
    return list(hours_table(store, SYMBOL, FIRST, END).columns[1].cells)


def health(settings):
    ledger = open_files(settings.lake_root).ledger
    with open_history(settings.lake_root) as nothing:
        facts = find_facts(settings, nothing, ledger, NOW)
    return facts.holes[SYMBOL]


def intents(settings):
    return open_files(settings.lake_root).ledger.intents()


def assert_old(settings):
    """Every look sees the lake as it was before the writer came."""
    assert loaded(settings, END) == 60 + HELD_ROWS
    assert shown(settings) == ["60", f"{HELD_ROWS}/60"]
    late, absent = ("missing_minutes", "ledger_incomplete"), ("missing_file",)
    wrong = audited(settings, END)
    assert wrong.keys() == {FIRST + HOUR, FIRST + 2 * HOUR}
    assert wrong[FIRST + 2 * HOUR] == absent
    assert not {"content_hash_mismatch", "ledger_rows_mismatch"} & {*wrong[FIRST + HOUR]}, late
    assert health(settings).watermark == FIRST + HOUR + (HELD_ROWS - 1) * MINUTE


def assert_read(settings):
    """The same, of what a reader asks."""
    assert loaded(settings, END, require="clean") == 180
    assert shown(settings) == ["60", "60", "60"]
    assert audited(settings, END) == {}


def assert_new(settings):
    """Every look sees the lake as the writer leaves it."""
    assert_read(settings)
    assert health(settings).watermark == END - MINUTE


@pytest.mark.parametrize("how", HALTS)
def test_staged_hours_are_not_there_yet(settings, how):
    with halted_writer(settings.lake_root, how, renames=0):
        assert len(intents(settings)) == 2
        assert_old(settings)


@pytest.mark.parametrize("how", HALTS)
def test_of_two_hours_the_renamed_one_is_committed(settings, how):
    with halted_writer(settings.lake_root, how, renames=1):
        assert loaded(settings, FIRST + 2 * HOUR, require="clean") == 120
        assert loaded(settings, END) == 120
        assert shown(settings) == ["60", "60"]
        assert audited(settings, FIRST + 2 * HOUR) == {}
        assert health(settings).watermark == FIRST + 2 * HOUR - MINUTE


@pytest.mark.parametrize("how", HALTS)
def test_renamed_hours_are_committed(settings, how):
    with halted_writer(settings.lake_root, how, renames=2):
        assert_new(settings)
        assert len(intents(settings)) == 2, "looking changes nothing"


def test_a_writer_that_goes_on_ends_in_the_same_state(settings):
    with halted_writer(settings.lake_root, signal.SIGSTOP, renames=1) as writer:
        frame, certificate = load(SYMBOL, FIRST, END, ["close"], settings=settings, clock=lambda: NOW)
        writer.send_signal(signal.SIGCONT)
        assert writer.wait(timeout=240) == 0
        assert intents(settings) == []
        assert_new(settings)
        assert frame.collect().height == 120, "what was planned is what is read"
        with pytest.raises(StorageError, match="were committed since"):
            verify(certificate, settings=settings)


def test_a_damaged_file_is_still_told_apart(settings):
    with halted_writer(settings.lake_root, signal.SIGKILL, renames=2):
        _, certificate = load(SYMBOL, FIRST, END, ["close"], settings=settings, clock=lambda: NOW)
        path = open_files(settings.lake_root).catalog.partition_path(SYMBOL, FIRST + 2 * HOUR)
        path.write_bytes(path.read_bytes()[:-1] + b"X")
        assert {*audited(settings, END)[FIRST + 2 * HOUR]} >= {"file_without_ledger"}
        with pytest.raises(StorageError):
            verify(certificate, settings=settings)
        assert audited(settings, FIRST + 2 * HOUR) == {}


def test_recovery_and_compaction_end_it(settings):
    with halted_writer(settings.lake_root, signal.SIGKILL, renames=2):
        store = open_files(settings.lake_root)
        before = {row.start: row for row in store.ledger.partitions(SYMBOL, FIRST, END)}
        (month,) = run_compaction(UM_MINUTE, store, SYMBOL, now=NOW, clock=lambda: NOW)
        assert (month.status, month.row_count) == ("compacted", 180)
        assert store.ledger.intents() == []
        assert {row.start: row for row in store.ledger.partitions(SYMBOL, FIRST, END)} == before
        assert len(before) == 3
        for row in before.values():
            assert file_hash(store.catalog.absolute(row.path)) == row.content_hash
        assert recover(store).finished == ()
        assert_new(settings)


def test_quarantine_and_day_files_are_as_the_commit_leaves_them(settings):
    store = open_files(settings.lake_root)
    hours = store.ledger.partition_files(SYMBOL, FIRST, FIRST + 24 * HOUR)
    day = Period(SYMBOL, "day", FIRST, FIRST + 24 * HOUR)
    assert compact(store, day, hours, clock=lambda: NOW).status == "compacted"
    refused = FIRST + 2 * HOUR
    rejection = Rejection(refused, None, ["continuity"], "a minute is missing")
    quarantine_partition(store, SYMBOL, rejection, clock=lambda: NOW)
    assert [entry.start for entry in store.ledger.quarantined(SYMBOL, FIRST, END)] == [refused]
    with halted_writer(settings.lake_root, signal.SIGKILL, renames=2):
        assert store.ledger.quarantined(SYMBOL, FIRST, END) == []
        (file,) = store.ledger.compacted_files(SYMBOL)
        assert file.served == [FIRST]
        assert_new(settings)
        assert len(store.ledger.intents()) == 2


def test_a_reader_who_may_write_nothing_sees_the_same(settings, tmp_path):
    """Nothing of the lake is writable; root, who could write all the same, gives that power up."""
    code = (
        "from pathlib import Path\n"
        "from lake_resources.settings import LakeSettings\n"
        "from lake_tests.integration.test_between_rename_and_row import assert_read\n"
        f"settings = LakeSettings(root=Path({str(tmp_path)!r}), symbols=({SYMBOL!r},), collector=False)\n"
        "try: (settings.lake_root / 'written').touch()\n"
        "except PermissionError: assert_read(settings)\n"
        "else: raise SystemExit('the lake is writable')\n"
    )
    powerless = ["setpriv", "--bounding-set=-all"] if os.getuid() == 0 else []
    with halted_writer(settings.lake_root, signal.SIGSTOP, renames=2):
        modes = {path: path.stat().st_mode for path in settings.lake_root.rglob("*")}
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        settings.lake_root.chmod(0o555)
        done = subprocess.run(
            [*powerless, sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        settings.lake_root.chmod(0o755)
        for path, mode in modes.items():
            path.chmod(mode)
    assert (done.returncode, done.stderr) == (0, "")
