"""`lake raw-export` and `lake raw-import`: raw records of spot as JSON lines, out of the lake and into it.

Belongs here: the commands. Does not belong here: the files (`live.raw_lines`), importing them (`live.raw_import`).
"""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from lake_assets.cli.exits import Exit
from lake_assets.cli.options import INSTANT, AsJson, end_minute, first_minute, symbol_name
from lake_assets.cli.printing import coloured, messages, show_json, terminal
from lake_assets.live.raw_import import import_raw
from lake_assets.live.raw_lines import export_raw
from lake_resources.errors import NotYet, SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.root import require_lake

app = typer.Typer()


@app.command("raw-export")
def raw_export(
    start: Annotated[
        datetime, typer.Option(parser=first_minute, metavar="TIME", help=f"first minute; {INSTANT}; seconds round down")
    ],
    end: Annotated[
        datetime,
        typer.Option(parser=end_minute, metavar="TIME", help="first minute after the range; seconds round up"),
    ],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            parser=symbol_name,
            metavar="SYMBOLS",
            help="symbols, default those of LAKE_SPOT_SYMBOLS",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="directory above raw/, created where absent")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write what was heard of spot symbols as JSON lines.

    Files are raw/binance/SYMBOL/YYYY-MM-DD/part_NNN.jsonl, one per minute of event time. Each appears whole or not at
    all, and replaces the one that is there. Exit code 3 where nothing was heard in the range.

    Example: lake raw-export SOLUSDT --start 2026-01-31T12:00 --end 2026-01-31T13:00 --out export
    """
    settings = LakeSettings()
    require_lake(settings.lake_root, settings.exchange)
    if start >= end:
        raise SettingsError("the range is empty", remedy="Give --end later than --start")
    chosen = tuple(dict.fromkeys(symbols)) if symbols else settings.spot_symbols
    written = {symbol: export_raw(settings.lake_root, symbol, start, end, out) for symbol in chosen}
    if as_json:
        show_json(
            [{"symbol": name, "files": len(found.files), "lines": found.lines} for name, found in written.items()]
        )
    else:
        for name, found in written.items():
            terminal().print(f"{name}: {found.lines} lines in {len(found.files)} files")
    if not any(found.files for found in written.values()):
        raise NotYet("nothing was heard in this range", remedy="`lake live` lists when the collector heard something")


@app.command("raw-import")
def raw_import(
    tree: Annotated[Path, typer.Argument(metavar="PATH", help="directory with *.jsonl files below it, or one file")],
    as_json: AsJson = False,
) -> None:
    """Put raw JSON lines of spot into the lake, each file once.

    Bars are folded from them as from what the collector hears. A last line that is torn is left out; trades without an
    id are kept, but nothing proves that they are all, so no bar is made of them. Exit code 1 where a file has lines and
    none of them is a record, 2 where no other file is there.

    Example: lake raw-import old-lake/raw
    """
    settings = LakeSettings()
    require_lake(settings.lake_root, settings.exchange)
    told = import_raw(settings.lake_root, tree, time.time_ns)
    if as_json:
        show_json(asdict(told))
    else:
        terminal().print(
            f"{told.files} files imported, {told.known} known already: {told.lines} lines, {told.without_id} trades "
            f"without an id; {told.torn} torn last lines and {told.refused} lines that are no record left out"
        )
    if told.foreign:
        text = f"{len(told.foreign)} file(s) hold no raw lines and were left out, first {told.foreign[0]}"
        messages().print(coloured(text, "yellow"), soft_wrap=True)
        raise typer.Exit(Exit.REFUSED)
