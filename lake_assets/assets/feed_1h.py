"""The BTCUSDT 1H table: `feed/btcusdt_1h`, append-only in DuckDB, partitioned by hour.

Belongs here: the asset, its text, what a run shows in the UI and when it is repeated.
Does not belong here: the protocol (`feed_1h.run`), its rules (`feed_1h.window`, `feed_1h.history`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from lake_assets.assets.unreachable import begun_again
from lake_assets.checks import check_specs, close_checks, record_partitions, record_unsaid
from lake_assets.dagster_names import FEED_NAMES, hour_key, hour_of
from lake_assets.feed_1h.bars import SYMBOL
from lake_assets.feed_1h.feed import Feed
from lake_assets.feed_1h.look_back import look_back
from lake_assets.feed_1h.outcomes import FEED_CHECKS, recent_rules
from lake_assets.feed_1h.run import FeedRun, HourRun, run_feed
from lake_assets.inputs.excuses import declared_outages
from lake_assets.metadata import symbol_tags
from lake_assets.partitions import closed_hours
from lake_assets.resources import FeedOpener
from lake_resources.errors import StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import ROW_SCHEMA, TABLE

FEED_KEY = dg.AssetKey(FEED_NAMES)
MAX_RETRIES = 4
_FAIL_AFTER, _WARN_AFTER = timedelta(hours=2), timedelta(minutes=70)
"""Hour t is due at t + 1 h, so a last append two hours ago means that the next hour is an hour late."""
_SHOWN_HOURS = 20
RULEPACK_CHECK = "rulepack"
LOOK_BACK_CHECK = "look_back"
_LOOK_BACK_TEXT = (
    "The exchange still says what was appended: a seventh of the table each day, in spans of 30 days. What was "
    "restated is kept with both values; the table stays as it is"
)
_SHOWN_DIFFERENCES = 200
_RULEPACK_TEXT = "R1 to R7 over the last 30 days of the table give PASS (INVESTIGATE warns); numbers by rule"

_TEXT = """\
Hourly OHLCV of BTCUSDT (USD-M futures) for inference: the append-only DuckDB table `ohlcv_btcusdt_1h`.

Each hour the newest closed bars are pulled; those before the target hour must equal the table exactly, then the
target hour alone is appended. A mismatch appends nothing and keeps both versions. Each run writes a snapshot of what
was pulled and an inference file of 30 days + buffer. An empty table is seeded by a backfill of its hours; missed hours
are appended by a backfill too, always in order. Columns UTC-naive; a row is never changed."""


def build_feed_asset(settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset `feed/btcusdt_1h`."""
    partitions = closed_hours(settings)
    spec = dg.AssetSpec(
        FEED_KEY,
        description=_TEXT,
        group_name="feed",
        kinds={"duckdb", "binance"},
        tags=symbol_tags(SYMBOL),
        partitions_def=partitions,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=_FAIL_AFTER, warn_window=_WARN_AFTER),
        metadata={
            "dagster/column_schema": dg.TableSchema([dg.TableColumn(name, str(t)) for name, t in ROW_SCHEMA.items()]),
            "dagster/table_name": TABLE,
            "lake/duckdb": dg.MetadataValue.path(str(settings.resolved_feed_duckdb)),
            "lake/files": dg.MetadataValue.path(str(settings.resolved_feed_persist_dir)),
        },
        # Skippable: hours are logged one by one, also by a run that ends in a refusal.
        skippable=True,
    )

    @dg.multi_asset(
        name="feed_btcusdt_1h",
        specs=[spec],
        check_specs=[
            *check_specs(FEED_KEY, partitions, FEED_CHECKS),
            dg.AssetCheckSpec(RULEPACK_CHECK, asset=FEED_KEY, description=_RULEPACK_TEXT),
        ],
        # One run for a whole range: two runs side by side would not keep the order of appends.
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=dg.RetryPolicy(
            max_retries=MAX_RETRIES,
            delay=settings.feed_retry_delay_s,
            backoff=dg.Backoff.EXPONENTIAL,
            jitter=dg.Jitter.PLUS_MINUS,
        ),
    )
    @begun_again
    def feed_1h(context: dg.AssetExecutionContext, feed: dg.ResourceParam[FeedOpener]) -> Iterator[Any]:
        opened = replace(feed.open(), outages=declared_outages(settings, SYMBOL))
        done = run_feed(opened, [hour_of(key) for key in context.partition_keys], report=context.log.info)
        for warning in done.warnings:
            context.log.warning(warning)
        failed = [hour for hour in done.hours if not hour.stored]
        again = bool(failed) and all(hour.verdict.status == "waiting" for hour in failed)
        if again and context.retry_number < MAX_RETRIES:
            # The last attempt alone is recorded: the table remembers what earlier ones appended.
            raise _failure(done, failed, allow_retries=True)
        events = {_key(hour): _metadata(done, hour) for hour in done.hours if hour.stored}
        yield from record_partitions(context, FEED_KEY, events, [(_key(hour), hour.outcomes) for hour in done.hours])
        if failed:
            yield from record_unsaid(context, FEED_KEY, {_key(hour): hour.outcomes for hour in done.hours}, FEED_CHECKS)
        yield from close_checks(FEED_KEY, FEED_CHECKS)
        yield _rulepack(opened)
        if failed:
            raise _failure(done, failed, allow_retries=False)

    return feed_1h


