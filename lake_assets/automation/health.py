"""Whether the platform is well: a verdict on facts that are given, as JSON and as a page.

Belongs here: what counts as a problem, the form of the heartbeat. Does not belong here: finding the facts
(`console.heartbeat`), telling people (`lake_resources.alerts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Status = Literal["HEALTHY", "ERROR", "STOPPED", "STARTING"]

DAEMON_SILENT_AFTER = timedelta(seconds=120)
"""Its heartbeat is written every 30 s; Dagster itself calls it dead only after half an hour."""
WATCHDOG_SILENT_AFTER = timedelta(seconds=150)
SENSOR_SLACK = timedelta(seconds=60)
BEHIND_AFTER = timedelta(minutes=6)
"""The newest minute of a hot symbol may be this old; a run that takes its five minutes is no alarm yet."""
COLLECTOR_SILENT_AFTER = timedelta(minutes=3)
STARTING_FOR = timedelta(minutes=3)


@dataclass(frozen=True)
class SensorFacts:
    """A sensor as Dagster's storage knows it.

    Attributes:
        running: it is switched on.
        interval_s: seconds between two ticks.
        last_tick: start of the newest tick, UTC, or None.
        error: of the newest tick, if that failed.
    """

    name: str
    running: bool
    interval_s: float
    last_tick: datetime | None
    error: str | None = None


@dataclass(frozen=True)
class RunFacts:
    """The newest run of the hot band; all None when there was none."""

    start: datetime | None = None
    end: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class CollectorFacts:
    """The live collector; `wanted` where the platform starts one, or one was ever started in this lake."""

    wanted: bool = False
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    last_seen: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """Everything the verdict is made of.

    Attributes:
        started: when the platform was started, or None when that is not known.
        stopping: the platform is being stopped.
        automation: sensors are meant to run.
        daemon_beat: newest sign of life of the daemon.
        sensors: all sensors of the code location that were ever ticked.
        minutes: end of the newest minute, by hot symbol.
        late_archives: archives that are an alarm.
        watchdog_beat: when the watchdog wrote last, for one who looks in its place.
    """

    started: datetime | None
    stopping: bool
    automation: bool
    daemon_beat: datetime | None
    sensors: Sequence[SensorFacts]
    hot_run: RunFacts
    collector: CollectorFacts
    minutes: Mapping[str, datetime | None]
    raw_count_today: int = 0
    minute_rows_today: int = 0
    late_archives: Sequence[str] = field(default_factory=tuple)
    watchdog_beat: datetime | None = None


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
        return Health("STOPPED", ("the platform was stopped",), now)
    problems = [*_dagster(facts, now), *_data(facts, now)]
    if not problems:
        return Health("HEALTHY", (), now)
    if facts.daemon_beat is None:
        status: Status = "STOPPED"
    else:
        status = "ERROR"
    if facts.started is not None and now - facts.started < STARTING_FOR:
        status = "STARTING"
    return Health(status, tuple(problems), now)


def _dagster(facts: Facts, now: datetime) -> list[str]:
    problems = []
    if facts.daemon_beat is None:
        problems.append("the daemon never ran here: start it with `make up`")
    elif now - facts.daemon_beat > DAEMON_SILENT_AFTER:
        silent = now - facts.daemon_beat
        problems.append(f"the daemon has been silent for {_span(silent)}: start it again (`make up`), read daemon.log")
    if facts.watchdog_beat is not None and now - facts.watchdog_beat > WATCHDOG_SILENT_AFTER:
        silent = now - facts.watchdog_beat
        problems.append(f"the watchdog has been silent for {_span(silent)}: `make up` is not running, or hangs")
    if not facts.automation:
        return problems
    for sensor in facts.sensors:
        if not sensor.running:
            problems.append(f"sensor {sensor.name} is switched off: switch it on in Dagster's UI, page Automation")
            continue
        if sensor.error:
            problems.append(f"the last tick of sensor {sensor.name} failed: {sensor.error}")
        patience = 3 * timedelta(seconds=sensor.interval_s) + SENSOR_SLACK
        if sensor.last_tick is not None and now - sensor.last_tick > patience:
            problems.append(f"sensor {sensor.name} has not ticked for {_span(now - sensor.last_tick)}")
    return problems


def _data(facts: Facts, now: datetime) -> list[str]:
    problems = []
    if facts.automation:
        for symbol, until in facts.minutes.items():
            if until is None:
                problems.append(f"{symbol} has no minute yet")
            elif now - until > BEHIND_AFTER:
                problems.append(f"{symbol} is {_span(now - until)} behind: its newest minute ended at {_time(until)}")
    if facts.hot_run.error:
        problems.append(f"the last run of the hot band failed: {facts.hot_run.error}")
    if facts.collector.wanted and _collector_status(facts, now) == "error":
        problems.append("the collector is silent: read collector.log; `make up` (or `lake collect`) starts it")
    problems += [f"late: {text}" for text in facts.late_archives]
    return problems


def heartbeat(facts: Facts, health: Health) -> dict[str, Any]:
    """The heartbeat as JSON values; times are UTC, absent values null.

    `macro_minute` is a place kept for the macro fetcher: it has no product here yet, and so is always idle.
    """
    now = health.at
    return {
        "ts_utc": _time(now),
        "status": health.status,
        "problems": list(health.problems),
        "collector": {
            "status": _collector_status(facts, now),
            "last_latency_p50_ms": facts.collector.latency_p50_ms,
            "last_latency_p95_ms": facts.collector.latency_p95_ms,
            "last_seen_ts": _time(facts.collector.last_seen),
        },
        "macro_minute": {
            "status": "idle",
            "last_run_start": None,
            "last_run_end": None,
            "last_run_rows_written": None,
            "last_error": None,
        },
        "transformer": {
            "status": _transformer_status(facts, now),
            "last_run_start": _time(facts.hot_run.start),
            "last_run_end": _time(facts.hot_run.end),
            "last_error": facts.hot_run.error,
        },
        "files": {
            "raw_count_today": facts.raw_count_today,
            "parquet_1s_rows_today": None,
            "minute_rows_today": facts.minute_rows_today,
            "macro_min_rows_today": None,
        },
        "daemon": {"last_seen_ts": _time(facts.daemon_beat)},
        "sensors": {
            sensor.name: {
                "status": "running" if sensor.running else "stopped",
                "last_tick_ts": _time(sensor.last_tick),
                "last_error": sensor.error,
            }
            for sensor in facts.sensors
        },
        "symbols": {symbol: {"newest_minute_end_ts": _time(until)} for symbol, until in facts.minutes.items()},
    }


def page(beat: Mapping[str, Any]) -> str:
    """The heartbeat as a Markdown page."""
    collector, transformer, files = beat["collector"], beat["transformer"], beat["files"]
    problems = "\n".join(f"- {text}" for text in beat["problems"]) or "none"
    symbols = [f"| {name} | {row['newest_minute_end_ts'] or 'never'} |" for name, row in beat["symbols"].items()]
    sensors = [
        f"| {name} | {row['status']} | {row['last_tick_ts'] or 'never'} | {row['last_error'] or ''} |"
        for name, row in beat["sensors"].items()
    ]
    lines = [
        f"# Health: {beat['status']}",
        "",
        f"As of {beat['ts_utc']}. Problems:",
        "",
        problems,
        "",
        "## Minute table",
        "",
        "| symbol | newest minute ended at |",
        "| --- | --- |",
        *symbols,
        "",
        f"Hot band: {transformer['status']}, last error: {transformer['last_error'] or 'none'}.",
        f"Its last run: {transformer['last_run_start'] or 'never'} to {transformer['last_run_end'] or '…'}.",
        "",
        "## Dagster",
        "",
        f"Daemon last seen at {beat['daemon']['last_seen_ts'] or 'never'}.",
        "",
        "| sensor | status | last tick | last error |",
        "| --- | --- | --- | --- |",
        *sensors,
        "",
        "## Collector",
        "",
        f"{collector['status']}, last seen {collector['last_seen_ts'] or 'never'}.",
        f"Latency p50 {_number(collector['last_latency_p50_ms'])} ms.",
        f"Latency p95 {_number(collector['last_latency_p95_ms'])} ms.",
        "",
        "## Today",
        "",
        f"{files['minute_rows_today']} minute rows, {files['raw_count_today']} raw files.",
    ]
    return "\n".join(lines) + "\n"


def _collector_status(facts: Facts, now: datetime) -> str:
    if not facts.collector.wanted or facts.stopping:
        return "stopped"
    seen = facts.collector.last_seen
    return "running" if seen is not None and now - seen <= COLLECTOR_SILENT_AFTER else "error"


def _transformer_status(facts: Facts, now: datetime) -> str:
    if facts.stopping or facts.daemon_beat is None or now - facts.daemon_beat > DAEMON_SILENT_AFTER:
        return "stopped"
    if facts.hot_run.error:
        return "error"
    return "running" if facts.hot_run.start is not None and facts.hot_run.end is None else "idle"


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
