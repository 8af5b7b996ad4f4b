"""Whether the platform is well: a verdict on facts that are given.

Belongs here: what counts as a problem. Does not belong here: finding the facts (`watchdog.look`), the form in which
they are written (`health_page`), telling people (`watchdog.telling`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from lake_assets.automation.platform import (
    DAGSTER,
    CollectorFacts,
    Facts,
    HoleFacts,
    RunFacts,
    ScheduleFacts,
    SensorFacts,
    SpotFacts,
    TableFacts,
)
from lake_assets.automation.resident_turns import silence_text, silent_for
from lake_resources.clock import MINUTE

Status = Literal["HEALTHY", "ERROR", "STOPPED", "STARTING"]

DAEMON_SILENT_AFTER = timedelta(seconds=120)
"""Its heartbeat is written every 30 s; Dagster itself calls it dead only after half an hour."""
WATCHDOG_SILENT_AFTER = timedelta(seconds=150)
"""At least; with a slow heartbeat, after two beats that did not come and some time for looking."""
WATCHDOG_SLACK = timedelta(seconds=30)
SENSOR_SLACK = timedelta(seconds=60)
SCHEDULE_SLACK = timedelta(minutes=5)
TAKEN_UP_WITHIN = timedelta(minutes=3)
"""The daemon takes up what the code declares as soon as it has loaded it, and ticks a sensor at once."""
BEHIND_AFTER = timedelta(minutes=6)
"""The newest minute of a hot symbol may be this old; a run that takes its five minutes is no alarm yet."""
WATERMARK_BEHIND_AFTER = timedelta(hours=2)
"""Behind the newest minute; an hour of the hot band that is tried again for longer is a hole."""
COLLECTOR_SILENT_AFTER = timedelta(minutes=3)
HEARD_WITHIN = timedelta(minutes=10)
"""So far back live rows are looked at."""
STARTING_FOR = timedelta(minutes=3)
WAS_STOPPED = "the platform was stopped"
"""The last words of a platform that was ended on purpose."""


@dataclass(frozen=True)
class Health:
    """The verdict: `problems` say what is wrong and what to do, in words."""

    status: Status
    problems: tuple[str, ...]
    at: datetime

    @property
    def well(self) -> bool:
        """Whether nothing needs a person."""
        return self.status in {"HEALTHY", "STARTING"}


def judge(facts: Facts, now: datetime) -> Health:
    """What the facts mean at an instant."""
    if facts.stopping:
        return Health("STOPPED", (WAS_STOPPED,), now)
    unseen = [f"the watchdog could not read {part}: {why}" for part, why in facts.unseen.items()]
    problems = [*unseen, *_dagster(facts, now), *_data(facts, now)]
    if not problems:
        return Health("HEALTHY", (), now)
    status: Status = "ERROR"
    if facts.daemon_beat is None and DAGSTER not in facts.unseen:
        status = "STOPPED"
    if not unseen and facts.started is not None and now - facts.started < STARTING_FOR:
        status = "STARTING"
    return Health(status, tuple(problems), now)


def _dagster(facts: Facts, now: datetime) -> list[str]:
    problems = []
    if facts.daemon_beat is None:
        if DAGSTER not in facts.unseen:
            problems.append("the daemon never ran here: start it with `make up`")
    elif now - facts.daemon_beat > DAEMON_SILENT_AFTER:
        silent = now - facts.daemon_beat
        problems.append(f"the daemon has been silent for {span(silent)}: start it again (`make up`), read daemon.log")
    patience = max(WATCHDOG_SILENT_AFTER, 2 * facts.beat_every + WATCHDOG_SLACK)
    if facts.watchdog_beat is not None and now - facts.watchdog_beat > patience:
        silent = now - facts.watchdog_beat
        problems.append(f"the watchdog has been silent for {span(silent)}: `make up` is not running, or hangs")
    if facts.automation and facts.daemon_beat is not None:
        for sensor in facts.sensors:
            problems += _sensor(sensor, facts.started, now)
        for schedule in facts.schedules:
            problems += _schedule(schedule, facts.started, now)
    return problems


def _sensor(sensor: SensorFacts, started: datetime | None, now: datetime) -> list[str]:
    name = f"sensor {sensor.name}"
    if not sensor.running:
        return [_switched_off(name)]
    problems = [f"the last tick of {name} failed: {sensor.error}"] if sensor.error else []
    patience = 3 * timedelta(seconds=sensor.interval_s) + SENSOR_SLACK
    if sensor.last_tick is not None:
        if now - sensor.last_tick > patience:
            problems.append(f"{name} has not ticked for {span(now - sensor.last_tick)}")
    elif _waited(sensor.since, started, now) > TAKEN_UP_WITHIN:
        problems.append(f"{name} has never ticked: read daemon.log")
    return problems


def _schedule(schedule: ScheduleFacts, started: datetime | None, now: datetime) -> list[str]:
    name = f"schedule {schedule.name}"
    if not schedule.running:
        return [_switched_off(name)]
    problems = [f"the last tick of {name} failed: {schedule.error}"] if schedule.error else []
    if schedule.since is None and schedule.last_tick is None:
        if _waited(None, started, now) > TAKEN_UP_WITHIN:
            problems.append(f"{name} was never taken up by the daemon: read daemon.log")
        return problems
    missed = schedule.last_tick is None or schedule.last_tick < schedule.due
    was_on = schedule.since is None or schedule.since <= schedule.due
    # The daemon makes up for what was due while the platform was down.
    if missed and was_on and _waited(schedule.due, started, now) > SCHEDULE_SLACK:
        problems.append(f"{name} has not ticked: it was due at {stamp(schedule.due)}")
    return problems


def _waited(since: datetime | None, started: datetime | None, now: datetime) -> timedelta:
    """How long something has been expected; for ever when neither instant is known."""
    return min((now - at for at in (since, started) if at is not None), default=timedelta.max)


def _switched_off(name: str) -> str:
    return f"{name} is switched off: switch it on in Dagster's UI, page Automation"


def _data(facts: Facts, now: datetime) -> list[str]:
    problems = []
    if facts.automation:
        problems += _table(TableFacts("hour", MINUTE, facts.minutes, facts.holes), "", now)
        for name, table in facts.tables.items():
            problems += _table(table, f" in {name}", now)
    if facts.hot_run.error:
        problems.append(f"the last run of the hot band failed: {facts.hot_run.error}")
    problems += _builder(facts, now)
    if facts.macro is not None and facts.macro.run.error:
        problems.append(f"the last run of macro minutes failed: {facts.macro.run.error}")
    problems += _collector(facts.collector, now)
    problems += [f"late: {text}" for text in facts.late_archives]
    return problems


def _builder(facts: Facts, now: datetime) -> list[str]:
    """A line where the resident builder of the hot band is silent; what it failed at is said by what is missing."""
    builder = facts.builder
    if not facts.automation or builder.beat is None:
        return []
    silent = silent_for(builder.beat, now, builder.patience)
    if silent is None:
        return []
    said = silence_text(silent) if silent < timedelta() else f"the resident builder has been silent for {span(silent)}"
    return [f"{said}, runs stand in: read builder.log, `make up` again"]


def _table(table: TableFacts, where: str, now: datetime) -> list[str]:
    """Lines on a table: symbols that are behind, then what is missing; `where` follows the symbol's name."""
    said = []
    row = "minute" if table.grain == MINUTE else "row"
    for symbol, until in table.newest.items():
        if until is None:
            said.append(f"{symbol}{where} has no {row} yet")
        elif now - until > BEHIND_AFTER + max(table.grain - MINUTE, timedelta()):
            said.append(f"{symbol}{where} is {span(now - until)} behind: its newest {row} ended at {stamp(until)}")
    said += [
        f"{symbol}{where}: {text}"
        for symbol, held in table.holes.items()
        if (text := _holes(held, table.newest.get(symbol), table.span, row))
    ]
    return said