def build_look_back_check() -> dg.AssetChecksDefinition:
    """The check `look_back` of the feed's table, which is executed alone."""

    @dg.asset_check(asset=FEED_KEY, name=LOOK_BACK_CHECK, description=_LOOK_BACK_TEXT)
    def feed_1h_look_back(feed: dg.ResourceParam[FeedOpener]) -> dg.AssetCheckResult:
        opened = feed.open()
        found = look_back(opened, opened.clock().date())
        lines = [f"- {each.text()}" for each in found.differences[:_SHOWN_DIFFERENCES]]
        lines += [f"- {hour:%Y-%m-%d %H:%M}: the exchange has no such bar now" for hour in found.absent[:_SHOWN_HOURS]]
        return dg.AssetCheckResult(
            passed=found.verdict == "equal",
            severity=dg.AssetCheckSeverity.ERROR if found.verdict == "restated" else dg.AssetCheckSeverity.WARN,
            metadata={
                "verdict": found.verdict,
                "compared": found.compared,
                "restated_values": len(found.differences),
                "absent_hours": len(found.absent),
                "known_differences": found.known,
                "restated": dg.MetadataValue.md("\n".join(lines) or "nothing"),
            },
        )

    return feed_1h_look_back


def _key(hour: HourRun) -> str:
    return hour_key(_aware(hour.verdict.hour))


def _aware(hour: datetime) -> datetime:
    return hour.replace(tzinfo=UTC)


def _metadata(done: FeedRun, hour: HourRun) -> dict[str, Any]:
    """Small for the many hours of a range; the newest one names files and coverage."""
    verdict = hour.verdict
    found: dict[str, Any] = {"outcome": verdict.status, "pulled": verdict.pulled, "validated": verdict.validated}
    if hour is not done.hours[-1]:
        return found
    rows, first, newest = done.coverage
    found |= {
        "stats": done.stats,
        "dagster/row_count": rows,
        "first_hour": f"{first:%Y-%m-%d %H:%M}",
        "newest_hour": f"{newest:%Y-%m-%d %H:%M}",
        "api_pull": dg.MetadataValue.path(str(done.artifacts.api_pull)),
        "for_inference": dg.MetadataValue.path(str(done.artifacts.inference)),
        "inference_source": done.inference_source,
    }
    if done.fallback:
        found["inference_fallback"] = done.fallback
    return found


def _rulepack(feed: Feed) -> dg.AssetCheckResult:
    """One row per run, not per hour: it judges the table's last days, whatever hours the run was about."""
    try:
        found = recent_rules(feed.table.published().rows, feed.outages)
    except StorageError as error:
        return dg.AssetCheckResult(
            asset_key=FEED_KEY, check_name=RULEPACK_CHECK, passed=False, metadata={"unavailable": str(error)}
        )
    metadata: dict[str, Any] = {"verdict": found.verdict, "bars": found.rows}
    if found.dead:
        metadata["dead_bars"] = dg.MetadataValue.md("\n".join(f"- {each.text}" for each in found.dead))
    for rule in found.rules:
        numbers = {"checked": rule.checked, "violations": rule.violations} | dict(rule.stats)
        metadata[rule.rule] = dg.MetadataValue.json(numbers)
    return dg.AssetCheckResult(
        asset_key=FEED_KEY,
        check_name=RULEPACK_CHECK,
        passed=found.verdict == "PASS",
        severity=dg.AssetCheckSeverity.WARN if found.verdict == "INVESTIGATE" else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def _failure(done: FeedRun, failed: Sequence[HourRun], *, allow_retries: bool) -> dg.Failure:
    lines = [f"{_key(hour)}: {hour.verdict.reason}" for hour in failed[:_SHOWN_HOURS]]
    metadata: dict[str, Any] = {"api_pull": dg.MetadataValue.path(str(done.artifacts.api_pull))}
    if done.artifacts.differences:
        metadata["differences"] = dg.MetadataValue.path(str(done.artifacts.differences))
    return dg.Failure(
        f"feed/btcusdt_1h: {len(failed)} of {len(done.hours)} hours were not appended\n" + "\n".join(lines),
        metadata=metadata,
        allow_retries=allow_retries,
    )
