"""`lake rebuild-ledger`: a lost or damaged ledger from the files.

Belongs here: the command. Does not belong here: how it is done (`build.ledger_rebuild`).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from lake_assets.at_rest import local_ledger
from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import messages, show_json, terminal
from lake_assets.lake import open_lake
from lake_assets.tables.declared import TABLES
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.locks import writer_lock
from lake_resources.storage.root import claim_root

app = typer.Typer()
_LINES_SHOWN = 20


@app.command("rebuild-ledger")
def rebuild_ledger(
    judging: Annotated[
        bool, typer.Option("--judge/--no-judge", help="make checks and verdicts anew from the sources on the disk")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Make a lost or damaged ledger anew from the files of the lake; no data file is touched.

    Hours, archives, answers of REST, slices and the 1H table stay as they are, nothing is asked of the exchange. The
    old ledger is kept beside the new one; what no file says is taken over from it as far as it reads. Stop `lake up`
    first. Exit code 1 where files were left out, because they say too little or do not read.

    Example: lake rebuild-ledger
    """
    # Building is imported by who builds alone.
    from lake_assets.build.ledger_rebuild import UNKNOWN, judge, ledger_beside, put_in_place, rebuild_rows, take_over
    from lake_assets.slices.lost_rows import rebuild_slices

    settings, log = LakeSettings(), messages()
    if not settings.lake_root.is_dir():
        raise SettingsError(f"there is no lake at {settings.lake_root}", remedy="Set LAKE_ROOT to the lake you mean")
    path = local_ledger(settings)
    claim_root(settings.lake_root, settings.exchange, path)
    with writer_lock(settings.lake_root / ".locks" / "rebuild-ledger.lock", timeout_s=0), ledger_beside(path) as new:
        lake = open_lake(settings.model_copy(update={"ledger_url": f"sqlite:///{new}"}))
        lake = replace(lake, ask_rest=False, judging=True, store=lake.store.beginning())
        rebuilt = rebuild_rows(lake, list(TABLES.values()), max_ffill_minutes=settings.max_ffill_minutes, say=log.print)
        take_over(path, new, rebuilt)
        rebuilt.slices, torn = rebuild_slices(settings, new, lake.clock)
        rebuilt.left_out += torn
        if judging:
            now = lake.clock()
            # Days of macro minutes are judged by Yahoo's own answers, of which nothing is kept.
            for table in (each for each in TABLES.values() if each.builder):
                rebuilt.judged += judge(lake.of(table), now=now, say=log.print)
        marks = {symbol: lake.ledger.watermark(symbol) for symbol in lake.ledger.symbols()}
        lake.close()
        rebuilt.old = put_in_place(new, path, lake.clock())
    if as_json:
        show_json(asdict(rebuilt) | {"ledger": path, "watermarks": marks, "unknown": UNKNOWN})
    else:
        console = terminal()
        console.print(
            f"ledger {path}: {rebuilt.partitions} partitions ({rebuilt.judged} judged anew), {rebuilt.compacted} "
            f"compacted files, {rebuilt.archives} archives, {rebuilt.captures} answers of REST, {rebuilt.refused} "
            f"refused partitions, {rebuilt.missing} missing sources, {rebuilt.slices} slices",
            soft_wrap=True,
        )
        for symbol, mark in marks.items():
            console.print(f"{symbol}: watermark " + ("none" if mark is None else f"{mark:%Y-%m-%d %H:%M}"))
        if rebuilt.old is not None:
            console.print(f"the old ledger is {rebuilt.old}", soft_wrap=True)
        for name, count in rebuilt.taken_over.items():
            console.print(f"taken over from it: {count} rows of {name}")
        console.print("no file says, so it is not in the new ledger:")
        for text in (*UNKNOWN, *(f"all of {name}" for name in rebuilt.not_taken_over)):
            console.print(f"- {text}", soft_wrap=True)
        for text in rebuilt.left_out[:_LINES_SHOWN]:
            console.print(f"left out: {text}", soft_wrap=True)
        if len(rebuilt.left_out) > _LINES_SHOWN:
            console.print(f"and {len(rebuilt.left_out) - _LINES_SHOWN} more files that were left out")
    if rebuilt.left_out:
        raise typer.Exit(Exit.REFUSED)
