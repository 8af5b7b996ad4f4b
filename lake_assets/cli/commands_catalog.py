"""`lake catalog`: the list of committed files for engines that do not ask the ledger.

Belongs here: the command. Does not belong here: the list (`storage.file_list`).
"""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import AsJson, Symbols
from lake_assets.cli.printing import show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable
from lake_resources.errors import NotYet
from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import replace_bytes
from lake_resources.storage.file_list import file_list

app = typer.Typer()


class CatalogAction(StrEnum):
    """What is done with the catalog."""

    EXPORT = "export"


@app.command()
def catalog(
    action: Annotated[CatalogAction, typer.Argument(help="export")],  # noqa: ARG001 - a word that leaves room for others
    symbols: Symbols = None,
    table: ChosenTable = MINUTES,
    out: Annotated[Path | None, typer.Option(help="file, default {root}/catalog/{table}.parquet")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the list of a table's committed files as Parquet, for Trino, ClickHouse, Spark and others.

    One row per file: path below the root and as a URI, sha256, size, rows, first and last time, the span that is read
    from it. Where `is_cut` is true the file holds rows that were committed anew elsewhere: take those of `[start, end)`
    alone. It is the list of this moment: write it again to see newer partitions. Default: all symbols of the table.

    Examples: `lake catalog export` · `lake catalog export SOLUSDT --table bars_1s --out bars.parquet`
    """
    lake = open_at_rest(LakeSettings(), table)
    names = tuple(dict.fromkeys(symbols or lake.ledger.symbols_with_partitions()))
    found = [file_list(lake.store, name) for name in names]
    files = pl.concat(found) if found else None
    if files is None or files.is_empty():
        raise NotYet(
            f"no {table.layout.span} of {table.layout.title} is committed in {lake.catalog.root}",
            remedy="Backfill first, or name another table or other symbols",
        )
    path = (out or lake.catalog.root / "catalog" / f"{table.layout.directory}.parquet").resolve()
    content = io.BytesIO()
    files.write_parquet(content, compression="zstd")
    replace_bytes(path, content.getvalue())
    if as_json:
        show_json([{"path": path, "files": files.height, "rows": files["row_count"].sum()}])
        return
    terminal().print(f"{path}: {files.height:,} files with {files['row_count'].sum():,} rows")
