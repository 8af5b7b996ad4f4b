"""The heartbeat: facts and verdict as JSON values and as a Markdown page.

Belongs here: names and order of the fields. Does not belong here: what counts as a problem (`health`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lake_assets.automation.health import Health, collector_status, stamp, transformer_status
from lake_assets.automation.platform import Facts, HoleFacts, ScheduleFacts, SensorFacts, SpotFacts


def heartbeat(facts: Facts, health: Health) -> dict[str, Any]:
    """The heartbeat as JSON values; times are UTC, absent values null.

    `macro_minute` is a place kept for the macro fetcher: it has no product here yet, and so is always idle.
    """
    now = health.at
    return {
        "ts_utc": stamp(now),
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
        "macro_minute": {
            "status": "idle",
            "last_run_start": None,
            "last_run_end": None,
            "last_run_rows_written": None,
            "last_error": None,
        },
        "transformer": {
            "status": transformer_status(facts, now),
            "last_run_start": stamp(facts.hot_run.start),
            "last_run_end": stamp(facts.hot_run.end),
            "last_error": facts.hot_run.error,
        },
        "files": {
            "raw_count_today": facts.raw_count_today,
            "parquet_1s_rows_today": None,
            "minute_rows_today": facts.minute_rows_today,
            "macro_min_rows_today": None,
        },
        "daemon": {"last_seen_ts": stamp(facts.daemon_beat)},
        "sensors": {sensor.name: _instigator(sensor) for sensor in facts.sensors},
        "schedules": {schedule.name: _instigator(schedule) for schedule in facts.schedules},
        "symbols": {
            symbol: {"newest_minute_end_ts": stamp(until)} | _holes(facts.holes.get(symbol, HoleFacts()))
            for symbol, until in facts.minutes.items()
        },
        "verdicts": {
            symbol: {"doubted_hours": held.doubted, "contradicted_hours": held.contradicted}
            for symbol, held in facts.holes.items()
        },
    }


def page(beat: Mapping[str, Any]) -> str:
    """The heartbeat as a Markdown page."""
    collector, transformer, files = beat["collector"], beat["transformer"], beat["files"]
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
        "",
        "| symbol | market socket last heard at | public socket last heard at |",
        "| --- | --- | --- |",
        *heard,
        "",
        "## Today",
        "",
        f"{files['minute_rows_today']} minute rows, {files['raw_count_today']} raw files.",
    ]
    return "\n".join(lines) + "\n"


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


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
