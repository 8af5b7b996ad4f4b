"""The schedules: one table of all that runs at fixed times in Dagster, for the times depend on each other.

Belongs here: times, why they are these, and the jobs they launch. Does not belong here: the jobs and what exactly a
tick asks of them (`jobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from lake_assets.assets.table_list import offered_tables
from lake_assets.jobs.closed_periods import COMPACTION_JOB
from lake_assets.jobs.feed_hours import FEED_JOB, LOOK_BACK_JOB, request_feed_hours
from lake_assets.jobs.history_pruning import PRUNE_JOB
from lake_assets.jobs.macro_runs import MACRO_JOB, request_macro_days
from lake_assets.jobs.quality_reports import AUDIT_JOB, CARD_JOB, PARITY_JOB, RULES_JOB, request_report_cards
from lake_assets.jobs.research_file import RESEARCH_JOB
from lake_assets.jobs.table_partitions import API_PARITY_JOB, parity_job, parity_text
from lake_resources.layout import FIRST_TABLE
from lake_resources.settings import LakeSettings

Request = Callable[[LakeSettings, datetime], dg.RunRequest | dg.SkipReason]


@dataclass(frozen=True)
class Timed:
    """A job at fixed times.

    Attributes:
        name: of the schedule; the state that people gave it hangs on the name.
        cron: minute, hour, day of month, month, day of week, UTC.
        job: name of the job.
        text: what it does.
        why: why at that time.
        request: what a tick asks for, from the settings and the instant it was due at; None: a run without partition.
        offered: whether the settings ask for its job at all.
    """

    name: str
    cron: str
    job: str
    text: str
    why: str
    request: Request | None = None
    offered: Callable[[LakeSettings], bool] = lambda _: True


TIMETABLE = (
    Timed(
        "feed_1h_hourly",
        "2 * * * *",
        FEED_JOB,
        "Appends the hour that has just closed, and missed ones before it, to the BTCUSDT 1H table.",
        why="An hour's kline is final a minute after its end; readers expect the row by minute 5.",
        request=request_feed_hours,
    ),
    Timed(
        "macro_every_15_minutes",
        "*/15 * * * *",
        MACRO_JOB,
        "Asks Yahoo for today and the days before it that may have been corrected, of all macro tickers.",
        why="Minutes are shown up to a quarter of an hour late, and Yahoo counts requests.",
        request=request_macro_days,
        offered=lambda settings: bool(settings.macro_tickers),
    ),
    Timed(
        "prune_hourly",
        "25 * * * *",
        PRUNE_JOB,
        "Deletes what the hot band leaves behind once nothing depends on it.",
        why="Between the feed at minute 2 and the daily reports from minute 40 on.",
    ),
    Timed(
        "api_parity_hourly",
        "50 * * * *",
        API_PARITY_JOB,
        "Compares hours that were not compared since they were committed with the exchange's klines of now.",
        why="Late in the hour: the hour before is whole and settled, and the reports of minute 40 are under way.",
    ),
    Timed(
        "research_views_hourly",
        "35 * * * *",
        RESEARCH_JOB,
        "Writes the DuckDB file of the research views anew, over the files of the moment.",
        why="Between pruning, which may remove what it names, and the reports from minute 40 on.",
    ),
    Timed(
        "audit_daily",
        "40 9 * * *",
        AUDIT_JOB,
        "Compares every hour on the disk with the ledger and with Dagster.",
        why="The archives of the day before appear about 08:40, and their hours are built anew in the hour after.",
    ),
    Timed(
        "rules_daily",
        "55 9 * * *",
        RULES_JOB,
        "Runs the rulepack R1 to R7 over the last 31 days.",
        why="After the audit, so that damage is found before it is judged as a market.",
    ),
    Timed(
        "parity_at_rest_daily",
        "10 10 * * *",
        PARITY_JOB,
        "Compares sampled sealed hours with the exchange's klines of now.",
        why="After the rules; it is the only report that asks the exchange.",
    ),
    Timed(
        "feed_1h_look_back_daily",
        "20 10 * * *",
        LOOK_BACK_JOB,
        "Compares a seventh of the BTCUSDT 1H table with the exchange's bars of now.",
        why="Beside the other comparison with the exchange's history, away from the feed at minute 2.",
    ),
    Timed(
        "compact_daily",
        "40 10 * * *",
        COMPACTION_JOB,
        "Compacts what was closed since yesterday. It never removes anything.",
        why="A day is closed once its hours are rebuilt from archives and were audited.",
    ),
    Timed(
        "report_cards_daily",
        "5 11 * * *",
        CARD_JOB,
        "Writes the report card of the month anew.",
        why="Last: its page shows what audit, rules, parity and compaction left.",
        request=request_report_cards,
    ),
)


def build_schedules(settings: LakeSettings) -> list[dg.ScheduleDefinition]:
    """All schedules of the code location, in UTC."""
    timed = [*TIMETABLE, *_of_further_tables(settings)]
    return [_schedule(each, settings) for each in timed if each.offered(settings)]


def _of_further_tables(settings: LakeSettings) -> list[Timed]:
    """What comes for each table that the settings ask for beside the first one."""
    layouts = [shown.table.layout for shown in offered_tables(settings)]
    return [
        Timed(
            f"api_parity_hourly_{layout.name}",
            "54 * * * *",
            parity_job(layout),
            parity_text(layout),
            why="Behind the minute table at minute 50, whose weight is counted by itself.",
        )
        for layout in layouts
        if layout.name != FIRST_TABLE
    ]


def cron_of(timed: Timed, settings: LakeSettings) -> str:
    """When a job runs: in testing mode what is hourly, or every quarter of an hour, comes every few minutes."""
    minute, *others = timed.cron.split()
    if not settings.testing.enabled or others != ["*"] * 4:
        return timed.cron
    testing = settings.testing
    often = testing.macro_interval_min if minute.startswith("*/") else testing.transform_interval_min
    return " ".join([f"*/{often}", *others])


def _schedule(timed: Timed, settings: LakeSettings) -> dg.ScheduleDefinition:
    request = timed.request

    def ask(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return dg.RunRequest() if request is None else request(settings, context.scheduled_execution_time)

    return dg.ScheduleDefinition(
        name=timed.name,
        job_name=timed.job,
        cron_schedule=cron_of(timed, settings),
        execution_timezone="UTC",
        execution_fn=ask,
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED,
        description=f"{timed.text} {timed.why}",
    )
