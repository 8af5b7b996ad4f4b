"""`lake inspect-metrics-columns`: whether Binance changed the columns of its metrics archives.

Belongs here: the command and its table. Does not belong here: downloading (the Vision client), reading such a file.
"""

from __future__ import annotations

import tempfile
import zipfile
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lake_assets.cli.options import symbol_name, utc_day
from lake_assets.cli.printing import terminal
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.um_streams import METRICS
from lake_resources.errors import ArchiveCorrupt
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command("inspect-metrics-columns")
def inspect_metrics_columns(
    trade_date: Annotated[
        date, typer.Option(parser=utc_day, metavar="DAY", help="UTC day of the archive, e.g. 2024-01-31")
    ],
    symbol: Annotated[
        str | None, typer.Option(parser=symbol_name, metavar="SYMBOL", help="default: the first of LAKE_SYMBOLS")
    ] = None,
) -> None:
    """Compare the columns of a metrics archive with those read. Exit code 1 when they differ; nothing is stored.

    Example: lake inspect-metrics-columns --trade-date 2024-01-31 --symbol BTCUSDT
    """
    settings = LakeSettings()
    vision = VisionClient(settings.resolved_vision_url, connections=1)
    chosen, day = symbol or settings.symbols[0], trade_date.isoformat()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = vision.download(METRICS, chosen, day, Path(folder))
        finally:
            vision.close()
        header = _header(found.path, found.url)
    expected = list(METRICS.columns)
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


def _header(path: Path, url: str) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            return file.readline().decode("utf-8").strip().split(",")
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError) as error:
        raise ArchiveCorrupt(url, f"no readable CSV: {error}") from error
