"""Klines of a source whose rows are in no file, such as the fold of single trades, after all other sources.

Belongs here: which seconds are taken from it. Does not belong here: the fold (`spot_trades`), the order of the other
sources (`sources`).
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from lake_assets.inputs.spot_trades import digest
from lake_assets.inputs.stream_sources import StreamSources
from lake_assets.source import HourSource, Source, Wanted
from lake_resources.clock import HOUR
from lake_resources.storage.provenance import SourceKind, SourceRef

_WITH_FOLD: dict[str, SourceKind] = {
    "none": "ws", "rest": "rest+ws", "archive": "archive+ws", "archive+rest": "archive+rest+ws",
}  # fmt: skip


def with_fold(found: StreamSources, source: Source, wanted: Wanted) -> StreamSources:
    """The sources with those rows of one more source that none of them has.

    Args:
        found: sources of a stream of klines: archives and answers of REST, which come first.
        source: offers wire klines of the stream.
        wanted: contiguous hours.
    """
    hours = wanted.starts
    offered = [offer.rows for offer in source.offers(wanted) if offer.rows is not None]
    if not offered:
        return found
    fold = pl.concat(offered)
    official = found.frame(hours[0], hours[-1] + HOUR).select("open_time")
    new = fold.join(official, on="open_time", how="anti", maintain_order="left")
    by_hour, absent = dict(found.by_hour), dict(found.absent)
    for (hour,), rows in new.group_by(pl.col("open_time").dt.truncate("1h"), maintain_order=True):
        if hour not in by_hour or hour not in hours:
            continue
        ref = by_hour[hour].ref
        told = digest(rows) if ref.kind == "none" else f"{ref.reference}+{digest(rows)}"
        kind = _WITH_FOLD.get(ref.kind, ref.kind)
        by_hour[hour] = HourSource(SourceRef(ref.stream, kind, told, ref.detail), by_hour[hour].paths)
        absent.pop(hour, None)
    return replace(found, by_hour=by_hour, absent=absent, made=new)
