"""Writers of every table but the minutes, of exports, the 1H feed and backups, looked at before each of their steps.

Belongs here: the writing, and what a look finds. Does not belong here: being asked (`looking_steps`), any assertion.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from lake_assets.at_rest import TableStore
from lake_assets.audit.scan import audit_partitions
from lake_assets.exports.export import ExportRequest, ExportTarget, write_export
from lake_assets.lake import CODE_VERSION
from lake_assets.reading import load, verify
from lake_assets.schema.table import Table
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_resources.clock import DAY, HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.backup import check_backup, copy_lake
from lake_resources.storage.commit import PartitionCandidate, commit_partitions, recover
from lake_resources.storage.compaction import Period, clear, compact
from lake_resources.storage.store import Store
from lake_resources.yahoo.tickers import ticker_name
from lake_tests.bench.feed_1h import FeedBench, at, feed_bench, long_bars
from lake_tests.support.looking_steps import COPIES, looking
from lake_tests.support.research_lake import SECONDS_HOURS, research_lake
from lake_tests.support.sound_hours import FIRST
from lake_tests.support.spot_days import SYMBOL as SPOT
from lake_tests.support.stores import store_at

LATER = FIRST + timedelta(days=60)
TABLES = {
    "spot_bars_1s": (SPOT_BARS_1S, SPOT),
    "spot_klines_1m": (SPOT_KLINES["1m"], SPOT),
    "macro_minute": (MACRO_MINUTE, ticker_name("EURUSD=X")),
}
_MONTH = FIRST.replace(day=1)


class Versions:
    """The rows of a table before and after its writer changes them, by partition.

    Args:
        settings: of the lake.
        table: the table.
        symbol: whose rows.
    """

    def __init__(self, settings: LakeSettings, table: Table, symbol: str) -> None:
        self.settings, self.table, self.symbol = settings, table, symbol
        self.column = "volume" if "volume" in table.names else "volume_base"
        with closing(self.store()) as store:
            held = store.ledger.partitions(symbol, FIRST, FIRST + DAY)
            self.starts = [row.start for row in held]
            self.sources = {row.start: row for row in held}
            self.old = {row.start: pl.read_parquet(store.catalog.absolute(row.path)) for row in held}
        self.new = {start: frame.with_columns(pl.col(self.column) + 1) for start, frame in self.old.items()}

    def store(self, root: Path | None = None) -> TableStore:
        """The table, opened anew; of another root where one is named."""
        return store_at(root or self.settings.lake_root, self.table)

    def of(self, frame: pl.DataFrame) -> str:
        """Which version these rows of all partitions are, a letter each: `o`, `n`, or `?` for what nobody wrote."""
        time, found = pl.col(self.table.layout.time_column), ""
        for start in self.starts:
            rows = frame.filter((time >= start) & (time < start + self.table.layout.step))[self.column]
            versions = {"o": self.old[start][self.column], "n": self.new[start][self.column]}
            found += next((name for name, wanted in versions.items() if rows.equals(wanted)), "?")
        return found

    def look(self, root: Path | None = None) -> dict[str, Any]:
        """What a reader and an audit find now."""
        settings = self.settings if root is None else self.settings.model_copy(update={"root": root})
        first, end = self.starts[0], self.starts[-1] + self.table.layout.step
        with closing(self.store(root)) as store:
            report = audit_partitions(store, self.symbol, first, end, now=LATER, lag_minutes=3)
        frame, certificate = load(
            self.symbol, first, end, require="any", table=self.table, settings=settings, clock=lambda: LATER
        )
        rows = frame.collect()
        verify(certificate, settings=settings)
        wrong = sorted(f"{verdict.hour} {name}" for verdict in report.wrong for name in verdict.names)
        return {"versions": self.of(rows), "rows": [rows.height, certificate.present_rows], "wrong": wrong}

    def commit(self, store: Store, starts: Sequence[datetime], rows: dict[datetime, pl.DataFrame]) -> None:
        """Replace these partitions."""
        parts = [
            PartitionCandidate(
                start=start,
                frame=rows[start],
                metadata={"lake.table": self.table.name},
                sources=dict(self.sources[start].sources),
                complete=self.sources[start].complete,
                expected_rows=self.sources[start].expected_rows,
                inputs_hash=f"{rows is self.new} {start}",
                schema_hash=self.table.schema_hash,
                code_version=CODE_VERSION,
            )
            for start in starts
        ]
        commit_partitions(store, self.symbol, parts, clock=lambda: LATER)

    def compact(self, store: Store, tier: Any, start: datetime, end: datetime) -> None:
        """Make one file of the partitions of a period."""
        held = store.ledger.partition_files(self.symbol, start, end)
        compact(store, Period(self.symbol, tier, start, end), held, clock=lambda: LATER)


def looked_at_tables(root: Path) -> dict[str, Any]:
    """What was found at each step, by what was written."""
    settings = research_lake(root)
    versions = {name: Versions(settings, table, symbol) for name, (table, symbol) in TABLES.items()}
    found = {name: _written(each) for name, each in versions.items()}
    spot = versions["spot_bars_1s"]
    return found | {"exports": _exports(spot), "feed": _feed(root.parent / "feed"), **_backups(spot, root.parent)}


def _written(versions: Versions) -> list[Any]:
    """Compacted, one partition anew, compacted again, and what nothing is read from removed."""
    tier = versions.table.layout.tiers[0]
    start, end = (FIRST, FIRST + DAY) if tier == "day" else (_MONTH, (_MONTH + 31 * DAY).replace(day=1))
    with closing(versions.store()) as store:
        versions.compact(store, tier, start, end)
        with looking(versions.look) as seen:
            versions.commit(store, versions.starts[:1], versions.new)
            versions.compact(store, tier, start, end)
            clear(store, versions.symbol, clock=lambda: LATER + 9 * DAY, grace=HOUR)
    return seen


def _exports(versions: Versions) -> list[Any]:
    """The same window exported before and after an hour of it was replaced: is a file what its certificate tells?"""
    out = versions.settings.lake_root.parent / "out"
    out.mkdir()
    request = ExportRequest(FIRST, FIRST + SECONDS_HOURS * HOUR, "1m")

    def look() -> list[Any]:
        files = [path for path in sorted(out.glob("[!.]*")) if path.suffix in {".parquet", ".csv"}]
        certificates = [path.with_name(f"{path.name}.certificate.json") for path in files]
        told = [json.loads(path.read_text())["sha256"] if path.exists() else None for path in certificates]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        alone = len(list(out.glob("[!.]*.certificate.json"))) - sum(each is not None for each in told)
        return [alone, *(None if each is None else each == digest for each, digest in zip(told, digests, strict=True))]

    with closing(versions.store()) as store, looking(look) as seen:
        for rows in (versions.old, versions.new, versions.new):
            versions.commit(store, versions.starts, rows)
            for form in ("parquet", "csv"):
                target = ExportTarget(out, form, "simulator")
                write_export(store, versions.symbol, request, target, now=LATER, lag_minutes=3)
    return seen


def _feed(root: Path) -> list[Any]:
    """Hours appended one by one: how many rows readers see, and whether the newest set is the one that is told."""
    with feed_bench(root, long_bars(at(11), 738)) as bench:
        bench.seed(long_bars(at(10), 737))
        with looking(lambda: _fed(bench)) as seen:
            bench.run(11)
    return seen


def _fed(bench: FeedBench) -> list[Any]:
    files, told = bench.feed.files, bench.feed.files.latest() or {}
    path = files.directory / str(told["for_inference"])
    rows = pl.read_csv(path, try_parse_dates=True)
    published = bench.feed.table.published()
    whole = hashlib.sha256(path.read_bytes()).hexdigest() == told["sha256"] and rows.height == told["rows"]
    newest = str(rows["timestamp"].max())
    return [published.rows.height, published.chain.height, whole and newest == told["target_hour"], newest]


def _backups(versions: Versions, folder: Path) -> dict[str, Any]:
    """Backups of the lake as each step of a commit leaves it, and of one that changes while it is copied."""
    root, ledger, count = versions.settings.lake_root, versions.settings.lake_root / "ledger.sqlite", 0

    def taken() -> dict[str, Any]:
        nonlocal count
        count += 1
        copy = folder / f"copy-{count}"
        # Without its locks: as if the writer had died at this very step.
        copied = copy_lake(root, ledger, copy, locks=[], at=LATER)
        return {"damaged": check_backup(copy), "named": copied.named} | restored(copy)

    def restored(copy: Path) -> dict[str, Any]:
        with closing(versions.store(copy)) as store:
            recover(store)
        found = versions.look(copy)
        shutil.rmtree(copy)
        return found

    with closing(versions.store()) as store, looking(taken) as dead:
        versions.commit(store, versions.starts, versions.old)

    live = root / "live" / "um"
    live.mkdir(parents=True)
    for name in "ab":
        (live / f"{name}.seg.open").write_bytes(b"heard")
    copy, turns = folder / "while", iter([versions.new, versions.old, versions.new])

    def changed() -> None:
        if (copy / "spot").exists() and (rows := next(turns, None)) is not None:
            with closing(versions.store()) as store:
                versions.commit(store, versions.starts, rows)
        if (copy / "live").exists():  # the first of both is copied
            for path in live.glob("*.open"):
                path.rename(path.with_suffix(""))

    with looking(changed, COPIES):
        copied = copy_lake(root, ledger, copy, locks=[], at=LATER)
    held = sorted(path.name for path in (copy / "live").rglob("*.seg*"))
    wrong = check_backup(copy)
    told = {"damaged": wrong, "live": held, "rounds": copied.rounds}
    return {"dead": dead, "while": restored(copy) | told}
