"""The jobs of the Vision archives: one per set of partitions, for assets of one job have the same.

Belongs here: their names and what they select. Does not belong here: when files are taken (`sensors`), the assets
(`assets.vision`).
"""

from __future__ import annotations

from lake_assets.dagster_names import FIRST_MARKET
from lake_assets.jobs.asset_job import AssetJob, asset_job
from lake_assets.metadata import vision_key
from lake_assets.partitions import archive_partitions
from lake_assets.tables.offered import offered_streams
from lake_resources.binance.market import MARKETS
from lake_resources.binance.stream import Stream
from lake_resources.settings import LakeSettings


def build_archive_jobs(settings: LakeSettings) -> list[AssetJob]:
    """A job per set of partitions, over the archives of all symbols that have it."""
    families: dict[str, list[Stream]] = {}
    for market in MARKETS.values():
        for stream in offered_streams(settings, market.name) if settings.symbols_of(market) else ():
            families.setdefault(vision_job(stream, settings), []).append(stream)
    return [
        asset_job(
            name,
            [
                vision_key(symbol, stream.name, stream.market.name)
                for stream in streams
                for symbol in settings.symbols_of(stream.market)
            ],
            "Archive files that Vision published: " + ", ".join(stream.name for stream in streams) + ".",
        )
        for name, streams in families.items()
    ]


def vision_job(stream: Stream, settings: LakeSettings) -> str:
    """Name of the job that takes a stream's archives; it tells cadence, first and (where there is one) last day."""
    partitions = archive_partitions(stream, settings)
    end = f"_to_{partitions.end:%Y%m%d}" if partitions.end else ""
    market = "" if stream.market.name == FIRST_MARKET else f"{stream.market.name}_"
    return f"vision_{market}{stream.files.cadence}_from_{partitions.start:%Y%m%d}{end}"
