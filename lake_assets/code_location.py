"""The code location: all assets, checks, resources and what runs them, assembled from the settings.

Belongs here: which families of assets exist, and the executor. Does not belong here: any asset's body, building it for
the environment's settings (`definitions`) or for one shard (`shards`).
"""

from __future__ import annotations

import dagster as dg

from lake_assets.assets.feed_1h import build_feed_asset, build_look_back_check
from lake_assets.assets.kline_slices import build_kline_slices_asset
from lake_assets.assets.macro_tickers import build_macro_asset, macro_key
from lake_assets.assets.parity_check import build_parity_check
from lake_assets.assets.quality import build_quality_assets
from lake_assets.assets.report_card import build_report_card_asset
from lake_assets.assets.research import build_research_asset
from lake_assets.assets.table_list import build_table_assets, offered_tables, symbols_of
from lake_assets.assets.vision import build_vision_asset
from lake_assets.dagster_names import FEED_JOB, LOOK_BACK_JOB, PRUNE_JOB, RESEARCH_JOB
from lake_assets.jobs.job_list import build_jobs
from lake_assets.metadata import table_key
from lake_assets.research.views_file import READ_TABLES
from lake_assets.resources import build_resources
from lake_assets.schedules import build_schedules
from lake_assets.sensors.followers import build_follow_sensor
from lake_assets.sensors.sensor_list import build_sensors
from lake_assets.tables.offered import offered_streams
from lake_resources.binance.market import MARKETS
from lake_resources.settings import LakeSettings

_ONCE = {FEED_JOB, LOOK_BACK_JOB, RESEARCH_JOB, PRUNE_JOB}
"""Jobs that are not about symbols: of several shards the first has them."""


def build_definitions(settings: LakeSettings) -> dg.Definitions:
    """The code location of the given settings; of a shard, what is not about one symbol is the first one's."""
    assets = [
        asset
        for market in MARKETS.values()
        for symbol in settings.symbols_of(market)
        for asset in (
            *(build_vision_asset(symbol, stream, settings) for stream in offered_streams(settings, market.name)),
            *build_table_assets(symbol, settings, market),
        )
    ]
    reports = [
        asset
        for shown in offered_tables(settings)
        for symbol in symbols_of(shown.table, settings)
        for asset in (
            *build_quality_assets(symbol, settings, settings.testing.labelled, shown.table),
            build_report_card_asset(symbol, settings, shown.table),
        )
    ]
    raw = [
        build_kline_slices_asset(symbol, interval, settings)
        for symbol in settings.slice_symbols
        for interval in settings.slice_intervals
    ]
    parity = [
        build_parity_check(shown.table, symbol, settings)
        for shown in offered_tables(settings)
        for symbol in symbols_of(shown.table, settings)
    ]
    macro = [build_macro_asset(ticker, settings) for ticker in settings.macro_tickers]
    jobs = build_jobs(settings)
    schedules = build_schedules(settings)
    once: list[dg.AssetsDefinition] = []
    checks: list[dg.AssetChecksDefinition] = list(parity)
    if settings.is_first_shard:
        once = _of_the_whole_lake(settings.of_all_shards())
        checks.append(build_look_back_check())
    else:
        jobs = [job for job in jobs if job.name not in _ONCE]
        schedules = [each for each in schedules if each.job_name not in _ONCE]
    every = [*assets, *reports, *raw, *macro, *once]
    return dg.Definitions(
        asset_checks=checks,
        assets=every,
        jobs=jobs,
        sensors=[*build_sensors(settings, jobs), build_follow_sensor(settings, every)],
        schedules=schedules,
        resources=build_resources(settings),
        # A step process of its own would add 3 s of CPU to every run, and runs have one step.
        executor=dg.in_process_executor,
    )


def _of_the_whole_lake(settings: LakeSettings) -> list[dg.AssetsDefinition]:
    """Assets that are not about one symbol or ticker: of several shards one has them."""
    feed = build_feed_asset(settings)
    read = [shown.table for shown in offered_tables(settings) if shown.table in READ_TABLES]
    rows = [table_key(table.layout, symbol) for table in read for symbol in symbols_of(table, settings)]
    return [feed, build_research_asset(settings, [*rows, *map(macro_key, settings.macro_tickers), *feed.keys])]
