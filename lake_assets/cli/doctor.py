"""What `lake doctor` looks at: one finding per thing that can be wrong around the lake.

Belongs here: the findings. Does not belong here: printing them (`commands_doctor`), repairing anything.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Literal, TypeVar

from lake_assets.dagster_names import minute_names, repair_name
from lake_assets.inputs.misfiled_archives import misfiled_archives
from lake_assets.lake import CODE_VERSION, Lake
from lake_assets.live.row_files import LiveRows
from lake_assets.local_stack.graphql import DAGSTER, DagsterApi
from lake_assets.tables.declared import TABLES
from lake_assets.tables.offered import is_offered
from lake_resources.binance.archives.vision_client import VisionClient
from lake_resources.binance.market import MARKETS, SPOT, UM, Market
from lake_resources.binance.spot_streams import KLINES_1S
from lake_resources.binance.stream import Stream
from lake_resources.binance.um_streams import KLINES_1M as UM_KLINES_1M
from lake_resources.clock import from_epoch_ms
from lake_resources.collector.probe import acknowledged_in
from lake_resources.collector.segments import newest_minute
from lake_resources.errors import ArchiveNotPublished, Banned, GeoBlocked, LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import MarketPaths
from lake_resources.storage.locks import is_held

Status = Literal["ok", "warn", "fail"]
_Answer = TypeVar("_Answer")

_PACKAGES = ("dagster", "polars", "pyarrow", "duckdb", "sqlalchemy", "httpx")
PATIENCE_S = 5.0
"""A host that accepts and does not answer is a finding, not something to wait for."""
_LOW_DISK_BYTES, _NO_DISK_BYTES = 20_000_000_000, 1_000_000_000
_SILENT_FAILS, _ROWS_WARN, _ROWS_REACH = timedelta(minutes=3), timedelta(minutes=5), timedelta(minutes=30)
_SKEW_WARNS, _SKEW_FAILS = timedelta(seconds=1), timedelta(seconds=30)


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    status: Status
    text: str


def examine(settings: LakeSettings, lake: Lake) -> Iterator[Finding]:
    """Look at everything, one after the other; each market is asked for its time, one checksum and one stream."""
    yield _versions()
    yield _disk(lake)
    yield _schema(settings, lake)
    yield from _misfiled(lake)
    yield _rest(settings, lake, UM)
    yield _vision(settings, lake, UM_KLINES_1M)
    yield _websocket(settings, UM)
    yield _dagster(settings)
    yield _collector(settings, lake)
    if settings.spot_symbols:
        yield _rest(settings, lake, SPOT)
        yield _vision(settings, lake, KLINES_1S)
        yield _websocket(settings, SPOT)
        yield _spot_collector(lake)


def _versions() -> Finding:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return Finding("versions", "ok", f"Python {platform.python_version()}, {packages}")


def _disk(lake: Lake) -> Finding:
    free = shutil.disk_usage(lake.catalog.root).free
    status: Status = "fail" if free < _NO_DISK_BYTES else "warn" if free < _LOW_DISK_BYTES else "ok"
    return Finding("disk", status, f"{free / 1e9:,.1f} GB free at {lake.catalog.root}")


def _schema(settings: LakeSettings, lake: Lake) -> Finding:
    found = _asked("schema", lambda: _schemas(settings, lake))
    return found if isinstance(found, Finding) else Finding("schema", *found)


def _schemas(settings: LakeSettings, lake: Lake) -> tuple[Status, str]:
    version = lake.ledger.schema_version()
    older: dict[str, int] = {}
    now = lake.clock()
    tables = [table for table in TABLES.values() if is_offered(table, settings)]
    for table in tables:
        ledger = lake.of(table).ledger
        for symbol in settings.symbols_of(MARKETS[table.layout.market]):
            first = ledger.first_partition(symbol)
            rows = [] if first is None else ledger.partition_facts(symbol, first, now + timedelta(hours=1))
            if count := sum(row.schema_hash != table.schema_hash for row in rows):
                older[repair_name(table.layout, symbol)] = count
    schemas = ", ".join(f"{table.layout.title} {table.schema_hash[:12]}" for table in tables)
    found = f"ledger {version}, {schemas}, code {CODE_VERSION}"
    if not older:
        return "ok", f"{found}; every partition was committed under it"
    counts = ", ".join(f"{name} {count:,}" for name, count in older.items())
    return "warn", f"{found}; partitions of another schema: {counts}. `lake backfill-range` rebuilds them"


def _misfiled(lake: Lake) -> Iterator[Finding]:
    """Nothing where every archive is kept as one of its market."""
    found = _asked("archives", lambda: misfiled_archives(lake))
    if isinstance(found, Finding):
        yield found
    elif found:
        first = found[0]
        text = f"{len(found)} kept under another market, first {first.title}: of {first.market}, kept as {first.under}"
        yield Finding("archives", "fail", f"{text}. `lake doctor --mend` files them right")


def _called(name: str, market: Market) -> str:
    """The name of a finding; the market stands before it where it is not the first one."""
    return name if market is UM else f"{market.name} {name}"


def _rest(settings: LakeSettings, lake: Lake, market: Market) -> Finding:
    name, counted = _called("REST", market), settings.resolved_governor_path
    if counted.exists() and not os.access(counted, os.W_OK):
        text = f"not asked: who may not write {counted} has no share in the budget of requests"
        return Finding(name, "warn", f"{text}; set LAKE_GOVERNOR_PATH to a file of your own")
    before = lake.clock()
    theirs = _asked(name, lake.rest_of[market.name].server_time)
    if isinstance(theirs, Finding):
        return theirs
    after = lake.clock()
    ours = before + (after - before) / 2
    skew = theirs - ours
    size = abs(skew)
    status: Status = "fail" if size > _SKEW_FAILS else "warn" if size > _SKEW_WARNS + (after - before) / 2 else "ok"
    took = (after - before).total_seconds() * 1000
    return Finding(name, status, f"answers in {took:.0f} ms; its clock is {skew.total_seconds():+.2f} s off ours")


def _vision(settings: LakeSettings, lake: Lake, stream: Stream) -> Finding:
    day = (lake.clock().astimezone(UTC) - timedelta(days=3)).date().isoformat()
    name, symbol = _called("Vision", stream.market), settings.symbols_of(stream.market)[0]
    vision = VisionClient(
        settings.resolved_vision_url, timeout_s=PATIENCE_S, attempts=1, connections=1, limits=settings.limits
    )

    def published() -> bool:
        try:
            vision.checksum(stream, symbol, day)
        except ArchiveNotPublished:
            return False
        return True

    found = _asked(name, published)
    vision.close()
    if isinstance(found, Finding):
        return found
    if not found:
        return Finding(name, "warn", f"answers, but {symbol} {stream.name} of {day} is not published")
    return Finding(name, "ok", f"{symbol} {stream.name} of {day} is there")


def _websocket(settings: LakeSettings, market: Market) -> Finding:
    name, symbol = _called("WebSocket", market), settings.symbols_of(market)[0]
    found = _asked(name, lambda: acknowledged_in(market, settings.ws_url_of(market), symbol, timeout_s=PATIENCE_S))
    if isinstance(found, Finding):
        return found
    return Finding(name, "ok", f"acknowledges a stream of {symbol} after {found * 1000:.0f} ms")


def _asked(name: str, ask: Callable[[], _Answer]) -> _Answer | Finding:
    try:
        return ask()
    except Banned as error:
        until = from_epoch_ms(error.until_ms)
        return Finding(name, "fail", f"banned until {until:%Y-%m-%d %H:%M:%S} UTC; nobody calls before that")
    except GeoBlocked as error:
        return Finding(name, "fail", f"not served at this location (451): {error.remedy}")
    except LakeError as error:
        return Finding(name, "fail", str(error))


def _dagster(settings: LakeSettings) -> Finding:
    address = settings.web_address
    api = DagsterApi(address, token=settings.web_token)
    try:
        who = api.who_answers()
        if who not in (None, DAGSTER):
            text = f"at {address} answers {who}; stop it, or set LAKE_WEBSERVER_PORT to a free port"
            return Finding("Dagster", "fail", text)
        if who is None:
            return Finding("Dagster", "warn", f"no webserver at {address}; `lake up` starts it")
        if not api.shows(minute_names(settings.symbols[0]), settings.lake_root):
            return Finding("Dagster", "warn", f"the webserver at {address} shows another lake than this")
        if not api.daemons_healthy():
            return Finding("Dagster", "fail", f"the webserver answers at {address}, the daemon has no fresh heartbeat")
        if not api.location_loaded():
            return Finding("Dagster", "fail", f"the code location is not loaded at {address}")
    except LakeError as error:
        return Finding("Dagster", "fail", str(error))
    finally:
        api.close()
    return Finding("Dagster", "ok", f"webserver, daemon and code location are up at {address}")


def _collector(settings: LakeSettings, lake: Lake) -> Finding:
    """A held lock says that the process lives, its newest record that it hears, its newest row that it folds."""
    now, record = lake.clock(), _newest_record(lake, UM, "live columns stay NULL")
    if isinstance(record, Finding):
        return record
    rows = LiveRows(lake.catalog)
    newest = [rows.read(symbol, now - _ROWS_REACH, now)["timestamp"].max() for symbol in settings.symbols]
    silent = [
        symbol
        for symbol, last in zip(settings.symbols, newest, strict=True)
        if not isinstance(last, datetime) or now - last > _ROWS_WARN
    ]
    if silent:
        which = ", ".join(silent)
        return Finding("collector", "warn", f"writes records, but {which} has no live row of the last minutes")
    return Finding("collector", "ok", f"is running; newest record of {record:%H:%M}, live rows of every symbol")


def _spot_collector(lake: Lake) -> Finding:
    """Nothing of spot is folded as it comes: its records are all there is."""
    record = _newest_record(lake, SPOT, "seconds have no bid and ask")
    if isinstance(record, Finding):
        return record
    return Finding(_called("collector", SPOT), "ok", f"is running; newest record of {record:%H:%M}")


def _newest_record(lake: Lake, market: Market, else_: str) -> datetime | Finding:
    """The minute of the newest record of a market's collector, or what is wrong with it."""
    name, paths = _called("collector", market), MarketPaths(lake.store.root, market.name)
    if not is_held(paths.collector_lock_path):
        return Finding(name, "warn", f"is not running: {else_}; `lake up` or `lake collect` starts it")
    minute = newest_minute(paths.live_records_dir)
    record = None if minute is None else datetime.fromtimestamp(60 * minute, UTC)
    if record is None or lake.clock() - record > _SILENT_FAILS:
        heard = "has written no record" if record is None else f"its newest record is of {record:%Y-%m-%d %H:%M}"
        return Finding(name, "fail", f"holds its lock, but {heard}: stop it and start it again")
    return record
