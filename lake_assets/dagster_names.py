"""Names by which Dagster knows the lake: of assets, partitions, jobs, sensors, tags and metadata, as plain text.

Belongs here: making and reading such names. Does not belong here: anything that needs Dagster itself (`metadata`,
`partitions`): commands that only talk to its web server, or not at all, do not import it.
"""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lake_resources.layout import FIRST_TABLE

if TYPE_CHECKING:
    from lake_resources.binance.stream import Stream
    from lake_resources.layout import TableLayout

FIRST_MARKET = "um"
"""The market whose names in Dagster carry no market where another's would: their history lies under these names."""

AUTOMATION_TAG = "lake/automation"
"""Tag of a run that a sensor launched: `hot`, `heal` or `promote`."""
REPAIR_TAG = "lake/repair"
"""Tag of a backfill that `lake backfill-…` launched; its value is `repair_name`."""
ROOT_METADATA = "lake/root"
"""Directory of the lake that a minute table lies in: by it a command knows whether a webserver shows its lake."""
FORCE_TAG = "lake/force_repair"
"""Tag of a run that builds hours also from inputs that did not change."""
VISION_TAG = "lake/vision_only"
"""Tag of a run that builds hours from archives and does not ask REST."""
HOT_SENSOR, HEAL_SENSOR, PROMOTE_SENSOR = "hot_band", "heal_holes", "promote_archives"
"""Kinds of the sensors that each table has one of: `sensor_name`."""
ALERT_SENSOR = "alert_failures"
FOLLOW_SENSOR = "followers"
"""The sensor that evaluates the automation conditions of the assets."""
API_PARITY_JOB = "api_parity"
FEED_JOB, LOOK_BACK_JOB = "feed_1h_hours", "feed_1h_look_back"
MACRO_JOB, PRUNE_JOB, RESEARCH_JOB, COMPACTION_JOB = "macro_days", "prune", "research_views", "compact_minutes"
AUDIT_JOB, RULES_JOB, PARITY_JOB, CARD_JOB = "audit", "rules", "parity_at_rest", "report_cards"
FEED_NAMES = ("feed", "btcusdt_1h")
"""Parts of the key of the 1H table."""
_NAME_MARKS = frozenset(string.ascii_letters + string.digits + "_")
HOUR_FORMAT = "%Y-%m-%d-%H:%M"
DAY_FORMAT = "%Y-%m-%d"


def symbol_name(symbol: str) -> str:
    """A symbol as part of Dagster's names (asset key, op, group, output), which may hold `A-Z a-z 0-9 _` only.

    Some symbols of Binance are Chinese; each character that is not allowed becomes its code point.
    """
    return "".join(mark if mark in _NAME_MARKS else f"_u{ord(mark):x}" for mark in symbol)


def table_names(layout: TableLayout, symbol: str) -> list[str]:
    """Parts of the key of a symbol's table: `um/<symbol>/minute`."""
    return [layout.market, symbol_name(symbol), layout.directory]


def cold_days_names(layout: TableLayout, symbol: str) -> list[str]:
    """Parts of the key of a symbol's table of hours, recorded by days: `um/<symbol>/minute_days`."""
    market, name, directory = table_names(layout, symbol)
    return [market, name, f"{directory}_days"]


def cold_day_hours(key: str) -> list[datetime]:
    """The hours of a day of such a table, by its partition key."""
    start = datetime.strptime(key, DAY_FORMAT).replace(tzinfo=UTC)
    return [start.replace(hour=hour) for hour in range(24)]


def compacted_names(layout: TableLayout, symbol: str) -> list[str]:
    """Parts of the key of a table's files of many partitions: `um/<symbol>/compacted`, or `…/bars_1s_compacted`."""
    name = "compacted" if layout.directory == "minute" else f"{layout.directory}_compacted"
    return [layout.market, symbol_name(symbol), name]


def table_op(layout: TableLayout, symbol: str) -> str:
    """Name of the step that builds a symbol's table: `minute_<symbol>`, or `spot_bars_1s_<symbol>`."""
    return f"{_elsewhere(layout.market)}{layout.directory}_{symbol_name(symbol).lower()}"