def _holes(held: HoleFacts, newest_end: datetime | None, hour: str, row: str) -> str:
    """What is missing of a symbol, in one line; nothing where nothing is, or declared holes explain it."""
    said = []
    if held.missing:
        said.append(f"missing {hour}s: {held.missing}, the oldest {stamp(held.oldest_missing)}")
    if held.quarantined:
        said.append(f"{hour}s in quarantine: {held.quarantined}, the oldest {stamp(held.oldest_quarantined)}")
    if held.contradicted:
        oldest = stamp(held.oldest_contradicted)
        said.append(
            f"{hour}s that are contradicted: {held.contradicted}, the oldest {oldest}; `lake holes` says by what"
        )
    mark = held.watermark
    behind = mark is not None and newest_end is not None and newest_end - mark > WATERMARK_BEHIND_AFTER
    if behind and not held.watermark_explained:
        said.append(f"the watermark stands at {stamp(mark)} although {row}s up to {stamp(newest_end)} are committed")
    return "; ".join(said)


def _collector(collector: CollectorFacts, now: datetime) -> list[str]:
    """A line when nothing at all is heard, else a line per symbol and route that is silent."""
    if not collector.wanted:
        return []
    seen = collector.last_seen
    if seen is None or now - seen > COLLECTOR_SILENT_AFTER:
        return ["the collector is silent: read collector.log; `make up` (or `lake collect`) starts it"]
    spot = collector.spot
    silent = spot is not None and _spot_silent(spot, now)
    return ["the collector hears nothing of spot"] * silent + [
        f"the collector hears nothing of {symbol} on the {route} socket"
        + (f", last at {stamp(at)}" if at is not None else f" for {span(HEARD_WITHIN)} or longer")
        for symbol, routes in collector.heard.items()
        for route, at in routes.items()
        if at is None or now - at > COLLECTOR_SILENT_AFTER
    ]


