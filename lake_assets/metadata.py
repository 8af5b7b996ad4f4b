"""What Dagster's UI shows about an asset and a partition: keys, tags, column tables, provenance, pictures.

Belongs here: turning registry, provenance and results into Dagster metadata values.
Does not belong here: computing any of them, recording events (`checks`).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl
from PIL import Image, ImageDraw

from lake_assets.dagster_names import (
    FIRST_MARKET,
    cold_days_names,
    compacted_names,
    minute_names,
    symbol_name,
    table_names,
    vision_names,
)
from lake_assets.inputs.results import ArchiveResult, HourResult
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.completeness import completeness_pct
from lake_assets.windows import band
from lake_resources.binance.stream import Stream
from lake_resources.layout import TableLayout
from lake_resources.storage.provenance import SourceRef

Picture = Callable[[pl.DataFrame], str]
"""Draws rows as a `data:` URI."""
_PICTURE_SIZE_PX = (240, 64)
_VOLUME_SHARE = 0.35
_MOST_BARS = 60


def minute_key(symbol: str) -> dg.AssetKey:
    """Key of a symbol's minute table."""
    return dg.AssetKey(minute_names(symbol))


def table_key(layout: TableLayout, symbol: str) -> dg.AssetKey:
    """Key of a symbol's table."""
    return dg.AssetKey(table_names(layout, symbol))


def cold_days_key(layout: TableLayout, symbol: str) -> dg.AssetKey:
    """Key of a symbol's table of hours, recorded by days."""
    return dg.AssetKey(cold_days_names(layout, symbol))


def compacted_key(symbol: str, layout: TableLayout = UM_MINUTE.layout) -> dg.AssetKey:
    """Key of the files of many partitions of a symbol's table."""
    return dg.AssetKey(compacted_names(layout, symbol))


def vision_key(symbol: str, stream: str, market: str = FIRST_MARKET) -> dg.AssetKey:
    """Key of one archive stream of a symbol."""
    return dg.AssetKey(vision_names(symbol, stream, market))


def symbol_tags(symbol: str, market: str = FIRST_MARKET) -> dict[str, str]:
    """Tags by which the catalogue is filtered."""
    return {"symbol": symbol_name(symbol), "market": market}


def table_columns(table: Table) -> dg.TableSchema:
    """The registry as the UI's column table: type, unit and definition of each column."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.dtype_text,
                description=f"{column.definition}. Unit: {column.unit or 'none'}. Fill: {column.fill_policy}.",
                constraints=dg.TableColumnConstraints(nullable=column.name not in table.required),
            )
            for column in table.columns
        ]
    )


def stream_columns(stream: Stream) -> dg.TableSchema:
    """The wire columns of an archive stream."""
    return dg.TableSchema(columns=[dg.TableColumn(name, str(dtype)) for name, dtype in stream.columns.items()])


def provenance_table(sources: Mapping[str, SourceRef]) -> dg.MarkdownMetadataValue:
    """Which source each stream of the hour came from, as a readable table."""
    lines = ["| stream | source | reference |", "| --- | --- | --- |"]
    lines += [f"| {name} | {ref.kind} | `{ref.reference[:24]}` |" for name, ref in sorted(sources.items())]
    return dg.MetadataValue.md("\n".join(lines))


def archive_metadata(result: ArchiveResult) -> dict[str, Any]:
    """Metadata of one archive file."""
    return {
        "dagster/partition_row_count": result.row_count,
        "dagster/uri": dg.MetadataValue.path(str(result.path)),
        "outcome": result.status,
        "sha256": result.sha256,
        "source": dg.MetadataValue.url(result.url),
        **({"damaged": result.message} if result.message else {}),
    }


def partition_metadata(
    result: HourResult, layout: TableLayout, *, now: datetime, picture: Picture | None = None
) -> dict[str, Any]:
    """Metadata of one committed partition. Event rows are the cost of a long backfill, so it is kept small.

    Args:
        result: what was built.
        layout: of its table.
        now: the moment of the run, UTC.
        picture: draws the rows; None where no picture is wanted.
    """
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": result.row_count,
        "dagster/uri": dg.MetadataValue.path(str(result.path)),
        "outcome": result.status,
        "band": band(now - result.hour - layout.step),
        "expected_rows": result.expected_rows,
        "completeness_pct": completeness_pct(_expected_rows_there(result, layout), result.expected_rows),
        "content_hash": result.content_hash[:16],
        "provenance": provenance_table(result.sources),
    }
    if result.reason:
        metadata["reason"] = result.reason
    if picture is not None and result.frame is not None and result.frame.height:
        metadata["close_and_volume"] = dg.MetadataValue.md(f"![close and volume]({picture(result.frame)})")
    return metadata


def _expected_rows_there(result: HourResult, layout: TableLayout) -> int:
    """Rows of those that must exist; the others of an open partition are provisional."""
    if result.frame is None:
        return min(result.row_count, result.expected_rows)
    end = result.hour + result.expected_rows * layout.grain
    return result.frame.filter(pl.col(layout.time_column) < end)[layout.time_column].n_unique()


def hour_picture(frame: pl.DataFrame) -> str:
    """Close (line) and volume (bars) of an hour's minutes as a `data:` URI of a small PNG."""
    return bars_picture(frame, UM_MINUTE)


def bars_picture(frame: pl.DataFrame, table: Table) -> str:
    """Close (line) and volume (bars) of a partition's rows as a `data:` URI of a small PNG; seconds as minutes."""
    width, height = _PICTURE_SIZE_PX
    image = Image.new("P", (width, height), 0)
    image.putpalette([255, 255, 255, 190, 205, 225, 20, 70, 140])
    draw = ImageDraw.Draw(image)
    time, close, volume = table.layout.time_column, table.prices[3], table.volumes[0]
    shown = max(table.layout.rows_per_partition // _MOST_BARS, 1) * table.layout.grain
    bars = frame.group_by_dynamic(time, every=shown).agg(pl.col(close).last(), pl.col(volume).sum())
    first = table.layout.start_of(frame[time][0])
    places = [(instant - first) // shown for instant in bars[time].to_list()]
    volumes, closes = bars[volume].to_list(), bars[close].to_list()
    step = width / (table.layout.step // shown)
    most = max(volumes) or 1.0
    for place, amount in zip(places, volumes, strict=True):
        top = height - 1 - amount / most * height * _VOLUME_SHARE
        draw.rectangle((place * step, top, (place + 1) * step - 2, height - 1), fill=1)
    low, high = min(closes), max(closes)
    span = (high - low) or 1.0
    room = height * (1 - _VOLUME_SHARE) - 4
    points = [
        ((place + 0.5) * step, 2 + (high - price) / span * room) for place, price in zip(places, closes, strict=True)
    ]
    draw.line(points, fill=2, width=1)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
