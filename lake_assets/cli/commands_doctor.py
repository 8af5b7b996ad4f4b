"""`lake doctor`: what is around the lake.

Belongs here: the command and its table. Does not belong here: what is looked at (`doctor`).
"""

from __future__ import annotations

from dataclasses import replace

import typer
from rich.table import Table

from lake_assets.cli.doctor import PATIENCE_S, examine
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.lake import open_existing
from lake_resources.secrets import masked
from lake_resources.settings import LakeSettings

app = typer.Typer()
_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at versions, disk, schemas, exchange, Dagster and collector. Exit code 1 on a failure.

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
