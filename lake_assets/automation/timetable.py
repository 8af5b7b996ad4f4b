"""The timetable: one table of all that runs at fixed times in Dagster, for the times depend on each other.

Belongs here: times, why they are these, what follows from commits and what is a schedule and why, when each was due.
Does not belong here: Dagster's schedules and conditions (`schedules`, `assets.following`), the jobs (`jobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time

from lake_assets.dagster_names import (
    API_PARITY_JOB,
    AUDIT_JOB,
    CARD_JOB,
    COMPACTION_JOB,
    FEED_JOB,
    LOOK_BACK_JOB,
    MACRO_JOB,
    PARITY_JOB,
    PRUNE_JOB,
    RESEARCH_JOB,
    RULES_JOB,
    parity_job,
)
from lake_assets.tables.declared import TABLES
from lake_assets.tables.offered import is_offered
from lake_resources.clock import DAY
from lake_resources.layout import FIRST_TABLE, TableLayout
from lake_resources.settings import LakeSettings


@dataclass(frozen=True)
class Timed:
    """What is done at fixed times: by a schedule, or by the automation condition of its assets.

    Attributes:
        name: of the schedule; the state that people gave it hangs on the name.
        cron: minute, hour, day of month, month, day of week, UTC.
        job: name of the job. What follows is not launched by it: it is for people.
        text: what it does.
        why: why at that time.
        schedule: why a schedule launches it; empty where it follows: its assets are asked for by their automation
            condition once the time has come and a commit is told.
        offered: whether the settings ask for its job at all.
    """

    name: str
    cron: str
    job: str
    text: str
    why: str
    schedule: str = ""
    offered: Callable[[LakeSettings], bool] = lambda _: True


_NOT_COMPARED = "It compares partitions that were not compared yet, also older ones: no commit makes them due."
TIMETABLE = (
    Timed(
        "feed_1h_hourly",
        "2 * * * *",
        FEED_JOB,
        "Appends the hour that has just closed, and missed ones before it, to the BTCUSDT 1H table.",
        why="An hour's kline is final a minute after its end; readers expect the row by minute 5.",
        schedule="The row is promised to the minute, and a condition is looked at every two minutes.",
    ),
    Timed(
        "macro_every_15_minutes",
        "*/15 * * * *",
        MACRO_JOB,
        "Asks Yahoo for today and the days before it that may have been corrected, of all macro tickers.",
        why="Minutes are shown up to a quarter of an hour late, and Yahoo counts requests.",
        schedule="It follows from nothing in the lake: somebody else's market makes it due.",
        offered=lambda settings: bool(settings.macro_tickers),
    ),
    Timed(
        "prune_hourly",
        "25 * * * *",
        PRUNE_JOB,
        "Deletes what the hot band leaves behind once nothing depends on it.",
        why="Between the feed at minute 2 and the daily reports from minute 40 on.",
        schedule="It deletes history and makes no asset.",
    ),
    Timed(
        "api_parity_hourly",
        "50 * * * *",
        API_PARITY_JOB,
        "Compares hours that were not compared since they were committed with the exchange's klines of now.",
        why="Late in the hour: the hour before is whole and settled, and the reports of minute 40 are under way.",
        schedule=_NOT_COMPARED,
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
        "Compares every partition on the disk with the ledger and with Dagster.",
        why="The archives of the day before appear about 08:40, and their hours are built anew in the hour after.",
        schedule="What it looks for, damage to the disk, comes without any commit.",
    ),
    Timed(
        "rules_daily",
        "55 9 * * *",
        RULES_JOB,
        "Runs the rulepack R1 to R7 over the last 31 days, of seconds over the last 3.",
        why="After the audit, so that damage is found before it is judged as a market.",
    ),
    Timed(
        "parity_at_rest_daily",
        "10 10 * * *",
        PARITY_JOB,
        "Compares sampled sealed partitions with the exchange's klines of now.",
        why="After the rules; it is the only report that asks the exchange.",
    ),
    Timed(
        "feed_1h_look_back_daily",
        "20 10 * * *",
        LOOK_BACK_JOB,
        "Compares a seventh of the BTCUSDT 1H table with the exchange's bars of now.",
        why="Beside the other comparison with the exchange's history, away from the feed at minute 2.",
        schedule="It looks for what the exchange restated, which no commit announces.",
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
    ),
)


def timed(settings: LakeSettings) -> list[Timed]:
    """All that schedules launch with these settings."""
    return [each for each in [*TIMETABLE, *_of_further_tables(settings)] if each.schedule and each.offered(settings)]


def following(job: str) -> Timed:
    """The line of what follows from commits, by the name of its job.

    Raises:
        KeyError: the job is in no line, or a schedule launches it.
    """
    return {each.job: each for each in TIMETABLE if not each.schedule}[job]


def _of_further_tables(settings: LakeSettings) -> list[Timed]:
    """What comes for each table that the settings ask for beside the first one."""
    layouts = [table.layout for table in TABLES.values() if is_offered(table, settings)]
    return [
        Timed(
            f"api_parity_hourly_{layout.name}",
            "54 * * * *",
            parity_job(layout),
            parity_text(layout),
            why="Behind the minute table at minute 50, whose weight is counted by itself.",
            schedule=_NOT_COMPARED,
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


def parity_text(layout: TableLayout) -> str:
    """What the job does that compares a table with the exchange, for people."""
    of_table = "" if layout.name == FIRST_TABLE else f" of the {layout.title}"
    return (
        f"Compares {layout.span}s{of_table} that were not compared since they were committed with the exchange's "
        "klines of now."
    )


def due_last(cron: str, now: datetime) -> datetime:
    """The newest instant, at `now` or before, that a line of the timetable names; UTC.

    Args:
        cron: minute, hour, day of month, month, day of week; of these the last three are `*`.
        now: UTC.

    Raises:
        ValueError: a line of another form.
    """
    minute, hour, *dates = cron.split()
    if dates != ["*"] * 3:
        raise ValueError(f"{cron!r} names days, which no line of the timetable does")
    times = [time(h, m, tzinfo=now.tzinfo) for h in _named(hour, 24) for m in _named(minute, 60)]
    days = (now.date(), now.date() - DAY)
    return max(at for day in days for each in times if (at := datetime.combine(day, each)) <= now)


def _named(field: str, end: int) -> range:
    """The hours of a day, or minutes of an hour, that a field of a cron line names: `*`, `*/15` or `40`."""
    if field.startswith("*"):
        return range(0, end, int(field.removeprefix("*").removeprefix("/") or 1))
    return range(int(field), int(field) + 1)
