"""`lake collect`: the live collector from a terminal.

Belongs here: its options. Does not belong here: collecting (`live.process`, `live.recorder`).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def collect(
    for_s: Annotated[float | None, typer.Option("--for", min=0, help="stop after so many seconds")] = None,
) -> None:
    """Collect the live streams of all symbols until Ctrl+C. There is one collector per lake.

    Example: LAKE_EXCHANGE=binance lake collect
    """
    LakeSettings()  # wrong settings end here, not in the process that goes on
    arguments = [] if for_s is None else ["--for", str(for_s)]
    # The same process goes on without what this command line has imported.
    os.execv(sys.executable, [sys.executable, "-m", "lake_assets.live.process", *arguments])  # noqa: S606
