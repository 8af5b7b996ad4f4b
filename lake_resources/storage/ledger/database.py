"""Which database a ledger lies in, chosen by its URL.

Belongs here: what the ledger needs of a database (its port), and the choice. Does not belong here: either side
(`in_sqlite`, `in_postgres`), statements on tables.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from lake_resources.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from lake_resources.storage.file_store import FileStore

LEDGER_URLS = (
    "Leave LAKE_LEDGER_URL empty, or set it to sqlite:////path/ledger.sqlite on a local disk, or for several hosts to "
    "postgresql+psycopg://user@host/database"
)


class LedgerDatabase(Protocol):
    """What a ledger needs of its database.

    Attributes:
        is_shared: writers of several hosts may use it. Files then have names that hold their hash, and one transaction
            makes them visible, for no lock file tells a living writer of another host from a dead one.
    """

    is_shared: bool

    def open(self, files: FileStore | None, *, anew: bool) -> sa.Engine:
        """Connect; create tables that are absent, migrate old ones.

        Args:
            files: files of the lake that the ledger is about; None where the caller has nothing to do with files.
            anew: the ledger is begun although the lake holds files, because it is filled from them.

        Raises:
            LedgerError: it is lost, damaged, or of another version.
            SettingsError: it belongs to the files of another place.
            StorageError: it cannot be reached or written.
        """

    def hold(self, connection: sa.Connection, key: str | None) -> None:
        """Take the write lock at the start of a transaction, so that what is read in it stays true until its end.

        Args:
            connection: in a transaction that began just now.
            key: what is written, so that writers of other keys need not wait; None stands for all of the ledger.
        """

    def insert(self, table: sa.Table) -> Any:
        """INSERT with ON CONFLICT, which generic SQL does not know."""

    def translated(self, error: sa.exc.DBAPIError) -> StorageError:
        """An error of the driver as one of the lake, decided by its class and code."""

    def locked(self, engine: sa.Engine, path: Path, timeout_s: float) -> AbstractContextManager[None]:
        """Hold a lock that all writers of the lake respect, for longer than a transaction; not re-entrant.

        Args:
            engine: connections to this database.
            path: the lock's file; its name is the lock's name where locks are no files.
            timeout_s: how long to wait for another holder, seconds.

        Raises:
            PartitionBusy: another writer held it all that time.
        """


def database_of(url: str, busy_ms: int) -> LedgerDatabase:
    """The database of a ledger's URL; nothing is opened.

    Args:
        url: SQLAlchemy URL.
        busy_ms: how long a write waits for another process's, milliseconds.

    Raises:
        SettingsError: it is no URL, or one of a database over which concurrent writers would lose rows.
    """
    from lake_resources.storage.ledger.in_sqlite import SqliteDatabase

    try:
        backend = sa.make_url(url).get_backend_name()
    except sa.exc.ArgumentError as error:
        raise SettingsError("the ledger's URL is no URL", remedy=LEDGER_URLS) from error
    if backend == "postgresql":
        # Only here: a lake on one machine does not pay for loading it.
        from lake_resources.storage.ledger.in_postgres import PostgresDatabase

        return PostgresDatabase(url, busy_ms)
    if backend != "sqlite":
        raise SettingsError(
            f"ledger {shown(url)}: concurrent writers over {backend} would lose committed rows", remedy=LEDGER_URLS
        )
    return SqliteDatabase(url, busy_ms)


def shown(url: str) -> str:
    """A URL as people may see it, without a password, also where it is given as an option."""
    parsed = sa.make_url(url)
    secret = [name for name in parsed.query if "password" in name.lower()]
    return parsed.difference_update_query(secret).render_as_string(hide_password=True)
