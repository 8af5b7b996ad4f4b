"""`lake doctor`: what is around the lake.

Belongs here: the command and its table. Does not belong here: what is looked at (`doctor`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from lake_assets.cli.doctor import PATIENCE_S, examine
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.inputs.misfiled_archives import built_from, file_right, misfiled_archives
from lake_assets.lake import Lake, open_existing
from lake_resources.secrets import masked
from lake_resources.settings import LakeSettings

app = typer.Typer()
Mend = Annotated[bool, typer.Option("--mend", help="file archives right that are kept as those of another market")]
_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@app.command()
def doctor(as_json: AsJson = False, mend: Mend = False) -> None:
    """Look at versions, disk, schemas, exchange, Dagster and collector. Exit code 1 on a failure.

    Changes nothing without --mend. REST and archives are asked, one WebSocket stream is subscribed; a collector is
    alive when its newest record is. Archives that are kept as those of another market are told; --mend files them
    right first, and names the hours that were built from them, with the command that builds them anew.

    Example: LAKE_EXCHANGE=binance lake doctor
    """
    settings = LakeSettings()
    impatient = settings.model_copy(
        update={"rest_timeout_s": min(settings.rest_timeout_s, PATIENCE_S), "rest_attempts": 1}
    )
    lake = open_existing(impatient)
    if mend:
        for line in _mended(lake):
            typer.echo(line, err=True)
    findings = list(examine(settings, lake))
    if as_json:
        show_json([replace(finding, text=masked(finding.text)) for finding in findings])
    else:
        table = Table(title=f"{settings.exchange} at {settings.lake_root}", title_justify="left")
        for heading in ("what", "state", "found"):
            table.add_column(heading)
        for finding in findings:
            color = _COLORS[finding.status]
            table.add_row(finding.name, coloured(finding.status, color), masked(finding.text))
        terminal().print(table)
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _mended(lake: Lake) -> Iterator[str]:
    """File archives right; a line for each, and one for what was built from it."""
    for each in misfiled_archives(lake):
        for table, starts in built_from(lake, each):
            layout, end = table.layout, starts[-1] + table.layout.step
            yield (
                f"{len(starts)} {layout.span}(s) of the {layout.title} hold rows of {each.market}: `lake "
                f"backfill-range {each.archive.symbol} --table {layout.directory} --start {starts[0]:%Y-%m-%dT%H:%M} "
                f"--end {end:%Y-%m-%dT%H:%M} --force-repair`"
            )
        file_right(lake, each)
        yield f"{each.title} is kept as {each.market} now"
