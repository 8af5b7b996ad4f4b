"""Looking at the platform once, from outside: what Dagster's storage, the ledger and the live rows say.

Belongs here: finding the facts. Does not belong here: the verdict (`automation.health`). It asks neither the daemon nor
the webserver nor a sensor, so that it sees when one of them is dead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from lake_assets.at_rest import store_of
from lake_assets.automation.health import HEARD_WITHIN, Health, judge
from lake_assets.automation.platform import (
    DAGSTER,
    LEDGER,
    LIVE,
    BuilderFacts,
    CollectorFacts,
    Facts,
    SpotFacts,
)
from lake_assets.dagster_names import AUTOMATION_TAG
from lake_assets.live.row_files import LiveRows
from lake_assets.live.spot_latency import latest_latency
from lake_assets.resident.builder_beat import last_beat
from lake_assets.transforms.live.live_rows import FRAME_KINDS, LIVE_ROWS
from lake_assets.watchdog.day_so_far import macro_rows, macro_run, newest_run, second_rows
from lake_assets.watchdog.instigators import find_schedules, find_sensors
from lake_assets.watchdog.last_words import last_words
from lake_assets.watchdog.table_holes import table_facts
from lake_resources.binance.market import UM
from lake_resources.binance.um_streams import UM_STREAMS
from lake_resources.dagster_history import DagsterHistory, open_history
from lake_resources.errors import LakeError
from lake_resources.layout import FIRST_TABLE
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.ledger import Ledger

LOOK_ERRORS = (
    LakeError,
    OSError,
    sqlite3.Error,
    sa.exc.SQLAlchemyError,
    pl.exceptions.PolarsError,
)
"""What a damaged, locked or half-written store raises; the next look may find it well again."""

_SOCKETS = [stream.socket for stream in UM_STREAMS.values() if stream.socket is not None]
_ROUTE_FRAMES = {
    route: tuple(
        column
        for column, kind in FRAME_KINDS.items()
        if any(socket.kind == kind and socket.route == route for socket in _SOCKETS)
    )
    for route in UM.ws_routes
}
"""Columns of live rows that count frames, by the socket over which these come."""


def find_facts(
    settings: LakeSettings,
    history: DagsterHistory,
    ledger: Ledger,
    now: datetime,
    *,
    started: datetime | None = None,
    stopping: bool = False,
) -> Facts:
    """Look at everything once; what cannot be read is in the result's `unseen`, nothing of `LOOK_ERRORS` is raised.

    Symbols whose trading has ended are not looked at.

    Args:
        settings: of the lake.
        history: what Dagster's storage says.
        ledger: of the lake.
        now: the moment of looking, UTC.
        started: when the platform was started, if that is known.
        stopping: it is being stopped.
    """
    facts = Facts(
        started=started,
        stopping=stopping,
        automation=settings.automation,
        testing=settings.testing.enabled,
        builder=_builder(settings),
        beat_every=timedelta(seconds=settings.heartbeat_s),
    )
    with suppress(*LOOK_ERRORS):  # what is wrong with the ledger is told by its own look
        settings = settings.model_copy(update={"symbols": ledger.traded_after(settings.symbols, now)})
    looks: dict[str, Callable[[Facts], Facts]] = {
        DAGSTER: lambda found: _see_dagster(found, settings, history, now),
        LEDGER: lambda found: _see_ledger(found, settings, ledger, now),
        LIVE: lambda found: replace(found, collector=_collector(settings, now)),
    }
    for part, see in looks.items():
        try:
            facts = see(facts)
        except LOOK_ERRORS as error:
            facts = replace(facts, unseen={**facts.unseen, part: " ".join(str(error).split())[:300]})
    return facts


def look(settings: LakeSettings, home: Path, now: datetime) -> tuple[Facts, Health]:
    """Facts and verdict, for a command that looks once; `home` is the directory of the Dagster instance."""
    ledger = store_of(settings).ledger
    try:
        with open_history(home) as history:
            beat, stopped = last_words(settings)
            facts = replace(find_facts(settings, history, ledger, now, stopping=stopped), watchdog_beat=beat)
    finally:
        ledger.close()
    return facts, judge(facts, now)


def _see_dagster(facts: Facts, settings: LakeSettings, history: DagsterHistory, now: datetime) -> Facts:
    states = history.instigators()
    return replace(
        facts,
        daemon_beat=history.daemon_beat(),
        sensors=find_sensors(settings, history, states),
        schedules=find_schedules(settings, history, states, now),
        hot_run=newest_run(history.newest_run(tag=(AUTOMATION_TAG, "hot"))),
        macro=macro_run(settings, history),
    )


def _builder(settings: LakeSettings) -> BuilderFacts:
    """The resident builder's last sign of life, which is no news where none is wanted."""
    beat = last_beat(settings) if settings.hot_builder else None
    if beat is None:
        return BuilderFacts()
    patience = timedelta(seconds=settings.hot_builder_silent_s)
    return BuilderFacts(beat.at, patience, beat.turn, beat.failed)


def _see_ledger(facts: Facts, settings: LakeSettings, ledger: Ledger, now: datetime) -> Facts:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = {symbol: ledger.partitions(symbol, today, now + timedelta(hours=1)) for symbol in settings.symbols}
    tables, late = table_facts(settings, now)
    first = tables.pop(FIRST_TABLE, None)
    return replace(
        facts,
        minutes=first.newest if first is not None else {},
        raw_count_today=ledger.captures_since(today),
        minute_rows_today=sum(row.row_count for found in rows.values() for row in found),
        holes=first.holes if first is not None else {},
        tables=tables,
        late_archives=late,
        second_rows_today=second_rows(settings, today, now),
        macro=macro_rows(settings, facts.macro, today, now),
    )


def _collector(settings: LakeSettings, now: datetime) -> CollectorFacts:
    """The collector's last frame of each symbol and socket, and how long frames of all symbols took to arrive, ms."""
    catalog = store_of(settings).catalog
    if not settings.collector and not catalog.live_records_dir.is_dir():
        return CollectorFacts()
    rows = LiveRows(catalog)
    frames = {symbol: rows.read(symbol, now - HEARD_WITHIN, now) for symbol in settings.symbols}
    delays = pl.concat([pl.DataFrame(schema=LIVE_ROWS), *frames.values()])["latency_network"].drop_nulls()
    return CollectorFacts(
        wanted=True,
        latency_p50_ms=delays.quantile(0.5, "nearest"),
        latency_p95_ms=delays.quantile(0.95, "nearest"),
        latency_max_ms=delays.quantile(1.0, "nearest"),
        spot=_spot(settings, now) if settings.spot_symbols else None,
        heard={
            symbol: {route: _last_frame(frame, counts) for route, counts in _ROUTE_FRAMES.items()}
            for symbol, frame in frames.items()
        },
    )


def _spot(settings: LakeSettings, now: datetime) -> SpotFacts:
    """The newest minute of which the collector of spot told how long its frames took."""
    found = latest_latency(settings.lake_root, now - HEARD_WITHIN, now)
    if found is None:
        return SpotFacts()
    ended, told = found
    return SpotFacts(ended, told["p50"], told["p95"], told["max"])


def _last_frame(rows: pl.DataFrame, counts: tuple[str, ...]) -> datetime | None:
    """End of the newest minute in which any of these streams had a frame."""
    newest = rows.filter(pl.sum_horizontal(counts) > 0)["timestamp"].max()
    return newest + timedelta(minutes=1) if isinstance(newest, datetime) else None
