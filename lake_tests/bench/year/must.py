"""What must be found of each plant: which tool, where, what.

Belongs here: the promise of each kind of defect. Does not belong here: looking at a lake (`found`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.simulator.exchange import Exchange
from lake_tests.bench.year.planted import END, HOUR, MINUTE, Plant, Stage

CARRIED_FOR = 60 * MINUTE
"""`LAKE_MAX_FFILL_MINUTES`, as the journey leaves it."""
METRICS_KNOWN_AFTER = 5 * MINUTE
CAUSE = "planted: the exchange was down"
VALUES = {
    "mark_price_klines_1m": "mark_price_close",
    "index_price_klines_1m": "index_price_close",
    "agg_trades": "count_buy_trades",
    "metrics": "oi_contracts",
    "funding_rate": "funding_rate",
}
"""A column of the minute table by the stream that gives its values."""
REVISED = {"klines_1m": "volume", "mark_price_klines_1m": "high", "metrics": "sum_open_interest"}
"""The column of which a re-publication changes the first value."""
START_LABELS_FROM = datetime(2026, 6, 25, tzinfo=UTC)


class Finding(NamedTuple):
    """One thing that a tool of the lake says."""

    tool: str
    symbol: str
    where: str
    what: str


class Context(NamedTuple):
    """What else a promise depends on."""

    stage: Stage
    exchange: Exchange


Promise = Callable[[Plant, Context], Iterator[tuple[str, str, str]]]


def expected(planted: Sequence[Plant], context: Context) -> dict[Plant, set[Finding]]:
    """The findings of each plant at a stage."""
    return {
        plant: {
            Finding(tool, plant.symbol, where, what)
            for tool, where, what in MUST[plant.kind](plant, context)
            # What damage does to files and ledger is the audit's to find; the others are asked again after the repair.
            if tool == "audit" or context.stage != Stage.DAMAGED
        }
        for plant in planted
    }


def follows(finding: Finding, planted: Sequence[Plant]) -> bool:
    """Whether a finding says that a plant's day is not whole: verdicts by evidence, and what was asked because of it.

    They lie in the days of plants of the same symbol and nowhere else; which hours of a day they name is held by the
    tests of the evidence itself.
    """
    if not any(day in finding.where for day in _days(finding.symbol, tuple(planted))):
        return False
    said = finding.what
    return {
        "audit": set(said.split(",")) <= {"partial", "contradicted", "provisional", "unproven"},
        "checks": said in {"evidence", "archive_parity"},
        "missing sources": said.startswith(("archive rows: ", "rest: not whole: ")),
        "revisions": said.endswith((": rest to archive", ": archive to archive")),
        "sources": said == "archive+rest",
        "compaction": "is contradicted" in said,
    }.get(finding.tool, False)


@cache
def _days(symbol: str, planted: tuple[Plant, ...]) -> set[str]:
    return {f"{hour:%Y-%m-%d}" for plant in planted if plant.symbol == symbol for hour in plant.hours}


def minute(instant: datetime) -> str:
    """How a minute is written in a finding."""
    return f"{instant:%Y-%m-%d %H:%M}"


def stretch(start: datetime, end: datetime) -> str:
    """How the minutes `[start, end)` are written."""
    return f"{minute(start)} +{(end - start) // MINUTE}"


def _hole(plant: Plant, _: Context) -> Iterator[tuple[str, str, str]]:
    code = "continuity" if plant.stream == "klines_1m" else "required_columns"
    for hour in plant.hours:
        yield "audit", minute(hour), f"missing_file,quarantined:{code}"
        yield "quarantine", minute(hour), code
    first, last = plant.hours[0], plant.hours[-1] + HOUR
    yield "holes", stretch(first, last), f"unexplained: hour in quarantine: {code}"


def _known_hole(plant: Plant, _: Context) -> Iterator[tuple[str, str, str]]:
    if plant.stream == "klines_1m":
        yield "holes", stretch(plant.start, plant.end), f"explained: {CAUSE}"
    else:
        yield "values", f"{VALUES[plant.stream]} {stretch(plant.start, plant.end)}", "NULL"


def _gap(plant: Plant, _: Context) -> Iterator[tuple[str, str, str]]:
    for hour in plant.hours:
        yield "sources", f"{plant.stream} {minute(hour)}", "archive+rest"
        yield "checks", minute(hour), "archive_parity"
    for each in plant.minutes:
        yield "revisions", f"{plant.stream} {minute(each)}", "row: rest to archive"


def _without_archive(plant: Plant, reason: str, stage: Stage) -> Iterator[tuple[str, str, str]]:
    """The day comes from REST where that still has it."""
    yield "missing sources", f"{plant.stream} {plant.period}", f"archive: {reason}"
    kept = plant.stream != "agg_trades"
    for hour in plant.hours:
        yield "sources", f"{plant.stream} {minute(hour)}", "rest" if kept else "none"
        if not kept:
            yield "checks", minute(hour), "source_coverage"
            yield "missing sources", f"{plant.stream} {hour:%Y-%m-%dT%H}", "rest: out of reach"
    if not kept:
        yield "values", f"{VALUES[plant.stream]} {stretch(plant.start, plant.end)}", "NULL"
    elif stage == Stage.COMPACTED and UM_MINUTE.uses[plant.stream].required:
        yield "compaction", plant.period, f"{plant.stream} comes from rest"


def _unpublished(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    yield from _without_archive(plant, "not published", context.stage)


def _wrong_checksum(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    yield from _without_archive(plant, "wrong checksum", context.stage)


def _torn_zip(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    yield from _without_archive(plant, "damaged zip", context.stage)


def _late(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    if context.stage < Stage.PROMOTED:
        yield from _without_archive(plant, "not published", context.stage)


def _lost_trades(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    yield "missing sources", f"agg_trades {plant.period}", "archive rows: lost ids"
    first, last = _trades_around(plant, context.exchange)
    # A minute whose klines say that nothing was traded is proven quiet: it has lost nothing.
    for start, end in _traded(plant, context.exchange):
        yield "values", f"{VALUES['agg_trades']} {stretch(start, end)}", "NULL"
    hours = Plant(plant.kind, plant.symbol, plant.stream, first, last + MINUTE).hours
    for hour in hours:
        yield "checks", minute(hour), "source_coverage"
        yield "checks", minute(hour), "trades_vs_klines"


def _trades_around(plant: Plant, exchange: Exchange) -> tuple[datetime, datetime]:
    """Minutes of the last trade before and of the first one after the lost ones: neither is whole."""
    start, end = (int(each.timestamp()) // 60 for each in (plant.start, plant.end))
    minutes = exchange.feeds[plant.symbol].trades(start - 180, end + 180).agg_time // 60_000
    before, after = int(minutes[minutes < start].max()), int(minutes[minutes >= end].min())
    return datetime.fromtimestamp(before * 60, UTC), datetime.fromtimestamp(after * 60, UTC)


def _traded(plant: Plant, exchange: Exchange) -> Iterator[tuple[datetime, datetime]]:
    """Stretches of the plant's minutes in which there were trades."""
    start, end = (int(each.timestamp()) // 60 for each in (plant.start, plant.end))
    found = sorted(set((exchange.feeds[plant.symbol].trades(start, end).agg_time // 60_000).tolist()))
    for index, at in enumerate(found):
        if index and found[index - 1] == at - 1:
            continue
        last = at
        while last + 1 in found:
            last += 1
        yield datetime.fromtimestamp(at * 60, UTC), datetime.fromtimestamp((last + 1) * 60, UTC)


def _lost_trades_kept(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    yield "missing sources", f"agg_trades {plant.period}", "archive rows: lost ids"
    for hour in plant.hours:
        # The archive has the rest of the hour, and REST the minutes that it lacks.
        yield "sources", f"agg_trades {minute(hour)}", "archive+rest" if context.stage >= Stage.PROMOTED else "rest"


def _garbled(plant: Plant, _: Context) -> Iterator[tuple[str, str, str]]:
    yield "missing sources", f"metrics {plant.period}", "archive rows: garbled"
    history = UM_MINUTE.uses["metrics"].stream.rest
    if history is not None and history.retention is not None and plant.start > END - history.retention:
        return  # REST still has what the archive lacks
    # The last sound row is labelled 5 minutes before the first garbled one, so it is known from there on.
    first, end = plant.start + CARRIED_FOR + MINUTE, plant.end + METRICS_KNOWN_AFTER
    if first < end:
        yield "values", f"{VALUES['metrics']} {stretch(first, end)}", "NULL"
        for hour in Plant(plant.kind, plant.symbol, plant.stream, first, end).hours:
            yield "checks", minute(hour), "source_coverage"


def _republished(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    if context.stage < Stage.PROMOTED:
        return
    yield "vintages", f"{plant.stream} {plant.period}", "2"
    yield "revisions", _first_row(plant), f"{REVISED[plant.stream]}: archive to archive"
    # No check: the day's first minute has no neighbour in the day's build, so its volume is not judged by the trades.


def _restated(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    if context.stage >= Stage.PROMOTED:
        yield "revisions", _first_row(plant), f"{REVISED[plant.stream]}: rest to archive"
        yield "checks", minute(plant.start), "archive_parity"


def _first_row(plant: Plant) -> str:
    """Stream and time of the first row of an archive."""
    late = plant.stream == "metrics" and plant.start < START_LABELS_FROM
    return f"{plant.stream} {minute(plant.start + 5 * MINUTE if late else plant.start)}"


def _live(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
    if context.stage < Stage.PROMOTED:
        for name, feed in UM_MINUTE.uses.items():
            if feed.stream.files.cadence == "daily" and feed.could_have_archive(plant.start.date()):
                for hour in plant.hours:
                    yield "sources", f"{name} {minute(hour)}", "rest"


def _delisted(_plant: Plant, _: Context) -> Iterator[tuple[str, str, str]]:
    yield from ()


def _damaged(codes: str) -> Promise:
    """Damage to the finished lake is found by the audit, and gone after the repair."""

    def promise(plant: Plant, context: Context) -> Iterator[tuple[str, str, str]]:
        if context.stage == Stage.DAMAGED:
            yield "audit", minute(plant.start), codes

    return promise


MUST: dict[str, Promise] = {
    "hole": _hole,
    "known hole": _known_hole,
    "gap": _gap,
    "unpublished": _unpublished,
    "late": _late,
    "wrong checksum": _wrong_checksum,
    "torn zip": _torn_zip,
    "lost trades": _lost_trades,
    "lost trades, REST has them": _lost_trades_kept,
    "garbled": _garbled,
    "republished": _republished,
    "republished long after": _republished,
    "restated": _restated,
    "live": _live,
    "delisted": _delisted,
    "deleted file": _damaged("missing_file,ledger_without_file"),
    "flipped byte": _damaged("content_hash_mismatch"),
    "torn file": _damaged("unreadable_parquet,content_hash_mismatch"),
    "forgotten by the ledger": _damaged("file_without_ledger,only_in_dagster"),
    "misnoted by the ledger": _damaged("ledger_rows_mismatch"),
    "stray file": _damaged("file_without_ledger"),
}
