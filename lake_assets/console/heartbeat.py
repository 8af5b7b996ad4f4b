"""The watchdog: a small process that looks at the platform from outside every minute and writes what it sees.

Belongs here: finding the facts (Dagster's storage, the ledger, live rows), writing the heartbeat, telling the webhook.
Does not belong here: the verdict (`automation.health`). It asks neither the daemon nor the webserver nor a sensor, so
that it notices when one of them is dead.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

import dagster as dg
import polars as pl
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData, TickStatus

from lake_assets.automation.health import CollectorFacts, Facts, Health, RunFacts, SensorFacts, heartbeat, judge, page
from lake_assets.automation.promotion import ALARM_AFTER, DAILY
from lake_assets.ingest.live_rows import LiveRows
from lake_assets.metadata import AUTOMATION_TAG
from lake_resources.alerts import Alert, send
from lake_resources.clock import system_clock
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import Catalog
from lake_resources.storage.disk import replace_text
from lake_resources.storage.ledger import Ledger

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def heartbeat_path(settings: LakeSettings) -> Path:
    """The heartbeat as JSON."""
    return settings.lake_root / "logs" / "health" / "heartbeat.json"


def report_path(settings: LakeSettings) -> Path:
    """The same as a page."""
    return settings.lake_root / "reports" / "health.md"


def find_facts(
    settings: LakeSettings,
    instance: dg.DagsterInstance,
    ledger: Ledger,
    now: datetime,
    *,
    started: datetime | None = None,
    stopping: bool = False,
) -> Facts:
    """Look at everything once.

    Args:
        settings: of the lake.
        instance: Dagster's storage.
        ledger: of the lake.
        now: the moment of looking, UTC.
        started: when the platform was started, if that is known.
        stopping: it is being stopped.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = {symbol: ledger.partitions(symbol, today, now + timedelta(hours=1)) for symbol in settings.symbols}
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    return Facts(
        started=started,
        stopping=stopping,
        automation=settings.automation,
        daemon_beat=_utc(max(beats), now) if beats else None,
        sensors=[
            sensor for state in instance.all_instigator_state() if (sensor := _sensor(instance, state, now)) is not None
        ],
        hot_run=_hot_run(instance, now),
        collector=_collector(settings, now),
        minutes={symbol: _newest_minute(ledger, symbol, now) for symbol in settings.symbols},
        raw_count_today=ledger.captures_since(today),
        minute_rows_today=sum(row.row_count for found in rows.values() for row in found),
        late_archives=_late(settings, ledger, now),
    )


def look(settings: LakeSettings, now: datetime) -> tuple[Facts, Health]:
    """Facts and verdict, for a command that looks once; the instance is that of the environment."""
    ledger = Ledger(settings.resolved_ledger_url)
    try:
        with dg.DagsterInstance.get() as instance:
            beat, stopped = _last_words(settings)
            facts = replace(find_facts(settings, instance, ledger, now, stopping=stopped), watchdog_beat=beat)
    finally:
        ledger.close()
    return facts, judge(facts, now)


def write(settings: LakeSettings, facts: Facts, health: Health) -> None:
    """Write the heartbeat; a reader sees the old one or the new one."""
    beat = heartbeat(facts, health)
    replace_text(heartbeat_path(settings), json.dumps(beat, indent=2) + "\n")
    replace_text(report_path(settings), page(beat))


