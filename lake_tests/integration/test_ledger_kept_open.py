"""Reads keep the ledger open: each sees what is committed by then, in the ledger that lies there by then."""

import sqlite3
from contextlib import closing

import pytest

from lake_assets.reading import scan_minutes
from lake_resources.errors import LedgerError
from lake_resources.settings import LakeSettings
from lake_tests.support.sound_hours import FIRST, HOUR, SYMBOL, commit_sound, open_files


def test_a_read_sees_what_is_committed_and_the_ledger_that_lies_there_by_then(tmp_path):
    settings = LakeSettings(root=tmp_path / "lake", symbols=(SYMBOL,), collector=False)
    store, ledger, other = open_files(settings.lake_root), settings.ledger_file, tmp_path / "other.sqlite"

    def rows() -> int:
        return scan_minutes(SYMBOL, FIRST, FIRST + 3 * HOUR, ["close"], settings=settings).collect().height

    commit_sound(store, FIRST, 1)
    assert rows() == 60
    with closing(sqlite3.connect(ledger)) as here, closing(sqlite3.connect(other)) as copy:
        here.backup(copy)
    commit_sound(store, FIRST + HOUR, 1)
    assert rows() == 120
    store.close()
    for side in ("", "-wal", "-shm"):
        ledger.with_name(f"{ledger.name}{side}").unlink(missing_ok=True)
    with pytest.raises(LedgerError, match="is gone"):
        rows()
    other.rename(ledger)
    assert rows() == 60
