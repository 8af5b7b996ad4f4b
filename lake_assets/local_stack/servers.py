"""The servers that a lake of several machines names: whether they answer, before processes start that need them.

Belongs here: one question to each. Does not belong here: what goes away later, which each process waits for by itself.
"""

from __future__ import annotations

from lake_resources.errors import SettingsError, StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.bucket import Bucket

_WAIT_S = 10


def require_servers(settings: LakeSettings) -> None:
    """Ask each server of the settings once; one that is not named is not asked, and its driver is not loaded.

    Raises:
        SettingsError: its driver is not installed.
        StorageError: one does not answer, or does not let this user in; names the setting, and shows no password.
    """
    try:
        if settings.ledger_file is None:
            _ask_postgres("LAKE_LEDGER_URL", settings.resolved_ledger_url)
        if settings.broker_url:
            _ask_postgres("LAKE_DAGSTER_URL", settings.dagster_url)
            _ask_redis(settings.broker_url)
        if settings.store_url:
            _ask_bucket(settings.store_url)
    except ImportError as error:
        raise SettingsError(
            f"the driver {error.name} of a server is not installed",
            remedy="Install what several machines need: pip install 'minute-lake[scale]'",
        ) from error


def _ask_postgres(name: str, url: str) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(url, connect_args={"connect_timeout": _WAIT_S}, poolclass=sa.NullPool)
    try:
        with engine.connect():
            pass
    except sa.exc.DBAPIError as error:
        raise _silent(name, error.orig or error, "host, database, user and password") from None


def _ask_redis(url: str) -> None:
    import redis

    try:
        with redis.Redis.from_url(url, socket_connect_timeout=_WAIT_S, socket_timeout=_WAIT_S) as broker:
            broker.ping()
    except (redis.RedisError, ValueError) as error:
        raise _silent("LAKE_BROKER_URL", error, "host, port and password") from None


def _ask_bucket(url: str) -> None:
    try:
        # A list: of a single object a service does not tell whether it or its bucket is missing.
        Bucket(url).names("")
    except StorageError as error:
        raise type(error)(f"LAKE_STORE_URL: {error.what}", remedy=error.remedy) from None


def _silent(name: str, error: BaseException, parts: str) -> StorageError:
    why = " ".join(str(error).split("\n", 1)[0].split())[:300]
    return StorageError(
        f"{name}: its server does not answer or refuses: {why}",
        remedy=f"Start the server, or correct {parts} in {name}; then repeat",
    )
