"""The sensor that brings published archives of a table in and rebuilds its partitions from them.

Belongs here: asking Vision for CHECKSUMs, the run requests and alarms that follow. Does not belong here: when to ask
and what to rebuild (`automation.promotion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg

from lake_assets.automation.attempts import Attempts
from lake_assets.automation.promotion import (
    BACKOFF,
    DayState,
    Poll,
    alarm_text,
    daily_uses,
    named,
    note_asked,
    plan_polls,
    plan_rebuilds,
    watched_days,
)
from lake_assets.build.open_hours import open_hours
from lake_assets.dagster_names import AUTOMATION_TAG, PROMOTE_SENSOR, sensor_name, table_job
from lake_assets.inputs.missing import DAMAGED_ROWS, hours_of
from lake_assets.jobs.archive_files import vision_job
from lake_assets.jobs.asset_job import Job
from lake_assets.jobs.run_tags import LAUNCHED_RUN_LONGEST, partition_range_tags, runs_at_work
from lake_assets.metadata import table_key, vision_key
from lake_assets.schema.table import Table
from lake_assets.sensors.one_by_one import default_status, look_at_each, warning_of
from lake_assets.tables.offered import offered_streams
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.clock import DAY, Clock
from lake_resources.dagster_private import keep_instance
from lake_resources.errors import ArchiveError, ArchiveNotPublished, ExchangeError, RequestRefused
from lake_resources.messages.alerts import Alert
from lake_resources.messages.outbox import Outbox
from lake_resources.settings import LakeSettings
from lake_resources.storage.store import Store

_REBUILDS_PER_TICK = 4
_VISION_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Promotion:
    """What the sensor of a table works with.

    Attributes:
        settings: of the lake.
        store: on the table.
        table: whose partitions.
        symbols: whose rows it holds.
        outbox: takes alarms.
    """

    settings: LakeSettings
    store: Store
    table: Table
    symbols: Sequence[str]
    outbox: Outbox


def build_promote_sensor(work: Promotion, clock: Clock, jobs: Sequence[Job]) -> dg.SensorDefinition:
    """Brings in published days, notices re-publications, and rebuilds a table's partitions from them.

    Args:
        work: the table, and what it is promoted with.
        clock: the only source of the current time.
        jobs: the jobs that sensors may launch.
    """
    settings, table, layout = work.settings, work.table, work.table.layout
    offered = {stream.name for stream in offered_streams(settings, layout.market)}
    names = {table_job(layout)} | {
        vision_job(use.stream, settings) for name, use in daily_uses(table).items() if name in offered
    }

    @dg.sensor(
        name=sensor_name(PROMOTE_SENSOR, layout),
        jobs=[job for job in jobs if job.name in names],
        minimum_interval_seconds=settings.promote_interval_s,
        default_status=default_status(settings),
        description="Asks Vision for the CHECKSUMs of days since the first hour, ingests what appears or was "
        f"re-published, and rebuilds the day of the {layout.title} from it. A day that is late raises an alarm.",
    )
    def promote_archives(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        keep_instance(context)
        now = clock()
        busy = runs_at_work(context.instance, "promote", sorted(names), now, longest=LAUNCHED_RUN_LONGEST)
        if busy:
            return dg.SkipReason(f"run {busy[0]} is still at work")
        found = look_at_each(
            work.symbols,
            lambda symbol: _days(work, symbol, now),
            warning_of(context),
        )
        days = [day for each in found.values() for day in each]
        attempts = Attempts.load(context.cursor)
        polls = plan_polls(days, now, cap=settings.promote_polls_per_tick, attempts=attempts)
        answers = _ask_vision(work, polls, now)
        note_asked(answers.asked, now, attempts)
        problem = answers.problem
        ready = [poll for poll in answers.published if attempts.ready(_key(poll, "take"), "", now, BACKOFF)]
        late = [poll for poll in answers.absent if poll.late and _key(poll, "late") not in attempts.entries]
        for purpose, chosen in (("take", ready), ("late", late)):
            for poll in chosen:
                attempts.note(_key(poll, purpose), "", now)
        rebuilds = plan_rebuilds(days, now, cap=_REBUILDS_PER_TICK, attempts=attempts)
        requests = [
            *_archive_requests(ready, work),
            *(_rebuild_request(table, each.symbol, each.day) for each in rebuilds),
        ]
        # Kept or delivered before the cursor says that they were told; else the tick fails, and they are found again.
        trouble = work.outbox.post(*(_alarm(poll, table, now) for poll in late))
        for text in filter(None, (*(alarm_text(poll, table) for poll in late), trouble, problem)):
            context.log.warning(text)
        asked = f"asked for {len(answers.asked)} CHECKSUMs, {len(answers.published)} to take; {problem}".rstrip("; ")
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else asked,
            cursor=attempts.dump(),
            asset_events=[_observation(poll, table) for poll in late],
        )

    return promote_archives


def _days(work: Promotion, symbol: str, now: datetime) -> list[DayState]:
    """The days that are watched of a symbol, from its first partition on and none before the lake's start."""
    store, first = work.store, work.settings.start_utc
    start, end = watched_days(now)
    start = max(start, first)
    begun = store.ledger.first_partition(symbol)
    listing = store.ledger.listing(symbol)
    if listing is not None and listing.end is not None:
        last = (listing.end - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        end = min(end, last + timedelta(days=1))  # there are no archives of days after the end of trading
    if begun is None or max(start, begun) >= end:
        return []
    start = max(start, begun)
    partitions = store.ledger.partitions(symbol, start, end)
    absent = open_hours(store.ledger, symbol, start, end).absent
    unresolved = store.ledger.missing_sources(symbol)
    missing = [row for row in unresolved if row.source == "archive"]
    damaged = {(row.stream, row.period) for row in unresolved if row.source == DAMAGED_ROWS}
    archives = {
        name: {row.period: row for row in store.ledger.archives_between(symbol, name, start, end)}
        for name in daily_uses(work.table)
    }
    found = []
    for index in range((end.date() - start.date()).days):
        day = start.date() + timedelta(days=index)
        period = day.isoformat()
        held = {name: rows[period] for name, rows in archives.items() if period in rows}
        found.append(
            DayState(
                symbol,
                day,
                tuple(row for row in partitions if row.start.date() == day),
                held,
                {row.stream: row for row in missing if row.period == period},
                {name: frozenset(hours_of(damaged, name, day)) for name in held},
                tuple(at for at in absent if at.date() == day),
                work.table,
            )
        )
    return found


@dataclass
class _Answers:
    """What Vision said: who was asked for, what is there to take, what is not there, what ended the asking."""

    asked: list[Poll] = field(default_factory=list)
    published: list[Poll] = field(default_factory=list)
    absent: list[Poll] = field(default_factory=list)
    problem: str = ""


def _ask_vision(work: Promotion, polls: Sequence[Poll], now: datetime) -> _Answers:
    """Ask for CHECKSUMs, until Vision does not answer."""
    answers, settings, ledger, uses = _Answers(), work.settings, work.store.ledger, work.table.uses
    if not polls:
        return answers
    vision = VisionClient(
        settings.resolved_vision_url, timeout_s=_VISION_TIMEOUT_S, attempts=1, connections=1, limits=settings.limits
    )
    try:
        for poll in polls:
            try:
                sha256 = vision.checksum(uses[poll.stream].stream, poll.symbol, poll.period)
            except ArchiveNotPublished as error:
                if poll.known_sha256 is None:
                    text = alarm_text(poll, work.table) if poll.late else str(error)
                    ledger.record_missing(poll.symbol, poll.stream, poll.period, "archive", text, at=now)
                    answers.absent.append(poll)
            except (ArchiveError, RequestRefused) as error:
                # Of this file alone: a host that answers nobody is another error, and ends the asking.
                ledger.record_missing(poll.symbol, poll.stream, poll.period, "archive", str(error), at=now)
            else:
                answers.published += [poll] if sha256 != poll.known_sha256 else []
            answers.asked.append(poll)
    except ExchangeError as error:
        answers.problem = f"Vision did not answer: {error}"
    finally:
        vision.close()
    return answers


def _archive_requests(polls: Sequence[Poll], work: Promotion) -> list[dg.RunRequest]:
    """One run per day and job for all files to take."""
    groups: dict[tuple[str, str], list[Poll]] = {}
    for poll in polls:
        job = vision_job(work.table.uses[poll.stream].stream, work.settings)
        groups.setdefault((job, poll.period), []).append(poll)
    return [
        dg.RunRequest(
            job_name=job,
            partition_key=period,
            asset_selection=[vision_key(poll.symbol, poll.stream, work.table.layout.market) for poll in group],
            tags={AUTOMATION_TAG: "promote", "lake/cause": _cause(group)},
        )
        for (job, period), group in groups.items()
    ]


def _cause(polls: Sequence[Poll]) -> str:
    return "republished" if any(poll.known_sha256 for poll in polls) else "published"


def _rebuild_request(table: Table, symbol: str, day: date) -> dg.RunRequest:
    layout = table.layout
    midnight = datetime.combine(day, time(), UTC)
    return dg.RunRequest(
        job_name=table_job(layout),
        asset_selection=[table_key(layout, symbol)],
        tags=partition_range_tags("promote", layout, midnight, midnight + DAY - layout.step)
        | {"lake/cause": "rebuild"},
    )


def _alarm(poll: Poll, table: Table, now: datetime) -> Alert:
    what = f"{poll.stream} of {named(poll.symbol, table)} for {poll.period} is late"
    return Alert("archive_late", what, alarm_text(poll, table), now)


def _observation(poll: Poll, table: Table) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=vision_key(poll.symbol, poll.stream, table.layout.market),
        partition=poll.period,
        metadata={"outcome": "late", "message": alarm_text(poll, table)},
    )


def _key(poll: Poll, purpose: str) -> str:
    return f"{purpose} {poll.symbol} {poll.stream} {poll.period}"
