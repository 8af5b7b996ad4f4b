"""The heartbeat: facts and verdict as JSON values and as a Markdown page.

Belongs here: names and order of the fields. Does not belong here: what counts as a problem (`health`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lake_assets.automation.health import (
    Health,
    collector_status,
    macro_status,
    market_statuses,
    stamp,
    transformer_status,
    transforming,
)
from lake_assets.automation.platform import Facts, HoleFacts, MacroFacts, ScheduleFacts, SensorFacts, SpotFacts
from lake_resources.testing_mode import TEST_LABEL


def heartbeat(facts: Facts, health: Health) -> dict[str, Any]:
    """The heartbeat as JSON values; times are UTC, absent values null."""
    now = health.at
    macro = facts.macro or MacroFacts()
    return {
        "ts_utc": stamp(now),
        "mode": "TEST" if facts.testing else "PRODUCTION",
        "status": health.status,
        "problems": list(health.problems),
        "collector": {
            "status": collector_status(facts, now),
            "last_latency_p50_ms": facts.collector.latency_p50_ms,
            "last_latency_p95_ms": facts.collector.latency_p95_ms,
            "last_latency_max_ms": facts.collector.latency_max_ms,
            "last_seen_ts": stamp(facts.collector.last_seen),
            "symbols": {
                symbol: {f"{route}_last_seen_ts": stamp(at) for route, at in routes.items()}
                for symbol, routes in facts.collector.heard.items()
            },
            **({} if facts.collector.spot is None else {"spot": _spot(facts.collector.spot)}),
        },
        "markets": {
            name: {"status": status} | _latencies(facts, name) for name, status in market_statuses(facts, now).items()
        },
        "macro_minute": {
            "status": macro_status(facts, now),
            "last_run_start": stamp(macro.run.start),
            "last_run_end": stamp(macro.run.end),
            "last_run_rows_written": macro.rows_written,
            "last_error": macro.run.error,
        },
        "transformer": {
            "status": transformer_status(facts, now),
            "last_run_start": stamp(transforming(facts).start),
            "last_run_end": stamp(transforming(facts).end),
            "last_error": facts.hot_run.error,
            **({} if facts.builder.beat is None else {"builder_last_seen_ts": stamp(facts.builder.beat)}),
        },
        "files": {
            "raw_count_today": facts.raw_count_today,
            "parquet_1s_rows_today": facts.second_rows_today,
            "minute_rows_today": facts.minute_rows_today,
            "macro_min_rows_today": None if facts.macro is None else facts.macro.rows_today,
        },
        "daemon": {"last_seen_ts": stamp(facts.daemon_beat)},
        "sensors": {sensor.name: _instigator(sensor) for sensor in facts.sensors},
        "schedules": {schedule.name: _instigator(schedule) for schedule in facts.schedules},
        "symbols": {
            symbol: {"newest_minute_end_ts": stamp(until)} | _holes(facts.holes.get(symbol, HoleFacts()))
            for symbol, until in facts.minutes.items()
        },
        "tables": {
            name: {
                symbol: {"newest_row_end_ts": stamp(until)} | _partitions(table.holes.get(symbol, HoleFacts()))
                for symbol, until in table.newest.items()
            }
            for name, table in facts.tables.items()
        },
        "verdicts": {
            symbol: {"doubted_hours": held.doubted, "contradicted_hours": held.contradicted}
            for symbol, held in facts.holes.items()
        },
    }


def page(beat: Mapping[str, Any]) -> str:
    """The heartbeat as a Markdown page."""
    collector, transformer, files = beat["collector"], beat["transformer"], beat["files"]
    macro = beat["macro_minute"]
    problems = "\n".join(f"- {text}" for text in beat["problems"]) or "none"
    symbols = [
        f"| {name} | {row['newest_minute_end_ts'] or 'never'} | {row['watermark_ts'] or '–'} | {row['missing_hours']}"
        f" | {row['quarantined_hours']} | {row['explained_hours']} |"
        for name, row in beat["symbols"].items()
    ]
    sensors = [
        f"| {name} | {row['status']} | {row['last_tick_ts'] or 'never'} | {row['last_error'] or ''} |"
        for name, row in [*beat["sensors"].items(), *beat["schedules"].items()]
    ]
    heard = [
        f"| {name} | {row['market_last_seen_ts'] or '–'} | {row['public_last_seen_ts'] or '–'} |"
        for name, row in collector["symbols"].items()
    ]
    lines = [
        f"# Health: {beat['status']}",
        "",
        *([TEST_LABEL, ""] if beat["mode"] == "TEST" else []),
        f"As of {beat['ts_utc']}. Problems:",
        "",
        problems,
        "",
        "## Minute table",
        "",
        "| symbol | newest minute ended at | watermark | hours missing | in quarantine | explained |",
        "| --- | --- | --- | --- | --- | --- |",
        *symbols,
        "",
        *[
            f"Hours of {name} in doubt: {row['doubted_hours']}, of them contradicted: {row['contradicted_hours']}."
            for name, row in beat["verdicts"].items()
            if row["doubted_hours"]
        ],
        f"Hot band: {transformer['status']}, last error: {transformer['last_error'] or 'none'}.",
        f"Its last run: {transformer['last_run_start'] or 'never'} to {transformer['last_run_end'] or '…'}.",
        "",
        *_further_tables(beat["tables"]),
        "## Dagster",
        "",
        f"Daemon last seen at {beat['daemon']['last_seen_ts'] or 'never'}.",
        "",
        "| sensor or schedule | status | last tick | last error |",
        "| --- | --- | --- | --- |",
        *sensors,
        "",
        "## Collector",
        "",
        f"{collector['status']}, last seen {collector['last_seen_ts'] or 'never'}.",
        f"Latency p50 {_number(collector['last_latency_p50_ms'])} ms.",
        f"Latency p95 {_number(collector['last_latency_p95_ms'])} ms.",
        *_spot_line(collector.get("spot")),
        *[f"Market {name}: {row['status']}." for name, row in beat["markets"].items()],
        "",
        "| symbol | market socket last heard at | public socket last heard at |",
        "| --- | --- | --- |",
        *heard,
        "",
        "## Macro minutes",
        "",
        f"{macro['status']}, last error: {macro['last_error'] or 'none'}.",
        f"The last run: {macro['last_run_start'] or 'never'} to {macro['last_run_end'] or '…'}.",
        f"Rows in it: {_count(macro['last_run_rows_written'])}.",
        "",
        "## Today",
        "",
        f"{files['minute_rows_today']} minute rows, {files['raw_count_today']} raw files.",
        f"{_count(files['parquet_1s_rows_today'])} rows of seconds of spot.",
        f"{_count(files['macro_min_rows_today'])} macro rows.",
    ]
    return "\n".join(lines) + "\n"


def _further_tables(tables: Mapping[str, Any]) -> list[str]:
    """A row per symbol of each table beside the minute table; nothing where there is none."""
    rows = [
        f"| {name} | {symbol} | {row['newest_row_end_ts'] or 'never'} | {row['watermark_ts'] or '–'}"
        f" | {row['missing_partitions']} | {row['quarantined_partitions']} | {row['explained_partitions']}"
        f" | {row['doubted_partitions']} | {row['contradicted_partitions']} |"
        for name, symbols in tables.items()
        for symbol, row in symbols.items()
    ]
    if not rows:
        return []
    return [
        "## Further tables",
        "",
        (
            "| table | symbol | newest row ended at | watermark | missing | in quarantine | explained | in doubt "
            "| contradicted |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def told_parts(beat: Mapping[str, Any]) -> list[str]:
    """Collector by market, macro minutes and what was written today, a line each, for a terminal."""
    files, macro = beat["files"], beat["macro_minute"]
    lines = [
        f"collector of {name}: {row['status']}, last seen {row['last_seen_ts'] or 'never'}, latency"
        f" p50 {_number(row['last_latency_p50_ms'])} ms, p95 {_number(row['last_latency_p95_ms'])} ms"
        for name, row in beat["markets"].items()
    ]
    lines.append(
        f"macro minutes: {macro['status']}, last run ended {macro['last_run_end'] or 'never'},"
        f" rows in it {_count(macro['last_run_rows_written'])}"
    )
    lines.append(
        f"today: {files['minute_rows_today']} minute rows, {_count(files['parquet_1s_rows_today'])} rows of seconds,"
        f" {_count(files['macro_min_rows_today'])} macro rows, {files['raw_count_today']} raw files"
    )
    return lines


def _latencies(facts: Facts, market: str) -> dict[str, Any]:
    """How long frames of a market took, and when the last one came."""
    if market == "spot":
        return _spot(facts.collector.spot or SpotFacts())
    collector = facts.collector
    return {
        "last_latency_p50_ms": collector.latency_p50_ms,
        "last_latency_p95_ms": collector.latency_p95_ms,
        "last_latency_max_ms": collector.latency_max_ms,
        "last_seen_ts": stamp(collector.last_seen),
    }


def _spot(found: SpotFacts) -> dict[str, Any]:
    return {
        "last_latency_p50_ms": found.p50_ms,
        "last_latency_p95_ms": found.p95_ms,
        "last_latency_max_ms": found.max_ms,
        "last_seen_ts": stamp(found.last_seen),
    }


def _spot_line(spot: Mapping[str, Any] | None) -> list[str]:
    if spot is None:
        return []
    p50, p95, most = (_number(spot[f"last_latency_{name}_ms"]) for name in ("p50", "p95", "max"))
    return [
        f"Spot: last seen {spot['last_seen_ts'] or 'never'}, latency p50 {p50} ms, p95 {p95} ms, at most {most} ms."
    ]


def _instigator(found: SensorFacts | ScheduleFacts) -> dict[str, Any]:
    return {
        "status": "running" if found.running else "stopped",
        "last_tick_ts": stamp(found.last_tick),
        "last_error": found.error,
    }


def _holes(held: HoleFacts) -> dict[str, Any]:
    return {
        "watermark_ts": stamp(held.watermark),
        "missing_hours": held.missing,
        "oldest_missing_ts": stamp(held.oldest_missing),
        "quarantined_hours": held.quarantined,
        "oldest_quarantined_ts": stamp(held.oldest_quarantined),
        "explained_hours": held.explained,
    }


def _partitions(held: HoleFacts) -> dict[str, Any]:
    """The same of a table whose partitions need not be hours, with what is in doubt."""
    told = {name.replace("_hours", "_partitions"): value for name, value in _holes(held).items()}
    return told | {"doubted_partitions": held.doubted, "contradicted_partitions": held.contradicted}


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
