"""The soak on the whole platform: simulator, collector, webserver and daemon, with one outage in it.

Belongs here: `python -m lake_tests.bench.soak --platform`: running the stack with a dropped socket every three
minutes, SIGKILL of collector, daemon and a run at work, the restart, waiting for the hour of the kill to be sealed, and
judging its hours. Does not belong here: judging trades and minutes of the collector (`soak`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from lake_assets.audit.scan import audit_partitions
from lake_assets.dagster_names import hour_of
from lake_assets.lake import Lake, open_lake
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.local_stack.stack import local_stack
from lake_assets.local_stack.supervision import Stack
from lake_assets.metadata import minute_key
from lake_assets.validation.outcome import CHECKS, outcomes_from_json
from lake_resources.binance.market import UM
from lake_resources.clock import HOUR, MINUTE
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.reader import scan
from lake_tests.support.outage import hours_on_disk, instance_of, strike
from lake_tests.support.waiting import free_port

Say = Callable[[str], None]
_SEALED_WITHIN = 6 * MINUTE
"""After the end of an hour: the safety lag, and time to spare."""


def platform_settings(root: Path, symbols: tuple[str, ...]) -> LakeSettings:
    """A lake of its own on free ports."""
    return LakeSettings(
        root=root,
        exchange="simulator",
        symbols=symbols,
        hot_builder=False,  # it is a run at work that is killed
        start=(datetime.now(UTC) - 24 * HOUR).date(),
        simulator_port=free_port(),
        webserver_port=free_port(),
    )


def run_platform(
    settings: LakeSettings, minutes: float, kill_after: float, drop_every_s: float, say: Say
) -> tuple[datetime, datetime, int]:
    """Run the platform for some minutes and until the hour of the kill is sealed.

    Returns:
        When the first stack was up, when the last was stopped, and how many findings there were.
    """
    wrong = 0
    lake = open_lake(settings)
    with local_stack(settings, say=say) as stack, instance_of(settings) as instance:
        _drop_sockets(settings, drop_every_s)
        started = datetime.now(UTC)
        _stay(stack, started + kill_after * MINUTE, say)
        killed = strike(stack, instance, timeout_s=300)
        say(f"killed collector, daemon and run {killed.run_id[:8]} at work")
        try:
            stack.check()
        except LakeError as error:
            say(f"the stack noticed: {str(error).splitlines()[0]}")
        else:
            wrong += 1
            say("the stack did not notice")
    before = {symbol: hours_on_disk(lake, symbol, killed.at - 48 * HOUR, killed.at) for symbol in settings.symbols}
    with local_stack(settings, say=say) as stack, instance_of(settings) as instance:
        _drop_sockets(settings, drop_every_s)
        say("up again")
        hour = killed.at.replace(minute=0, second=0, microsecond=0)
        _stay(stack, max(started + minutes * MINUTE, hour + HOUR), say)
        deadline = hour + HOUR + _SEALED_WITHIN
        while datetime.now(UTC) < deadline and not _sealed(lake, settings, hour):
            _tend(stack, say)
        run = instance.get_run_by_id(killed.run_id)
        say(f"the run that was killed is {run.status.value if run else 'gone'}")
        wrong += _judge_hours(settings, lake, stack.address, hour, say)
    ended = datetime.now(UTC)
    for symbol, hours in before.items():
        after = hours_on_disk(lake, symbol, killed.at - 48 * HOUR, killed.at)
        lost = [at for at, held in hours.items() if at not in after or not held.times <= after[at].times]
        damaged = [at for at, held in after.items() if held.promised_hash != held.found_hash]
        say(f"{symbol}: {len(hours)} hours at the kill, lost {lost or 'none'}, damaged {damaged or 'none'}")
        wrong += len(lost) + len(damaged)
    intents = lake.ledger.intents()
    say(f"intents left: {len(intents)}")
    lake.close()
    return started, ended, wrong + len(intents)


def _drop_sockets(settings: LakeSettings, every_s: float) -> None:
    """Every socket dies at this age; the simulator is a new one after each start of the stack."""
    fault = {"kind": "ws_drop", "after_s": every_s}
    httpx.post(f"{settings.rest_url_of(UM)}/sim/faults", json=fault, trust_env=False).raise_for_status()


def _stay(stack: Stack, until: datetime, say: Say) -> None:
    while datetime.now(UTC) < until:
        _tend(stack, say)


def _tend(stack: Stack, say: Say) -> None:
    stack.check()
    for line in stack.tend():
        say(line)
    time.sleep(1)


def _sealed(lake: Lake, settings: LakeSettings, hour: datetime) -> bool:
    rows = [lake.ledger.partition(symbol, hour) for symbol in settings.symbols]
    return all(row is not None and row.complete for row in rows)


def _judge_hours(settings: LakeSettings, lake: Lake, address: str, hour: datetime, say: Say) -> int:
    """The hour of the kill, and the audit of everything, with Dagster's view."""
    wrong = 0
    api = DagsterApi(address)
    for symbol in settings.symbols:
        row = lake.ledger.partition(symbol, hour)
        outcomes = () if row is None else outcomes_from_json(row.checks, CHECKS)
        failed = [each.text() for each in outcomes if not each.passed]
        rows, complete = (0, False) if row is None else (row.row_count, row.complete)
        live = scan(lake.store, symbol, hour, hour + HOUR).collect()["has_depth"].sum()
        say(
            f"{symbol} {hour:%H:%M}: {rows} rows ({live} with depth), complete {complete}, {len(outcomes)} checks, "
            f"failed {failed or 'none'}, sources "
            f"{ {} if row is None else {name: ref.kind for name, ref in row.sources.items()} }"
        )
        wrong += (rows != 60) + (not complete) + len(failed) + (not outcomes)
        now = datetime.now(UTC)
        first = lake.ledger.first_partition(symbol) or hour
        shown = api.statuses(minute_key(symbol).path).partitions
        materialized = {
            at
            for found in shown
            if found.status == "MATERIALIZED"
            for at in _hours(hour_of(found.start), hour_of(found.end))
        }
        report = audit_partitions(
            lake.store, symbol, first, now, now=now, lag_minutes=settings.safety_lag_minutes,
            materialized=materialized,
        )  # fmt: skip
        say(f"{symbol}: audit of {len(report.hours)} hours from {first:%m-%d %H:%M}: {report.counts or 'clean'}")
        for verdict in report.wrong:
            say(f"  {verdict.hour:%m-%d %H:%M} {', '.join(verdict.codes)}")
        wrong += len(report.wrong)
    api.close()
    return wrong


def _hours(first: datetime, last: datetime) -> list[datetime]:
    return [first + index * HOUR for index in range((last - first) // HOUR + 1)]
