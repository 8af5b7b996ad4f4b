"""What a day file holds, as JSON beside it, for readers who know neither the ledger nor the lake.

Belongs here: the file `{date}.meta.json`. Does not belong here: the day file itself (`lake_resources.storage`), which
days are closed (`compaction`).
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from lake_assets.schema.table import Table
from lake_resources.clock import DAY
from lake_resources.storage.compaction import Compacted
from lake_resources.storage.disk import disk_errors, replace_text
from lake_resources.storage.hashing import file_hash

EXCHANGE = "binance"
"""The exchange of all markets of the lake, also where the simulator stands in for it."""


def sidecar_path(day_file: Path, day: str) -> Path:
    """Where the sidecar of a day lies: beside its file, outside of the hours' tree."""
    return day_file.parent / f"{day}.meta.json"


def write_sidecar(table: Table, compacted: Compacted) -> Path | None:
    """Write the sidecar of a day file; None where the period is no day, or no file was written.

    `sha256` is that of the file's bytes: `sha256sum` of the file gives the same. `missing_seconds` counts seconds and
    not gaps, `duplicates` rows whose second is there before them.

    Raises:
        DiskFull: no space.
        StorageError: it cannot be written, or the file cannot be read.
    """
    path, period = compacted.path, compacted.period
    if path is None or period.tier != "day" or compacted.status == "changed_meanwhile":
        return None
    time, grain = table.layout.time_column, table.layout.grain
    with disk_errors(f"sidecar of {path}"):
        times = pl.read_parquet(path, columns=[time])[time]
        different = times.n_unique()
        told = {
            "timezone": "UTC",
            "date": period.name,
            "symbol": period.symbol,
            "exchange": EXCHANGE,
            "rows": times.len(),
            "missing_seconds": int((DAY // grain - different) * grain.total_seconds()),
            "duplicates": times.len() - different,
            "sha256": file_hash(path),
        }
        found = sidecar_path(path, period.name)
        replace_text(found, json.dumps(told, indent=2) + "\n")
    return found
