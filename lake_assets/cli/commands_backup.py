"""`lake backup` and `lake restore`.

Belongs here: the commands, the order of what is copied. Does not belong here: copying with proof (`storage.backup`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from lake_assets.at_rest import local_ledger, open_at_rest
from lake_assets.cli.options import AsJson
from lake_assets.cli.printing import show_json, terminal
from lake_assets.local_stack.places import place_of_dagster_home
from lake_assets.tables.declared import TABLES
from lake_resources.errors import LedgerError, SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.backup import (
    LEDGER,
    check_backup,
    copy_database,
    copy_lake,
    describe,
    description_of,
    restored_to,
)
from lake_resources.storage.bars_duckdb import BarsTable
from lake_resources.storage.disk import disk_errors, fsync_dirs

app = typer.Typer()
_FEED, _DAGSTER = "feed", "dagster_home"


@app.command()
def backup(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="directory that is made; it must not be there")],
    dagster: Annotated[bool, typer.Option("--dagster/--no-dagster", help="also copy Dagster's history")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the lake to a directory, consistently, also while `lake up` runs.

    The ledger as it is in one moment, every file that it names with the bytes that it tells, the 1H table between two
    runs, live rows, the collector's records, slices and reports. Dagster's history can be told anew from the ledger
    (`lake report-to-dagster`). DEST appears under its name when it is whole.

    Example: lake backup /backups/lake-2026-11-29
    """
    settings = LakeSettings()
    ledger = local_ledger(settings)
    lake = open_at_rest(settings)
    lake.ledger.symbols()
    target = dest.resolve()
    if target.exists() or target.is_relative_to(settings.lake_root):
        where = "is there already" if target.exists() else "lies in the lake"
        raise SettingsError(f"{target} {where}", remedy="Name a new directory on another disk")
    with _made_whole(target) as partial:
        stores = [lake.of(table).store for table in TABLES.values()]
        locks = [store.catalog.lock_path(symbol) for store in stores for symbol in store.ledger.symbols()]
        copied = copy_lake(settings.lake_root, ledger, partial, locks=locks, at=lake.clock())
        feed = BarsTable(settings.resolved_feed_duckdb)
        (partial / _FEED).mkdir(exist_ok=True)
        with_feed = feed.path.exists() and feed.copy_to(partial / _FEED / feed.path.name)
        if settings.resolved_feed_persist_dir.is_dir():
            shutil.copytree(settings.resolved_feed_persist_dir, partial / _FEED / "artifacts", dirs_exist_ok=True)
        if dagster:
            _copy_history(place_of_dagster_home(settings), partial / _DAGSTER)
        copied = replace(copied, with_feed=with_feed, with_dagster=dagster)
        describe(partial, copied)
    if as_json:
        show_json({"backup": target} | asdict(copied))
    else:
        terminal().print(
            f"{target}: {copied.files} files, {copied.size_bytes / 1e6:,.1f} MB, {copied.named} of them proven by the "
            f"ledger's hashes{', with the 1H table' if with_feed else ''}",
            soft_wrap=True,
        )


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="directory that `lake backup` made")],
    as_json: AsJson = False,
) -> None:
    """Make the lake of LAKE_ROOT from a backup; the root must not be there. Every file is compared with its hash first.

    Example: LAKE_ROOT=/data/lake lake restore /backups/lake-2026-11-29
    """
    settings = LakeSettings()
    ledger = local_ledger(settings)
    origin = source.resolve()
    copied = description_of(origin)
    if copied.exchange != settings.exchange:
        raise SettingsError(
            f"{origin} holds data of the exchange {copied.exchange!r}, the settings say {settings.exchange!r}",
            remedy="Set LAKE_EXCHANGE to it: simulated and real rows are never mixed",
        )
    root = settings.lake_root
    restored_to(root)
    wrong = check_backup(origin)
    if wrong:
        raise LedgerError(
            f"{wrong[0]} and {len(wrong) - 1} more files of {origin} are lost or damaged",
            remedy="Nothing was restored. Take another backup, or copy this one and run `lake rebuild-ledger` on it",
        )
    if ledger.exists():
        raise SettingsError(f"{ledger} is there already", remedy="Move it away first")
    with disk_errors(f"restore to {root}"):
        if root.is_dir():
            root.rmdir()
    with _made_whole(root) as partial, disk_errors(f"restore to {root}"):
        shutil.copytree(origin, partial)
        (partial / "backup.json").rename(partial / "restored.json")
        if ledger != root / LEDGER:
            ledger.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(partial / LEDGER, ledger)
    lake = open_at_rest(settings)
    marks = {symbol: lake.ledger.watermark(symbol) for symbol in lake.ledger.symbols()}
    if as_json:
        show_json({"root": root, "watermarks": marks} | asdict(copied))
    else:
        terminal().print(f"{root}: the lake as it was at {copied.made_at}, {copied.named} files proven", soft_wrap=True)
        for symbol, mark in marks.items():
            terminal().print(f"{symbol}: watermark " + ("none" if mark is None else f"{mark:%Y-%m-%d %H:%M}"))
        if not copied.with_dagster:
            terminal().print("Dagster's history is not in the backup: `lake report-to-dagster` tells it anew")


def _copy_history(home: Path, target: Path) -> None:
    """Dagster's home: databases each as of one moment, everything else as it is."""
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.name.endswith(("-wal", "-shm", "-journal", ".lock")):
            continue
        copy = target / path.relative_to(home)
        if path.suffix == ".db":
            copy_database(path, copy)
        else:
            with disk_errors(f"copy {path}"):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A directory beside the target that gets its name at the end, and is removed where anything goes wrong."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        with disk_errors(f"rename {partial}"):
            partial.rename(target)
            fsync_dirs([target.parent])
    finally:
        shutil.rmtree(partial, ignore_errors=True)
