"""Archives that are kept as those of another market: finding them, and filing them right.

Belongs here: what the ledger has under the name of a market although its address is in the directory of another one.
Does not belong here: taking archives in (`archives`), which refuses such ones.

The assets of spot once kept their archives as those of the futures of that name; lakes of that time still hold them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from lake_assets.at_rest import LakeAtRest
from lake_assets.schema.table import Table
from lake_assets.tables.declared import TABLES
from lake_resources.binance.market import MARKETS
from lake_resources.clock import DAY, HOUR
from lake_resources.storage.disk import fsync_dirs, make_dirs
from lake_resources.storage.ledger.ledger import Archive


@dataclass(frozen=True)
class Misfiled:
    """An archive under a wrong market.

    Attributes:
        archive: as the ledger has it.
        under: the market that it is kept as.
        market: the market that it is of.
    """

    archive: Archive
    under: str
    market: str

    @property
    def title(self) -> str:
        """Symbol, stream and period."""
        return f"{self.archive.symbol} {self.archive.stream} {self.archive.period}"


def misfiled_archives(lake: LakeAtRest) -> list[Misfiled]:
    """All of a lake, in the order of symbol, stream and period."""
    found = [
        Misfiled(archive, under, market)
        for under, table in _of_markets().items()
        for market in MARKETS
        if market != under
        for archive in lake.of(table).ledger.archives_from(MARKETS[market].directory)
    ]
    return sorted(found, key=lambda each: (each.archive.symbol, each.archive.stream, each.archive.period))


def file_right(lake: LakeAtRest, misfiled: Misfiled) -> None:
    """Move an archive to the market that it is of: its file first, then its row; a killed move is done again."""
    archive, tables = misfiled.archive, _of_markets()
    right = lake.of(tables[misfiled.market]).catalog
    path = right.archive_path(archive.stream, archive.symbol, archive.period, archive.sha256)
    wrong = right.absolute(archive.path)
    if wrong != path and wrong.is_file():
        changed = [*make_dirs(path.parent), path.parent, wrong.parent]
        wrong.rename(path)
        fsync_dirs(changed)
    lake.of(tables[misfiled.under]).ledger.move_archive(archive, misfiled.market, right.relative(path))


def built_from(lake: LakeAtRest, misfiled: Misfiled) -> Iterator[tuple[Table, list[datetime]]]:
    """Partitions of the wrong market's tables that were built from the archive: they hold another market's rows."""
    day = datetime.fromisoformat(misfiled.archive.period).replace(tzinfo=UTC)
    for table in TABLES.values():
        if table.layout.market != misfiled.under:
            continue
        rows = lake.of(table).ledger.partitions(misfiled.archive.symbol, day, day + DAY + HOUR)
        starts = [
            row.start
            for row in rows
            for source in [row.sources.get(misfiled.archive.stream)]
            if source is not None and misfiled.archive.sha256 in source.reference
        ]
        if starts:
            yield table, starts


def _of_markets() -> dict[str, Table]:
    """A table of each market of the exchange: raw inputs are kept by market, and any table of it stands for them."""
    tables = {table.layout.market: table for table in reversed(TABLES.values())}
    return {market: tables[market] for market in MARKETS}
