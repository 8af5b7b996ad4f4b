"""A further source, declared in the tests alone: another vendor's klines, one CSV per hour in a directory.

It is what the page `docs/extending.md` says a source takes: a class with a title and `offers`, and a place in the lake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lake_assets.source import Offer, Wanted
from lake_resources.binance.um_streams import KLINES_1M


@dataclass(frozen=True)
class ToyVendor:
    """Klines of a vendor that was heard of yesterday."""

    directory: Path
    title = "the toy vendor"

    def offers(self, wanted: Wanted) -> Iterator[Offer]:
        """Hours of which a file is there, as it was when the file was written."""
        for hour in wanted.starts if wanted.used.stream is KLINES_1M else ():
            path = self.file(wanted.symbol, hour)
            if not path.is_file():
                continue
            try:
                rows = pl.read_csv(path, schema=pl.Schema(KLINES_1M.columns))
            except pl.exceptions.PolarsError as error:
                yield Offer((hour,), failure=f"{path.name} does not read: {error}".splitlines()[0])
            else:
                written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                yield Offer((hour,), rows=rows, asked_at=written, by=f"toy vendor {path.name}")

    def file(self, symbol: str, hour: datetime) -> Path:
        """Where the klines of an hour lie."""
        return self.directory / f"{symbol}-{hour:%Y-%m-%dT%H}.csv"
