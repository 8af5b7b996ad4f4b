"""Dagster's storage, opened beside the daemon and the webserver that write to it.

Belongs here: the one way in which the project opens an instance outside of Dagster's own processes, and its patience
with their locks. Does not belong here: what is asked of the instance.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
import tenacity
import yaml

from lake_resources.dagster_private import InstanceRef, wait_for_locks
from lake_resources.errors import StorageError
from lake_resources.storage.disk import of_sqlite

PATIENCE_S = 60.0
"""Dagster's own is 5 s, which a checkpoint on a busy disk can outlast."""
_WAIT = "Another process keeps it locked: let that one finish, then repeat"
_LOST = (
    "Check the disk, the permissions and the limits of this process (`ulimit -a`); a history that is damaged is moved "
    "away while the platform stands still, and told anew by `lake report-to-dagster`"
)


@contextmanager
def open_instance(
    home: Path | InstanceRef | None = None, *, patience_s: float = PATIENCE_S
) -> Iterator[dg.DagsterInstance]:
    """The instance of a Dagster home; opening it, and every question put to it, waits while another process locks it.

    Args:
        home: directory with a `dagster.yaml`, or what Dagster tells a process of it; default the environment's
            `DAGSTER_HOME`.
        patience_s: how long to wait for a lock, seconds.

    Raises:
        DiskFull: what is told to it has no space on the disk, or this process may write no larger file.
        StorageError: it stayed locked all that time, or its database or `dagster.yaml` cannot be read or written.
    """
    try:
        with _opened(home, patience_s) as instance:
            wait_for_locks(instance, patience_s)
            yield instance
    except sa.exc.DBAPIError as error:
        # The ledger tells its own errors itself, so that this one is of Dagster's storage.
        # A process that was told of its instance need not have the variable.
        place = home if isinstance(home, Path) else Path(os.environ.get("DAGSTER_HOME", ""))  # noqa: TID251 - Dagster's
        raise of_sqlite(f"Dagster's storage in {place}", error, place, _WAIT if _is_lock(error) else _LOST) from error


def _opened(home: Path | InstanceRef | None, patience_s: float) -> dg.DagsterInstance:
    try:
        return _found(home, patience_s)
    except (yaml.YAMLError, UnicodeDecodeError, dg.DagsterError) as error:
        raise StorageError(
            f"Dagster's storage does not open: {' '.join(str(error).split())}",
            remedy="Mend its dagster.yaml, or move the directory away to begin a new history",
        ) from error


def _found(home: Path | InstanceRef | None, patience_s: float) -> dg.DagsterInstance:
    patient = tenacity.Retrying(
        stop=tenacity.stop_after_delay(patience_s),
        wait=tenacity.wait_random(0.05, 0.5),
        retry=tenacity.retry_if_exception(_is_lock),
        reraise=True,
    )
    if isinstance(home, InstanceRef):
        return patient(dg.DagsterInstance.from_ref, home)
    return patient(dg.DagsterInstance.get) if home is None else patient(dg.DagsterInstance.from_config, str(home))


def _is_lock(error: BaseException) -> bool:
    return isinstance(error, sa.exc.OperationalError) and "database is locked" in str(error.orig)
