"""Dagster's SQLite event log with connections that stay open.

Belongs here: the storage class that `dagster.yaml` names. Does not belong here: what is recorded; anything of the lake.
Dagster 1.13 opens about six connections per event, each with a new engine: no compiled statement is ever reused, and
closing the last connection of a file checkpoints it. That is most of the cost of recording an hour. The files stay the
same, and processes with Dagster's own class may use them at the same time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any

import dagster as dg
import sqlalchemy as sa

from lake_resources.dagster_private import (
    INDEX_SHARD_NAME,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    ConfigurableClassData,
    SqliteEventLogStorage,
    UserConfigSchema,
)
from lake_resources.failures_known_first import FailuresKnownFirst

# The webserver looks at many runs, each a file of its own; two descriptors are held per open one.
MAX_OPEN_SHARDS = 32


@dataclass(frozen=True)
class _OpenShard:
    engine: sa.Engine
    identity: tuple[int, int] | None


class PooledSqliteEventLogStorage(FailuresKnownFirst, SqliteEventLogStorage):
    """`SqliteEventLogStorage` that keeps its connections, per process.

    As in the class it extends, one lock lets one thread at a time use a connection. A forked child opens its own; a
    file that was deleted and made anew (a wipe by another process) is opened anew.

    In `dagster.yaml`, where Dagster's own class would keep the same files at the same place:

        event_log_storage:
          module: lake_resources.event_log
          class: PooledSqliteEventLogStorage
          config:
            home: { env: DAGSTER_HOME }

    Args:
        base_dir: directory of the event logs.
        inst_data: set by Dagster.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open_shards: OrderedDict[str, _OpenShard] = OrderedDict()
        self._owner = os.getpid()
        self._abandoned: list[_OpenShard] = []
        self._tables: set[str] = set()
        self._joined: dict[str, sa.Connection] = {}
        self._joined_in: int | None = None
        self._sparing = False
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The `config` of `dagster.yaml`: `home`, Dagster's home directory."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledSqliteEventLogStorage:
        """Called by Dagster with the `config` of `dagster.yaml`."""
        return cls(str(Path(config_value["home"]) / "history" / "runs"), inst_data)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; asked for every event, and a table that exists does not vanish."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def dispose(self) -> None:
        """Close everything; a later use opens it again."""
        with self._db_lock:
            self._forget_parents()
            while self._open_shards:
                self._open_shards.popitem()[1].engine.dispose()
        super().dispose()

    def let_go(self, run_id: str) -> None:
        """Close the file of a run that records nothing more, so that what lies beside it goes into it."""
        with self._db_lock:
            self._forget_parents()
            held = self._open_shards.pop(run_id, None)
            if held is not None:
                held.engine.dispose()

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Record an event as Dagster does; a spared check row in the index alone, which is what assets show."""
        spared = event.is_dagster_event and event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        if not (spared and self._sparing and self._joined_in == get_ident()):
            super().store_event(event)
            return
        with self.index_connection() as connection:
            stored = connection.execute(self.prepare_insert_event(event)).inserted_primary_key
        event_id = stored[0] if stored is not None else None
        self.store_asset_check_event(event, event_id)

    @contextmanager
    def in_one_transaction(self, run_id: str, *, spare_checks: bool = False) -> Iterator[None]:
        """All that this thread records of a run inside becomes visible at once, and costs one commit.

        Other threads and processes wait meanwhile, so it is for what takes a second, not for a run's work.

        Args:
            run_id: of the run.
            spare_checks: check rows are not recorded a third time, in the log of the run.
        """
        with self._db_lock, ExitStack() as opened:
            self._sparing = spare_checks
            opened.callback(setattr, self, "_sparing", False)
            for shard in (run_id, INDEX_SHARD_NAME):
                self._joined[shard] = opened.enter_context(self._one(shard))
            self._joined_in = get_ident()
            try:
                yield
            finally:
                self._joined_in = None
                self._joined.clear()

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        if self._joined_in == get_ident():
            yield self._joined[shard]
            return
        with self._db_lock, self._one(shard) as connection:
            yield connection

    @contextmanager
    def _one(self, shard: str) -> Iterator[sa.Connection]:
        path = Path(self.path_for_shard(shard))
        with self._engine(shard, path).connect() as connection, connection.begin():
            before = _changes(connection)
            yield connection
            written = _changes(connection) != before
        # The webserver follows a run by changes of its file, but new rows lie beside it until a checkpoint.
        if written and shard != INDEX_SHARD_NAME:
            with suppress(FileNotFoundError):
                os.utime(path)

    def _engine(self, shard: str, path: Path) -> sa.Engine:
        self._forget_parents()
        held = self._open_shards.get(shard)
        if held is not None:
            if held.identity == _identity(path):
                self._open_shards.move_to_end(shard)
                return held.engine
            del self._open_shards[shard]
            held.engine.dispose()
            self._initialized_dbs.discard(shard)
        engine = sa.create_engine(
            self.conn_string_for_shard(shard),
            poolclass=sa.QueuePool,
            pool_size=1,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
        )
        sa.event.listen(engine, "connect", _flush_at_checkpoints)
        if shard != INDEX_SHARD_NAME:
            sa.event.listen(engine, "connect", partial(_small_pages, 512 if self._sparing else 1024))
        if shard not in self._initialized_dbs:
            if shard == INDEX_SHARD_NAME:
                self._initdb(engine)
            else:
                self._begin_run(engine, path)
            self._initialized_dbs.add(shard)
        self._open_shards[shard] = _OpenShard(engine, _identity(path))
        for name in list(self._open_shards)[: max(0, len(self._open_shards) - MAX_OPEN_SHARDS)]:
            self._open_shards.pop(name).engine.dispose()
        return engine

    def _begin_run(self, engine: sa.Engine, path: Path) -> None:
        """Make a run's file, or see whether it is one of this Dagster.

        Dagster makes 25 tables and indexes one by one and reads all its migrations, 70 ms of CPU for a file that is the
        same each time: all but the first that a process makes are copies.
        """
        if self._sparing:
            self._initdb(engine)  # its pages are others, and there is one in five minutes
            return
        new = not path.exists()
        if new and _EMPTY and _appears(path, _EMPTY[0]):
            return
        self._initdb(engine)
        if new and not _EMPTY:
            with engine.connect() as connection:
                _EMPTY.append(connection.connection.driver_connection.serialize())  # type: ignore[union-attr]

    def _forget_parents(self) -> None:
        """In a forked child: neither use nor close the parent's connections."""
        if self._owner != os.getpid():
            self._abandoned += self._open_shards.values()
            self._open_shards = OrderedDict()
            self._owner = os.getpid()


_EMPTY: list[bytes] = []
"""A run's file without events, once this process has made one."""


def _appears(path: Path, content: bytes) -> bool:
    """Whether a file was made here, whole at once; not where another process was sooner or the place has no links."""
    made = path.with_name(f".{path.stem}-{os.getpid()}-{get_ident()}.new")
    try:
        made.write_bytes(content)
        os.link(made, path)
    except OSError:
        return False
    finally:
        made.unlink(missing_ok=True)
    return True


def _flush_at_checkpoints(connection: Any, _record: object) -> None:
    """No flush to the disk per event, only at checkpoints: nothing is lost when a process is killed.

    A power cut can lose the last rows, but leaves the files sound. The lake's own ledger flushes every commit and knows
    these hours; materializing them again records them, as `unchanged`.
    """
    connection.execute("PRAGMA synchronous=NORMAL").close()


def _small_pages(size: int, connection: Any, _record: object) -> None:
    """A run's file that is made now is a fraction as large: nearly all of its 25 tables and indexes hold little."""
    connection.execute(f"PRAGMA page_size={size}").close()


def _changes(connection: sa.Connection) -> int:
    """Rows written through this connection since it was opened."""
    return int(connection.connection.driver_connection.total_changes)  # type: ignore[union-attr]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
