"""When assets follow from what was committed: the automation conditions of the timetable's lines.

Belongs here: the two forms that they have. Does not belong here: times (`automation.timetable`), the sensor that
evaluates them (`sensors.followers`), the assets.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from lake_assets.automation.timetable import cron_of, following
from lake_resources.settings import LakeSettings

Condition = dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]
_BOTH_MONTHS = timedelta(days=63)
"""Back from the end of a month: two months begin in it, whichever they are, and no third."""


def follows(job: str, settings: LakeSettings) -> Condition:
    """The condition of an asset that follows: its time has come, and then something that it is made of was committed.

    That its time has come is remembered until the asset is asked for or made, so a platform that was off then makes up
    for it once. Commits are not remembered: remembering those of every look would cost 30 kB of history per asset and
    look, hundreds of megabytes a day, and while the lake is kept hot one is told at least every five minutes.

    Args:
        job: name of the job that makes the same assets by hand; its line in the timetable says the time.
        settings: of the lake.
    """
    line = following(job)
    changed: Condition = dg.AutomationCondition.any_deps_updated()
    condition = _due(cron_of(line, settings)) & changed
    return (condition & ~dg.AutomationCondition.in_progress()).with_label(line.name)


def follows_by_month(job: str, settings: LakeSettings) -> Condition:
    """The condition of a report per month: that of the running month each day, on the first also that of the last one.

    Args:
        job: name of the job that makes the same assets by hand; its line in the timetable says the time.
        settings: of the lake.
    """
    line = following(job)
    cron = cron_of(line, settings)
    minute, hour, *_ = cron.split()
    running: Condition = dg.AutomationCondition.in_latest_time_window()
    last: Condition = dg.AutomationCondition.in_latest_time_window(_BOTH_MONTHS)
    condition = (running & _due(cron)) | (last & _due(f"{minute} {hour} 1 * *"))
    return (condition & ~dg.AutomationCondition.in_progress()).with_label(line.name)


def _due(cron: str) -> Condition:
    passed: Condition = dg.AutomationCondition.cron_tick_passed(cron, "UTC")
    return passed.since_last_handled().with_label("its time has come")