def table_job(layout: TableLayout) -> str:
    """Name of the job over a table's partitions: `minute_hours`, or `spot_bars_1s_days`."""
    return f"{_elsewhere(layout.market)}{layout.directory}_{layout.span}s"


def parity_job(layout: TableLayout) -> str:
    """Name of the job that compares a table's partitions with the exchange; the first table's carries no name."""
    return API_PARITY_JOB if layout.name == FIRST_TABLE else f"{API_PARITY_JOB}_{layout.name}"


def slice_job(interval: str) -> str:
    """Name of the job over all symbols' raw klines of an interval."""
    return f"raw_klines_{interval}_days"


def sensor_name(kind: str, layout: TableLayout) -> str:
    """Name of the sensor of a table: `hot_band`, or `hot_band_spot_bars_1s`; the first table's carries no name."""
    return kind if layout.name == FIRST_TABLE else f"{kind}_{layout.name}"


def slice_sensor(interval: str) -> str:
    """Name of the sensor that keeps raw klines of an interval complete."""
    return f"slices_{interval}"


def minute_names(symbol: str) -> list[str]:
    """Parts of the key of a symbol's minute table, for commands that do not import the table itself."""
    return [FIRST_MARKET, symbol_name(symbol), "minute"]


def vision_names(symbol: str, stream: str, market: str = FIRST_MARKET) -> list[str]:
    """Parts of the key of one archive stream of a symbol: `vision/<symbol>/<stream>`, or `vision/spot/…`."""
    place = ["vision"] if market == FIRST_MARKET else ["vision", market]
    return [*place, symbol_name(symbol), stream]


def vision_op(symbol: str, stream: str, market: str = FIRST_MARKET) -> str:
    """Name of the step that takes in one archive stream of a symbol."""
    return f"{vision_group(symbol, market)}_{stream}"


def vision_group(symbol: str, market: str = FIRST_MARKET) -> str:
    """Name of the group in which the UI shows a symbol's archives."""
    return f"vision_{_elsewhere(market)}{symbol_name(symbol).lower()}"


def _elsewhere(market: str) -> str:
    return "" if market == FIRST_MARKET else f"{market}_"


def repair_name(layout: TableLayout, symbol: str) -> str:
    """How a repair of a symbol's table is known: `BTCUSDT`, or `spot_bars_1s BTCUSDT`."""
    return symbol if layout.name == FIRST_TABLE else f"{layout.name} {symbol}"


def repair_tags(layout: TableLayout, symbol: str, *, force: bool, vision_only: bool) -> dict[str, str]:
    """Tags of a backfill that repairs a symbol; its runs inherit them."""
    chosen = {FORCE_TAG: force, VISION_TAG: vision_only}
    return {REPAIR_TAG: repair_name(layout, symbol)} | {tag: "true" for tag, wanted in chosen.items() if wanted}


def hour_of(key: str) -> datetime:
    """Start of the hour that an hourly key names, UTC."""
    return datetime.strptime(key, HOUR_FORMAT).replace(tzinfo=UTC)


def hour_key(hour: datetime) -> str:
    """Hourly partition key of an instant's hour."""
    return hour.astimezone(UTC).strftime(HOUR_FORMAT)


def partition_key(layout: TableLayout, start: datetime) -> str:
    """Partition key of a table's partition that begins at `start`."""
    return start.astimezone(UTC).strftime(DAY_FORMAT if layout.span == "day" else HOUR_FORMAT)


def partition_start(layout: TableLayout, key: str) -> datetime:
    """Start of the partition that a key of a table names, UTC."""
    return datetime.strptime(key, DAY_FORMAT if layout.span == "day" else HOUR_FORMAT).replace(tzinfo=UTC)


def archive_period(stream: Stream, key: str) -> str:
    """The period in an archive's file name for a partition key: the day, or `YYYY-MM`."""
    return key[:7] if stream.files.cadence == "monthly" else key


def archive_key(stream: Stream, period: str) -> str:
    """Partition key of the archive file of a period."""
    return f"{period}-01" if stream.files.cadence == "monthly" else period
