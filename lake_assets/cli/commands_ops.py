"""`lake doctor`, `inspect-metrics-columns`, `materialize-duckdb`: looking at what is around the lake, handing it out.

Belongs here: options, tables, exit codes. Does not belong here: the work (`doctor`, `duckdb_view`, the Vision client).
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lake_assets.cli.doctor import PATIENCE_S, examine
from lake_assets.cli.options import AsJson, Symbols, chosen_symbols, show_views, terminal
from lake_assets.lake import open_existing
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.streams import STREAMS
from lake_resources.errors import ArchiveCorrupt
from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import replace_text
from lake_resources.storage.duckdb_views import QUERIES, remake_views, write_view

app = typer.Typer()
_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}
_METRICS = STREAMS["metrics"]


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at versions, disk, schemas, each host of the exchange, Dagster and collector. Exit code 1 on a failure.

    Changes nothing. REST and archives are asked, one WebSocket stream is subscribed; a collector is alive when its
    newest record is.

    Example: LAKE_EXCHANGE=binance lake doctor
    """
    settings = LakeSettings()
    impatient = settings.model_copy(
        update={"rest_timeout_s": min(settings.rest_timeout_s, PATIENCE_S), "rest_attempts": 1}
    )
    findings = list(examine(settings, open_existing(impatient)))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        table = Table(title=f"{settings.exchange} at {settings.lake_root}", title_justify="left")
        for heading in ("what", "state", "found"):
            table.add_column(heading)
        for finding in findings:
            color = _COLORS[finding.status]
            table.add_row(finding.name, f"[{color}]{finding.status}[/]", escape(finding.text))
        terminal().print(table)
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


@app.command("inspect-metrics-columns")
def inspect_metrics_columns(
    trade_date: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="UTC day of the archive")],
    symbol: Annotated[str | None, typer.Option(help="default: the first of LAKE_SYMBOLS")] = None,
) -> None:
    """List the columns of a metrics archive beside those the lake reads; exit code 1 when they differ. Stores nothing.

    Example: lake inspect-metrics-columns --trade-date 2024-01-31 --symbol BTCUSDT
    """
    settings = LakeSettings()
    vision = VisionClient(settings.resolved_vision_url, connections=1)
    chosen, day = (symbol or settings.symbols[0]).upper(), f"{trade_date.replace(tzinfo=UTC):%Y-%m-%d}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = vision.download(_METRICS, chosen, day, Path(folder))
        finally:
            vision.close()
        header = _header(found.path, found.url)
    expected = list(_METRICS.columns)
    table = Table(title=f"{found.url}", title_justify="left", caption=f"sha256 {found.sha256}")
    for heading in ("#", "in the archive", "read by the lake"):
        table.add_column(heading)
    for number in range(max(len(header), len(expected))):
        pair = [names[number] if number < len(names) else "-" for names in (header, expected)]
        table.add_row(str(number + 1), *pair)
    terminal().print(table)
    if header != expected:
        terminal().print("[red]the columns differ[/]")
        raise typer.Exit(1)


@app.command("materialize-duckdb")
def materialize_duckdb(
    symbols: Symbols = None,
    db_path: Annotated[Path | None, typer.Option(help="default {root}/minute.duckdb")] = None,
    write_queries: Annotated[bool, typer.Option(help="also write starter queries beside it")] = True,
) -> None:
    """Write a DuckDB file with the view `minute` over all committed hours, to be opened by any SQL tool.

    The view has the 66 columns and symbol, year, month, day, hour. It names the files of the moment: make it again to
    see newer hours. `lake compact` and the asset `um/<symbol>/compacted` remake every file that this command has made
    and that is still where it was; a copy elsewhere they do not know. A file is replaced in one step, and never one
    that holds anything else than the view.

    Example: lake materialize-duckdb --db-path data/minute.duckdb && duckdb data/minute.duckdb
    """
    settings = LakeSettings()
    lake = open_existing(settings)
    path = (db_path or lake.catalog.root / "minute.duckdb").resolve()
    made = write_view(lake.catalog, lake.ledger, chosen_symbols(symbols, settings), path)
    terminal().print(f"{path}: view `minute` over {made.files:,} files")
    show_views([made, *(view for view in remake_views(lake.catalog, lake.ledger) if view.path != path)])
    if write_queries:
        queries = path.with_suffix(".queries.sql")
        replace_text(queries, QUERIES)
        terminal().print(f"{queries}: starter queries")


def _header(path: Path, url: str) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            return file.readline().decode("utf-8").strip().split(",")
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError) as error:
        raise ArchiveCorrupt(url, f"no readable CSV: {error}") from error
