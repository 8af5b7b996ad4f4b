"""Settings of a lake beyond one machine: the servers of Dagster, and the address behind which a host is.

Belongs here: these addresses. Does not belong here: the ledger's (`settings`), what is made of them
(`lake_assets.local_stack.instance_file`, `dagster_home/cluster.yaml`).
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from lake_resources.errors import SettingsError
from lake_resources.settings_values import server_address

_DRIVER = "postgresql+psycopg2://"
"""Dagster speaks through psycopg2, and SQLAlchemy 2.1 takes a bare `postgresql://` for another driver."""


class ClusterSettings(BaseSettings):
    """Where a lake of several machines finds its servers; empty means that there is one machine."""

    dagster_url: str = Field(
        "",
        repr=False,
        description="Postgres of Dagster's runs and events, `postgresql://user@host/database`; empty means SQLite in "
        "the lake's `dagster_home`. Used with `LAKE_BROKER_URL`, or by a `dagster.yaml` of your own that names it.",
    )
    broker_url: str = Field(
        "",
        repr=False,
        description="Redis of the Celery workers that execute runs, `redis://host:6379/0`; empty means that runs are "
        "executed here. Needs `LAKE_DAGSTER_URL`.",
    )

    egress_id: str = Field(
        "",
        pattern="^[A-Za-z0-9._-]{0,64}$",
        description="Name of the address by which hosts reach the exchange: those of one name share one weight "
        "governor, in the Postgres of the ledger. Empty means a governor of this host alone.",
    )
    cold_days: bool = Field(
        False,
        description="Also offer each table of hours by days (`…/minute_days`), for long history of many symbols: "
        "a backfill of them records 20 rows of Dagster or fewer a day.",
    )

    @field_validator("dagster_url")
    @classmethod
    def _by_its_driver(cls, url: str) -> str:
        url = url.strip()
        scheme, _, rest = url.partition("://")
        if not url:
            return url
        sound = scheme.partition("+")[0] in {"postgresql", "postgres"}
        if not sound or not server_address(url, needs_database=True):
            raise SettingsError(
                "LAKE_DAGSTER_URL is no address of Postgres",
                remedy="Give postgresql://user@host/database; signs such as @ / ? # in a password are written as %40 "
                "%2F %3F %23",
            )
        return _DRIVER + rest

    @field_validator("broker_url")
    @classmethod
    def _is_redis(cls, url: str) -> str:
        url = url.strip()
        scheme = url.partition("://")[0]
        sound = scheme in {"redis", "rediss"} and server_address(url, needs_database=False)
        if url and not sound and scheme != "redis+socket":
            raise SettingsError("LAKE_BROKER_URL is no address of Redis", remedy="Give redis://host:6379/0")
        return url

    @model_validator(mode="after")
    def _workers_share_a_history(self) -> Self:
        """Workers on other hosts tell Dagster's storage what they do, so it is a server as well."""
        if self.broker_url and not self.dagster_url:
            raise SettingsError(
                "LAKE_BROKER_URL is set, but LAKE_DAGSTER_URL is empty",
                remedy="Set LAKE_DAGSTER_URL to postgresql://user@host/database, which all workers reach, or leave "
                "LAKE_BROKER_URL empty",
            )
        return self
