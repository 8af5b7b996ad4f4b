"""`lake materialize-duckdb`: the committed hours as a view that any SQL tool opens.

Belongs here: the command. Does not belong here: the view (`storage.duckdb_views`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lake_assets.at_rest import open_at_rest
from lake_assets.cli.options import AsJson, Symbols
from lake_assets.cli.printing import show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.cli.view_warnings import show_views
from lake_assets.exports.view_queries import queries_on
from lake_assets.tables.declared import table_named
from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import replace_text
from lake_resources.storage.duckdb_views import remake_views, write_view

app = typer.Typer()


@app.command("materialize-duckdb")
def materialize_duckdb(
    symbols: Symbols = None,
    db_path: Annotated[Path | None, typer.Option(help="default {root}/TABLE.duckdb, of minutes minute.duckdb")] = None,
    write_queries: Annotated[bool, typer.Option(help="also write starter queries beside it")] = True,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Write a DuckDB file with a view over all committed hours.

    Any SQL tool opens it. The view is called as the table (`minute`, `bars_1s` …) and has its columns and symbol, year,
    month, day, hour. It names the files of the moment: make it again to see newer hours. `lake compact` and the asset
    `um/<symbol>/compacted` remake every file that this command has made and that is still where it was; a copy
    elsewhere they do not know. A file is replaced in one step, and never one that holds anything else than the view.

    Examples: `lake materialize-duckdb --db-path data/minute.duckdb && duckdb data/minute.duckdb`
    · `lake materialize-duckdb SOLUSDT --table bars_1s`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings, table)
    called = table.layout.directory
    # Two markets have minutes: of these the file is called by the table's name, which is its own.
    path = (db_path or lake.catalog.root / f"{called if table_named(called) is table else table.name}.duckdb").resolve()
    made = write_view(lake.store, symbols_with(table, symbols, settings), path)
    show_views([made, *(view for view in remake_views(lake.store) if view.path != path)])
    queries = path.with_suffix(".queries.sql") if write_queries else None
    if queries is not None:
        replace_text(queries, queries_on(table))
    if as_json:
        show_json([{"path": path, "files": made.files, "queries": queries}])
        return
    terminal().print(f"{path}: view `{called}` over {made.files:,} files")
    if queries is not None:
        terminal().print(f"{queries}: starter queries")
