"""The code location of the journey: the lake's own assets and jobs, on a lake and a clock that the journey sets.

Belongs here: what Dagster's backfill machinery loads by name, in the journey's process. Does not belong here: running
anything.
"""

import dagster as dg

from lake_assets.assets.minute import MINUTE_ASSET
from lake_assets.assets.parity_check import build_parity_check
from lake_assets.assets.table_asset import build_table_asset
from lake_assets.assets.vision import build_vision_asset
from lake_assets.jobs.history_pruning import build_prune_job
from lake_assets.jobs.job_list import build_sensor_jobs
from lake_assets.jobs.repair import build_repair_job
from lake_assets.sensors.sensor_list import build_sensors
from lake_assets.tables.offered import offered_streams
from lake_assets.tables.um_minute import UM_MINUTE
from lake_tests.support.opener import Opener
from lake_tests.support.simulated_lake import Bench

BENCHES: list[Bench] = []
"""The bench that is worked on, last."""


@dg.definitions
def definitions() -> dg.Definitions:
    """As `lake_assets.definitions`, without what the journey does not use."""
    settings = BENCHES[-1].settings
    archives = [
        build_vision_asset(symbol, stream, settings)
        for symbol in settings.symbols
        for stream in offered_streams(settings)
    ]
    jobs = [*build_sensor_jobs(settings), build_prune_job(settings)]
    return dg.Definitions(
        assets=[*archives, *(build_table_asset(MINUTE_ASSET, symbol, settings) for symbol in settings.symbols)],
        asset_checks=[build_parity_check(UM_MINUTE, symbol, settings) for symbol in settings.symbols],
        jobs=[*jobs, build_repair_job(settings)],
        sensors=build_sensors(settings, jobs, clock=lambda: BENCHES[-1].now),
        resources={"lake": Opener(lambda: BENCHES[-1].lake)},
        # A process per step would neither know the bench nor be quick.
        executor=dg.in_process_executor,
    )
