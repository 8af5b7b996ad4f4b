"""Dagster's storage is opened, and asked, while another process locks it as the end of its last connection does."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from lake_resources.dagster_instance import open_instance
from lake_resources.errors import StorageError

pytestmark = pytest.mark.slow

YAML = Path(__file__).resolve().parents[2] / "dagster_home" / "dagster.yaml"
_HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode=EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
connection.execute("CREATE TABLE held (x)")
connection.execute("ROLLBACK")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
DATABASES = ["history/runs.db", "schedules/schedules.db"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copyfile(YAML, tmp_path / "dagster.yaml")
    with open_instance() as instance:
        assert ask(instance) == 0
    return tmp_path


def ask(instance):
    return len(instance.get_runs()) + len(instance.all_instigator_state())


@contextmanager
def locked(path, seconds):
    """Another process that holds a database for itself alone, for so long or until the block ends."""
    command = [sys.executable, "-c", _HOLD, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


@pytest.mark.parametrize("name", DATABASES)
def test_a_lock_is_waited_for(home, name):
    with locked(home / name, 1.0), open_instance(home) as instance:
        assert ask(instance) == 0
    with open_instance() as instance, locked(home / name, 1.0):
        assert ask(instance) == 0


@pytest.mark.parametrize("name", DATABASES)
def test_patience_ends_when_it_was_said_to(home, name):
    """SQLite itself says how long a connection waits: the driver's 5 s do not count."""
    with open_instance(patience_s=0.2) as instance:
        for storage in (instance.run_storage, instance.schedule_storage):
            with storage.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 200
        with locked(home / name, 60), pytest.raises(sa.exc.OperationalError, match="locked"):
            ask(instance)
    with (
        locked(home / name, 60),
        pytest.raises(StorageError, match=r"Dagster's storage in .* locked"),
        open_instance(patience_s=0.2) as instance,
    ):
        ask(instance)


@pytest.mark.parametrize("text", [b"a: [", b"no_such_key: {x: 1}", b"\xff\xfe: 1"])
def test_a_configuration_that_does_not_read_is_told(home, text):
    (home / "dagster.yaml").write_bytes(text)
    with pytest.raises(StorageError, match=r"does not open.*dagster\.yaml"), open_instance(home):
        pass


@pytest.mark.parametrize("name", DATABASES)
def test_opening_outlasts_the_time_out_of_the_driver(home, name):
    with locked(home / name, 8.0), open_instance() as instance:
        assert ask(instance) == 0
