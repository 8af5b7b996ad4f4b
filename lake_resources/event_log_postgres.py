"""Dagster's event log in Postgres, of whose failed runs none is forgotten.

Belongs here: the storage class that `dagster_home/cluster.yaml` names. Does not belong here: what is recorded; anything
of the lake. The tables are Dagster's own, and processes with its own class may use them at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster import StringSource
from dagster_postgres import PostgresEventLogStorage

from lake_resources.dagster_private import ConfigurableClassData, UserConfigSchema
from lake_resources.failures_known_first import FailuresKnownFirst


class SharedEventLogStorage(FailuresKnownFirst, PostgresEventLogStorage):
    """`PostgresEventLogStorage` whose daemon finds a failed run as failed when it reads of the failure.

    In `dagster.yaml`, beside `run_storage` and `schedule_storage` of dagster-postgres:

        event_log_storage:
          module: lake_resources.event_log_postgres
          class: SharedEventLogStorage
          config: { postgres_url: { env: LAKE_DAGSTER_URL } }

    Args:
        given: what dagster-postgres' class takes.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The `config` of `dagster.yaml`."""
        return {"postgres_url": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> SharedEventLogStorage:
        """Called by Dagster with the `config` of `dagster.yaml`."""
        return cls(config_value["postgres_url"], inst_data=inst_data)
