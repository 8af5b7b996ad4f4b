"""`lake research-views`: the DuckDB file of the research layer, without Dagster.

Belongs here: the command. Does not belong here: the views and their file (`lake_assets.research`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import show_json, terminal
from lake_assets.research.views_file import write_views
from lake_resources.clock import system_clock
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command("research-views")
def research_views(
    db_path: Annotated[Path | None, typer.Option(help="default {root}/research/views.duckdb")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the DuckDB file with the research views over all tables anew.

    Any SQL tool opens it for reading: `bars_1s`, `bars_1m`, `klines_1m`, `compare_our_vs_kline_1m`,
    `funding_oi_hourly`, `macro_minute`, `dxy_synthetic_minute`, `minute`, `ohlcv_btcusdt_1h`, `quality`,
    `bars_1s_traded`. `ts` is UTC. It names the files of the moment and is replaced in one step; in Dagster the asset
    `research/views` does the same every hour. A view without data is empty and has its columns.

    Example: lake research-views && duckdb -readonly data/binance/research/views.duckdb
    """
    written = write_views(LakeSettings(), now=system_clock(), path=db_path)
    if as_json:
        show_json(
            [{"path": written.path, "files": written.files, "views": written.columns, "quality": written.quality_rows}]
        )
        return
    read = ", ".join(f"{files:,} of {table}" for table, files in written.files.items())
    terminal().print(f"{written.path}: {len(written.columns)} views over files: {read}")
