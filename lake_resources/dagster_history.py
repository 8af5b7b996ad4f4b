"""What Dagster's storage says of its daemons, sensors, schedules and runs, read without importing Dagster.

Belongs here: the rows of its tables as they lie there; names of its tables, columns and JSON fields. Does not belong
here: what is a problem (the caller's), writing, anything of assets and events (`dagster_instance` opens those).
These names are private to Dagster: lake_tests/contract/test_dagster_history.py reads what Dagster wrote, and fails with
"Dagster changed". Importing Dagster takes two seconds, which a look from outside should not cost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy.pool import NullPool

from lake_resources.errors import StorageError
from lake_resources.sqlite_file import connect_to_read, may_only_read

PATIENCE_S = 60.0
"""How long a question waits for a lock of another process; a checkpoint can outlast the 5 s that Dagster waits."""
SENSOR, SCHEDULE = "SENSOR", "SCHEDULE"
_ELSEWHERE = {"storage", "run_storage", "schedule_storage", "local_artifact_storage"}
"""Keys of `dagster.yaml` by which its tables lie elsewhere than in the two files of its default."""
_REMEDY = "Restore its directory from a backup, or delete it: the lake does not need Dagster's history"
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_INSTIGATORS = "SELECT selector_id, instigator_type, status, instigator_body FROM instigators"
_TICK = "SELECT status, tick_body FROM job_ticks WHERE selector_id = :of ORDER BY timestamp DESC LIMIT 1"
_FINISHED_TICK = (
    "SELECT status, tick_body FROM job_ticks WHERE selector_id = :of AND status IN ('SUCCESS', 'SKIPPED', 'FAILURE')"
    " ORDER BY timestamp DESC LIMIT 1"
)
_RUN_OF_JOB = (
    "SELECT run_id, status, start_time, end_time FROM runs WHERE pipeline_name = :job ORDER BY id DESC LIMIT 1"
)
_RUN_WITH_TAG = (
    "SELECT runs.run_id, runs.status, start_time, end_time FROM runs JOIN run_tags ON runs.run_id = run_tags.run_id"
    " WHERE key = :key AND value = :value ORDER BY runs.id DESC LIMIT 1"
)
Connect = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True)
class InstigatorState:
    """A sensor or schedule as the daemon left it; instants UTC, None where there was none.

    Attributes:
        name: as declared.
        kind: `SENSOR` or `SCHEDULE`.
        selector_id: its ticks are found by it.
        switched: `RUNNING` or `STOPPED` where a person said so, else `DECLARED_IN_CODE`.
        interval_s: of a sensor, where it is known.
        last_tick: of a sensor, the newest of begun and ended.
        since: when it was switched on.
    """

    name: str
    kind: str
    selector_id: str
    switched: str
    interval_s: float | None = None
    last_tick: datetime | None = None
    since: datetime | None = None

    @property
    def running(self) -> bool:
        """Whether it is not switched off."""
        return self.switched != "STOPPED"


@dataclass(frozen=True)
class TickSeen:
    """A tick: when it was (a schedule's bears the instant that it was due at), its status, what it failed with."""

    at: datetime | None
    status: str
    error: str | None = None


@dataclass(frozen=True)
class RunSeen:
    """A run: its id, instants (UTC) and status; `end` is None while it is under way."""

    run_id: str
    status: str
    start: datetime | None
    end: datetime | None


class DagsterHistory:
    """Questions to the tables of runs and of schedules; a table that is not there yet has no rows.

    Args:
        runs: opens a connection to the tables of runs and of daemons.
        schedules: opens one to those of sensors, schedules and ticks.
    """

    def __init__(self, runs: Connect, schedules: Connect) -> None:
        self._runs = runs
        self._schedules = schedules

    def daemon_beat(self) -> datetime | None:
        """The newest sign of life of any daemon."""
        rows = _rows(self._runs, "daemon_heartbeats", "SELECT body FROM daemon_heartbeats")
        return _instant(max((_told(row["body"]).get("timestamp", 0.0) for row in rows), default=None))

    def instigators(self) -> list[InstigatorState]:
        """All sensors and schedules that a daemon ever took up."""
        rows = _rows(self._schedules, "instigators", _INSTIGATORS)
        return [_instigator(row) for row in rows]

    def newest_tick(self, state: InstigatorState, *, finished: bool = False) -> TickSeen | None:
        """The newest tick of a sensor or schedule, None where there is none.

        Args:
            state: of which one.
            finished: only one that is over.
        """
        ask = _FINISHED_TICK if finished else _TICK
        return next((_tick(row) for row in _rows(self._schedules, "job_ticks", ask, of=state.selector_id)), None)

    def newest_run(self, *, job: str | None = None, tag: tuple[str, str] | None = None) -> RunSeen | None:
        """The newest run of a job, or with a tag; None where there is none."""
        if tag is None:
            rows = _rows(self._runs, "runs", _RUN_OF_JOB, job=job)
        else:
            rows = _rows(self._runs, "run_tags", _RUN_WITH_TAG, key=tag[0], value=tag[1])
        return next(map(_run, rows), None)


@contextmanager
def open_history(home: Path, *, patience_s: float = PATIENCE_S) -> Iterator[DagsterHistory]:
    """What the storage of a Dagster home says; Dagster itself is imported only where its tables lie elsewhere.

    Args:
        home: directory of the instance, with its `dagster.yaml`.
        patience_s: how long a question waits for a lock, seconds.

    Raises:
        StorageError: `dagster.yaml` cannot be read.
    """
    with ExitStack() as held:
        if _is_default(home / "dagster.yaml"):
            runs = _file(held, home / "history" / "runs.db", patience_s)
            schedules = _file(held, home / "schedules" / "schedules.db", patience_s)
        else:
            # Two seconds that only a lake with a database of its own pays.
            from lake_resources.dagster_instance import open_instance
            from lake_resources.dagster_private import storage_connections

            runs, schedules = storage_connections(held.enter_context(open_instance(home, patience_s=patience_s)))
        yield DagsterHistory(runs, schedules)


def _is_default(config: Path) -> bool:
    try:
        told = yaml.safe_load(config.read_text("utf-8"))
    except FileNotFoundError:
        return True
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StorageError(f"{config} cannot be read: {error}", remedy="Repair it, or delete it") from error
    return not isinstance(told, Mapping) or not _ELSEWHERE & set(told)


def _file(held: ExitStack, path: Path, patience_s: float) -> Connect:
    """Connections to a file of SQLite, which is not created by looking at it, and need not be writable."""
    if may_only_read(path):
        engine = sa.create_engine("sqlite://", creator=partial(connect_to_read, path, patience_s), poolclass=NullPool)
    else:
        url = sa.URL.create("sqlite", database=path.absolute().as_uri(), query={"mode": "rw", "uri": "true"})
        engine = sa.create_engine(url, connect_args={"timeout": patience_s}, poolclass=NullPool)
    held.callback(engine.dispose)

    @contextmanager
    def connect() -> Iterator[sa.Connection]:
        if path.exists():
            with engine.connect() as connection:
                yield connection
        else:
            with _NOTHING.connect() as connection:
                yield connection

    return connect


_NOTHING = sa.create_engine("sqlite://", poolclass=NullPool)
"""A database without tables, in memory."""


def _rows(connect: Connect, table: str, ask: str, **given: object) -> list[Mapping[str, Any]]:
    with connect() as connection:
        if not sa.inspect(connection).has_table(table):
            return []
        return [dict(row) for row in connection.execute(sa.text(ask), given).mappings()]


def _told(body: str) -> dict[str, Any]:
    """The fields of a value that Dagster wrote as JSON.

    Raises:
        StorageError: it is damaged.
    """
    try:
        found = json.loads(body)
    except ValueError as error:
        raise StorageError(f"a row of Dagster's storage is no JSON: {error}", remedy=_REMEDY) from error
    if not isinstance(found, dict):
        raise StorageError("a row of Dagster's storage holds no fields", remedy=_REMEDY)
    return found


def _tick(row: Mapping[str, Any]) -> TickSeen:
    body = _told(row["tick_body"])
    error = body.get("error") or {}
    return TickSeen(_instant(body.get("timestamp")), row["status"], error.get("message"))


def _run(row: Mapping[str, Any]) -> RunSeen:
    end = _instant(row["end_time"]) if row["status"] in _ENDED else None
    return RunSeen(row["run_id"], row["status"], _instant(row["start_time"]), end)


def _instigator(row: Mapping[str, Any]) -> InstigatorState:
    body = _told(row["instigator_body"])
    data = body.get("job_specific_data") or {}
    kind = row["instigator_type"]
    ticks = [data.get(name) or 0.0 for name in ("last_tick_timestamp", "last_tick_start_timestamp")]
    since = "last_sensor_start_timestamp" if kind == SENSOR else "start_timestamp"
    return InstigatorState(
        (body.get("origin") or {}).get("job_name", ""),
        kind,
        row["selector_id"],
        row["status"],
        data.get("min_interval"),
        _instant(max(ticks)),
        _instant(data.get(since)),
    )


def _instant(epoch_s: float | None) -> datetime | None:
    return datetime.fromtimestamp(epoch_s, tz=UTC) if epoch_s else None