def run(settings: LakeSettings, *, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Look, write and wait, until told to stop; then write a last heartbeat.

    The webhook is told when the platform falls ill, when its problems become others, and when it is well again.
    """
    started = system_clock()
    ledger = Ledger(settings.resolved_ledger_url)
    told: tuple[str, ...] = ()
    with dg.DagsterInstance.get() as instance:
        for run_id in give_up_dead_runs(instance, started):
            say(f"run {run_id} died with an earlier process of the platform and is given up")
        while not stop.is_set():
            now = system_clock()
            facts = find_facts(settings, instance, ledger, now, started=started)
            health = judge(facts, now)
            write(settings, facts, health)
            told = _tell(settings, health, told, say)
            stop.wait(settings.heartbeat_s)
        now = system_clock()
        facts = find_facts(settings, instance, ledger, now, started=started, stopping=True)
        write(settings, facts, judge(facts, now))
    ledger.close()


def give_up_dead_runs(instance: dg.DagsterInstance, started: datetime) -> list[str]:
    """Cancel runs of the sensors that were at work before the platform was started: their processes are gone.

    Without it the sensors would wait for them. Should such a process live on, the lake's locks keep its commits sound.

    Returns:
        Their ids.
    """
    at_work = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    dead = [
        run
        for kind in ("hot", "heal", "promote")
        for run in instance.get_runs(
            dg.RunsFilter(tags={AUTOMATION_TAG: kind}, statuses=at_work, created_before=started)
        )
    ]
    for run in dead:
        instance.report_run_canceled(run, message="Its process ended with an earlier start of the platform.")
    return [run.run_id for run in dead]


def _last_words(settings: LakeSettings) -> tuple[datetime | None, bool]:
    """When the watchdog wrote last, and whether it said goodbye."""
    try:
        beat = json.loads(heartbeat_path(settings).read_text())
        return datetime.fromisoformat(beat["ts_utc"]), "the platform was stopped" in beat["problems"]
    except (FileNotFoundError, ValueError, KeyError):
        return None, False


def _tell(settings: LakeSettings, health: Health, told: tuple[str, ...], say: Callable[[str], None]) -> tuple[str, ...]:
    """Tell the webhook what changed; returns what it knows now."""
    if health.status == "STARTING":
        return told
    kinds = tuple(sorted(_kind(problem) for problem in health.problems))
    if kinds == told:
        return told
    if kinds:
        alert = Alert("unhealthy", f"{len(health.problems)} problems", "\n".join(health.problems), health.at)
    else:
        alert = Alert("healthy_again", "well again", "Nothing needs a person.", health.at)
    say(f"{alert.subject}: {alert.detail}")
    trouble = send(settings.webhook_url, alert)
    if trouble:
        say(trouble)
    return kinds


def _kind(problem: str) -> str:
    """A problem without the figures that change every minute."""
    return "".join(letter for letter in problem if not letter.isdigit())[:60]


def _sensor(instance: dg.DagsterInstance, state: InstigatorState, now: datetime) -> SensorFacts | None:
    data = state.instigator_data
    if not isinstance(data, SensorInstigatorData):
        return None
    last = max(data.last_tick_timestamp or 0.0, data.last_tick_start_timestamp or 0.0)
    error = None
    if data.last_tick_timestamp and not data.last_tick_success_timestamp:
        ticks = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=1, statuses=[TickStatus.FAILURE]
        )
        error = ticks[0].error.message.strip()[:300] if ticks and ticks[0].error else "see its tick in Dagster's UI"
    return SensorFacts(
        state.instigator_name, state.is_running, data.min_interval or 30.0, _utc(last, now) if last else None, error
    )


def _hot_run(instance: dg.DagsterInstance, now: datetime) -> RunFacts:
    records = instance.get_run_records(dg.RunsFilter(tags={AUTOMATION_TAG: "hot"}), limit=1)
    if not records:
        return RunFacts()
    record = records[0]
    ended = record.dagster_run.status in _ENDED
    failed = record.dagster_run.status == dg.DagsterRunStatus.FAILURE
    return RunFacts(
        start=_utc(record.start_time, now) if record.start_time else None,
        end=_utc(record.end_time, now) if ended and record.end_time else None,
        error=f"run {record.dagster_run.run_id[:8]}, see its page in Dagster's UI" if failed else None,
    )


def _collector(settings: LakeSettings, now: datetime) -> CollectorFacts:
    """What the newest live rows tell: event to arrival, over the last ten minutes of all symbols."""
    catalog = Catalog(settings.lake_root)
    if not catalog.live_records_dir.is_dir():
        return CollectorFacts()
    rows = LiveRows(catalog)
    frames = [rows.read(symbol, now - timedelta(minutes=10), now) for symbol in settings.symbols]
    frame = pl.concat(frames) if frames else pl.DataFrame()
    if frame.is_empty():
        return CollectorFacts(wanted=True)
    delays = frame["latency_network"].drop_nulls()
    newest = frame["timestamp"].max()
    return CollectorFacts(
        wanted=True,
        latency_p50_ms=delays.quantile(0.5, "nearest"),
        latency_p95_ms=delays.quantile(0.95, "nearest"),
        last_seen=newest + timedelta(minutes=1) if isinstance(newest, datetime) else None,
    )


def _newest_minute(ledger: Ledger, symbol: str, now: datetime) -> datetime | None:
    """End of the newest committed minute of the last two days."""
    found = [row.max_ts for row in ledger.partitions(symbol, now - timedelta(days=2), now) if row.max_ts is not None]
    return max(found) + timedelta(minutes=1) if found else None


def _late(settings: LakeSettings, ledger: Ledger, now: datetime) -> list[str]:
    """Archives of the last month that are an alarm, one text per file."""
    days = {f"{now - timedelta(days=back):%Y-%m-%d}": (now - timedelta(days=back)).date() for back in range(31)}
    return [
        f"{row.stream} of {row.symbol} for {row.period} is not published"
        for symbol in settings.symbols
        for row in ledger.missing_sources(symbol)
        if row.source == "archive"
        and row.stream in DAILY
        and row.period in days
        and now >= DAILY[row.stream].archive_due_at(days[row.period]) + ALARM_AFTER
    ]


def _utc(epoch_s: float, now: datetime) -> datetime:
    return datetime.fromtimestamp(epoch_s, tz=now.tzinfo)


def main() -> None:
    """The process that `lake up` starts."""
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)

    def say(text: str) -> None:
        sys.stdout.write(f"{system_clock():%Y-%m-%d %H:%M:%S} {text}\n")
        sys.stdout.flush()

    say(f"watching, process {os.getpid()}")
    run(LakeSettings(), stop=stop, say=say)


if __name__ == "__main__":
    main()
