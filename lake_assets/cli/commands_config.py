"""`lake config`: every setting as it holds, with where its value came from.

Belongs here: showing it. Does not belong here: finding it (`lake_resources.config_origin`), any setting.
"""

from __future__ import annotations

import typer
from rich.table import Table

from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import messages, show_json, terminal
from lake_resources.config_origin import config_lines

app = typer.Typer()


@app.command()
def config(as_json: AsJson = False) -> None:
    """Print each setting with where its value came from; secrets are not shown.

    Example: lake config --json
    """
    lines, file = config_lines()
    if as_json:
        show_json({"settings": lines, "file": file.path, "unused": dict(file.unused)})
        return
    table = Table("setting", "value", "from")
    for line in lines:
        table.add_row(line.variable, line.value, line.origin)
    terminal().print(table)
    for key, reason in file.unused.items():
        messages().print(f"{file.path}: {key} is not used: {reason}", soft_wrap=True)