def collector_status(facts: Facts, now: datetime) -> str:
    """`running`, `stopped` or `error`."""
    if not facts.collector.wanted or facts.stopping:
        return "stopped"
    return "error" if _collector(facts.collector, now) else "running"


def market_statuses(facts: Facts, now: datetime) -> dict[str, str]:
    """`running`, `stopped` or `error`: what is heard of each market that is collected."""
    collector, spot = facts.collector, facts.collector.spot
    stopped = not collector.wanted or facts.stopping
    silent = any(
        at is None or now - at > COLLECTOR_SILENT_AFTER for routes in collector.heard.values() for at in routes.values()
    )
    found = {"um": "error" if silent or not collector.heard else "running"}
    if spot is not None:
        found["spot"] = "error" if _spot_silent(spot, now) else "running"
    return dict.fromkeys(found, "stopped") if stopped else found


def transformer_status(facts: Facts, now: datetime) -> str:
    """What the hot band does: `running`, `idle`, `stopped` or `error`."""
    return _run_status(facts, facts.hot_run, now)


def transforming(facts: Facts) -> RunFacts:
    """Start and end of what kept the hot band last: a turn of the resident builder, or a run of Dagster's."""
    run, turn = facts.hot_run, facts.builder.turn
    if turn is None or (run.end is not None and run.end > turn[1]):
        return run
    return RunFacts(turn[0], turn[1], run.error)


def macro_status(facts: Facts, now: datetime) -> str:
    """What the fetcher of macro minutes does: `running`, `idle`, `stopped` or `error`."""
    return "stopped" if facts.macro is None else _run_status(facts, facts.macro.run, now)


def _run_status(facts: Facts, run: RunFacts, now: datetime) -> str:
    if facts.stopping or facts.daemon_beat is None or now - facts.daemon_beat > DAEMON_SILENT_AFTER:
        return "stopped"
    if run.error:
        return "error"
    return "running" if run.start is not None and run.end is None else "idle"


def _spot_silent(spot: SpotFacts, now: datetime) -> bool:
    return spot.last_seen is None or now - spot.last_seen > COLLECTOR_SILENT_AFTER


def stamp(instant: datetime | None) -> str | None:
    """An instant as the heartbeat writes it."""
    return None if instant is None else f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def span(length: timedelta) -> str:
    """A span in words, to two figures or so."""
    seconds = int(length.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
