"""All sensors of the code location.

Belongs here: the list, and what the sensors share: one ledger, one outbox, one clock. Does not belong here: any sensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.at_rest import store_of
from lake_assets.jobs.asset_job import Job
from lake_assets.sensors.archive_promotion import Promotion, build_promote_sensor
from lake_assets.sensors.hole_healing import build_heal_sensor
from lake_assets.sensors.hot_band import build_hot_sensor
from lake_assets.sensors.run_alerts import build_alert_sensor
from lake_assets.sensors.slice_completeness import build_slice_sensors
from lake_resources.clock import Clock, system_clock
from lake_resources.messages.outbox import open_outbox
from lake_resources.settings import LakeSettings


def build_sensors(
    settings: LakeSettings, jobs: Sequence[Job], *, clock: Clock = system_clock
) -> list[dg.SensorDefinition]:
    """All sensors of the code location.

    Args:
        settings: intervals, caps and addresses.
        jobs: the jobs that sensors may launch.
        clock: the only source of the current time.
    """
    lake, outbox = store_of(settings), open_outbox(settings)
    shown_tables = offered_tables(settings)
    tables = [
        Promotion(settings, lake.of(shown.table.layout), shown.table, symbols_of(shown.table, settings), outbox)
        for shown in shown_tables
    ]
    return [
        *(
            build_hot_sensor(settings, lake.beside(shown.table), shown, symbols_of(shown.table, settings), clock)
            for shown in shown_tables
        ),
        *(build_heal_sensor(settings, each.store.ledger, each.table, each.symbols, clock) for each in tables),
        *(build_promote_sensor(each, clock, jobs) for each in tables),
        build_alert_sensor(settings, outbox, clock),
        *build_slice_sensors(settings, clock),
    ]
