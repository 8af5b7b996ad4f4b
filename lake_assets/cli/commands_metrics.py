"""`lake inspect-metrics-columns`: whether Binance changed the columns of its metrics archives.

Belongs here: the command and its table. Does not belong here: downloading (the Vision client), reading such a file.
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson, symbol_name, utc_day
from lake_assets.cli.printing import coloured, messages, show_json, terminal
from lake_resources.binance.archives.archive_zip import member_pieces
from lake_resources.binance.archives.vision_client import VerifiedZip, VisionClient
from lake_resources.binance.um_streams import METRICS
from lake_resources.errors import ArchiveCorrupt
from lake_resources.input_limits import InputLimits
from lake_resources.settings import LakeSettings

app = typer.Typer()
_REMEDY = "Run it again after Binance re-publishes the file"


@app.command("inspect-metrics-columns")
def inspect_metrics_columns(
    trade_date: Annotated[
        date, typer.Option(parser=utc_day, metavar="DAY", help="UTC day of the archive, e.g. 2024-01-31")
    ],
    symbol: Annotated[
        str | None, typer.Option(parser=symbol_name, metavar="SYMBOL", help="default: the first of LAKE_SYMBOLS")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the columns of a metrics archive with those read.

    Exit code 1 when they differ, 4 when the archive cannot be read: it is not there, or damaged. Nothing is stored.

    Example: lake inspect-metrics-columns --trade-date 2024-01-31 --symbol BTCUSDT
    """
    settings = LakeSettings()
    vision = VisionClient(settings.resolved_vision_url, connections=1, limits=settings.limits)
    chosen, day = symbol or settings.symbols[0], trade_date.isoformat()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = vision.download(METRICS, chosen, day, Path(folder))
        finally:
            vision.close()
        header = _header(found, settings.limits)
    expected = list(METRICS.columns)
    if as_json:
        show_json([{"url": found.url, "sha256": found.sha256, "in_archive": header, "read_by_lake": expected}])
    else:
        terminal().print(_table(header, expected, found.url, found.sha256))
    if header != expected:
        messages().print(coloured("the columns differ", "red"))
        raise typer.Exit(Exit.REFUSED)


def _table(header: list[str], expected: list[str], url: str, sha256: str) -> Table:
    table = Table(title=url, title_justify="left", caption=f"sha256 {sha256}")
    for heading in ("#", "in the archive", "read by the lake"):
        table.add_column(heading)
    for number in range(max(len(header), len(expected))):
        pair = [names[number] if number < len(names) else "-" for names in (header, expected)]
        table.add_row(str(number + 1), *pair)
    return table


def _header(found: VerifiedZip, limits: InputLimits) -> list[str]:
    """The first line of the only file of a zip that is whole; names that no terminal can show are quoted.

    Raises:
        ArchiveCorrupt: it is torn, damaged, or has no such line.
    """
    start = b""
    try:
        for piece in member_pieces(found.path, limits):  # to its end: only there it is known to be whole
            start += piece[: limits.line_bytes - len(start)]
    except ArchiveCorrupt as error:
        text = error.what.removeprefix(f"{error.url}: ")
        raise ArchiveCorrupt(found.url, text, remedy=_REMEDY) from error
    line = start.decode("utf-8-sig", "replace").split("\n", 1)[0].strip()
    if not line:
        raise ArchiveCorrupt(found.url, "its CSV is empty", remedy=_REMEDY)
    return [name if name.isprintable() else repr(name) for name in line.split(",")]
