"""Damage to the finished lake: files and ledger rows that something else than the lake has changed.

Belongs here: doing it. Does not belong here: what is found of it (`must`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl
import sqlalchemy as sa

from lake_assets.lake import Lake
from lake_resources.storage.catalog import floor_hour
from lake_resources.storage.ledger.tables import utc_text
from lake_tests.bench.year.planted import HOUR, Plant

STRAY = "stray file"


def damage(lake: Lake, planted: Sequence[Plant]) -> None:
    """Plant all damage."""
    for plant in planted:
        if plant.stream or plant.start.minute:
            continue
        path = lake.catalog.partition_path(plant.symbol, plant.start)
        match plant.kind:
            case "deleted file":
                path.unlink()
            case "flipped byte":
                content = bytearray(path.read_bytes())
                # In the file's own metadata, so that it reads as before.
                content[content.index(plant.symbol.encode())] ^= 0x20
                path.write_bytes(content)
            case "torn file":
                path.write_bytes(path.read_bytes()[:-40])
            case "forgotten by the ledger":
                _sql(lake, "DELETE FROM partitions", plant)
            case "misnoted by the ledger":
                _sql(lake, "UPDATE partitions SET row_count = 59", plant)
            case "stray file":
                path.parent.mkdir(parents=True)
                path.write_bytes(_moved(lake, plant))


def remove_strays(lake: Lake, planted: Sequence[Plant]) -> None:
    """What a person does about a file of an hour that cannot be."""
    for plant in planted:
        if plant.kind == STRAY:
            lake.catalog.partition_path(plant.symbol, plant.start).unlink()


def _moved(lake: Lake, plant: Plant) -> bytes:
    """Sound rows of the hour, made from another one's."""
    first = lake.ledger.first_partition(plant.symbol)
    assert first is not None
    rows = pl.read_parquet(lake.catalog.partition_path(plant.symbol, first + HOUR))
    buffer = io.BytesIO()
    rows.with_columns(timestamp=pl.col("timestamp") + (plant.start - first - HOUR)).write_parquet(buffer)
    return buffer.getvalue()


def _sql(lake: Lake, statement: str, plant: Plant) -> None:
    engine = sa.create_engine(lake.ledger.engine.url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"{statement} WHERE symbol = :symbol AND start_utc = :start"),
            {"symbol": plant.symbol, "start": utc_text(floor_hour(plant.start))},
        )
    engine.dispose()
