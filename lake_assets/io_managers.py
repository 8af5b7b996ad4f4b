"""Frames in and out of assets that people build on the lake.

Belongs here: loading hours of the minute table by the ledger, and Parquet of derived assets, whole or not at all.
Does not belong here: the lake's own tables; they commit by themselves (`build`).
"""

# dagster-polars' manager routes frames by the types of asset functions, which it reads at run time.
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from dagster import InputContext, OutputContext
from dagster_polars import PolarsParquetIOManager

from lake_assets.at_rest import TableStore, table_store
from lake_assets.dagster_names import symbol_name, table_names
from lake_assets.tables.declared import TABLES
from lake_resources.settings import LakeSettings
from lake_resources.storage.parquet import stage
from lake_resources.storage.reader import scan


def shown_ledger_url(settings: LakeSettings) -> str:
    """The ledger's URL as configuration of a resource, which Dagster's UI shows; empty where it has a password."""
    url = settings.resolved_ledger_url
    return "" if sa.make_url(url).password else url


def ledger_url_of(configured: str) -> str:
    """The ledger's URL from a resource's configuration: that of the settings where it must not be shown."""
    return configured or LakeSettings().resolved_ledger_url


def _symbol_of(store: TableStore, name: str) -> str:
    """The symbol of the lake that has this name in Dagster, where names are ASCII; the name where none has."""
    return next((symbol for symbol in store.ledger.symbols() if symbol_name(symbol) == name), name)


class LakeParquetIOManager(PolarsParquetIOManager):
    """The code location's default IO manager, so a derived asset just names its inputs.

    An input that is a table of the lake (`um/<symbol>/minute`) is its committed rows of the partitions asked for, read
    by the ledger's paths, as a `pl.LazyFrame` or `pl.DataFrame` by annotation. Other inputs and outputs are Parquet
    below `base_dir`.

    Args:
        root: the lake's root.
        ledger_url: its ledger; empty means that of the settings.
        store_url: the object store of its files; empty means that they lie in the root.
        base_dir: where derived assets are kept.
    """

    root: str
    ledger_url: str
    store_url: str = ""

    def load_input(self, context: InputContext) -> Any:
        """Load an upstream asset."""
        key = context.asset_key.path
        name = key[1] if len(key) == 3 else ""
        table = next((each for each in TABLES.values() if list(key) == table_names(each.layout, name)), None)
        if table is None:
            return super().load_input(context)
        window = context.asset_partitions_time_window
        store = table_store(Path(self.root), ledger_url_of(self.ledger_url), table, self.store_url)
        found = scan(store, _symbol_of(store, name), window.start, window.end, schema=table.polars_schema)
        return found.collect() if context.dagster_type.typing_type is pl.DataFrame else found

    def scan_df_from_path(  # the base's signature
        self,
        path: Any,
        context: InputContext,  # noqa: ARG002
        partition_key: str | None = None,  # noqa: ARG002
    ) -> pl.LazyFrame:
        """Scan one file. polars 2 removed arguments that dagster-polars 0.27 passes."""
        return pl.scan_parquet(str(path))

    def write_df_to_path(self, context: OutputContext, df: pl.DataFrame, path: Any) -> None:
        """Write one file by temp file, fsync and rename: a killed run leaves no torn one."""
        metadata: Mapping[str, str] = {"lake.asset": context.asset_key.to_user_string()}
        stage(df, Path(self.root) / ".tmp", metadata).publish(Path(str(path)))

    def sink_df_to_path(self, context: OutputContext, df: pl.LazyFrame, path: Any) -> None:
        """Write one lazy frame, in the same way."""
        self.write_df_to_path(context, df.collect(), path)
