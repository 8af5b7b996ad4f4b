"""`lake workspace`: the code locations of a lake of many symbols, as Dagster reads them.

Belongs here: the command. Does not belong here: what a shard holds (`lake_resources.shards`), its code location
(`lake_assets.shards`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import show_json, terminal
from lake_assets.local_stack.places import PROJECT
from lake_resources.settings import LakeSettings
from lake_resources.shards import Shard
from lake_resources.storage.disk import replace_text

app = typer.Typer()
_SYMBOLS_PER_SHARD = 50


@app.command()
def workspace(
    shards: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="code locations, default one for each 50 symbols", show_default=False),
    ] = None,
    first_port: Annotated[
        int | None,
        typer.Option(
            min=1024,
            max=60_000,
            help="of code servers that you start, one per shard; default: Dagster starts them",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="file that is written")] = Path("workspace-shards.yaml"),
    as_json: AsJson = False,
) -> None:
    """Write a `workspace.yaml` of shards, a code location for each part of the symbols.

    Every symbol is in exactly one, and keeps it when symbols are appended. Give the file to `dagster-webserver -w` and
    `dagster-daemon run -w`. With --first-port each shard is a code server of its own, which you start with LAKE_SHARD.

    Examples: `lake workspace` · `lake workspace --shards 12 --first-port 4001`
    """
    # Dagster is imported by who needs it alone.
    from lake_assets.shards import workspace as text_of

    settings = LakeSettings().of_all_shards()
    count = shards or -(-len(settings.symbols) // _SYMBOLS_PER_SHARD)
    parts = [Shard(number, count).part_of(settings.symbols) for number in range(1, count + 1)]
    Shard(count, count).parts_of({"symbols": settings.symbols, "macro_tickers": ()})
    path = out.resolve()
    replace_text(path, text_of(count, directory=str(PROJECT), first_port=first_port))
    if as_json:
        show_json(
            {"workspace": path, "shards": [{"location": f"lake-{n}", "symbols": p} for n, p in enumerate(parts, 1)]}
        )
        return
    console = terminal()
    console.print(
        f"{path}: {count} shards of {len(parts[-1])} to {len(parts[0])} symbols", soft_wrap=True, markup=False
    )
    if first_port is not None:
        for number in range(1, count + 1):
            port = first_port + number - 1
            console.print(
                f"LAKE_SHARD={number}/{count} dagster code-server start -m lake_assets.definitions -p {port}",
                soft_wrap=True,
            )
