"""Everything that the lake's tools say of the span, each thing as a finding.

Belongs here: asking audit, hole listing, ledger, rows, compaction and report card, and leaving out what is usual.
Does not belong here: what was planted, any judgement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

import polars as pl

from lake_assets.audit.scan import audit_partitions
from lake_assets.build.compaction import plan_compaction
from lake_assets.lake import Lake
from lake_assets.quality.certificate import certify
from lake_assets.quality.month_card import month_window, report_card
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.outcome import CHECKS, outcomes_from_json
from lake_resources.storage.ledger.ledger import Partition
from lake_resources.storage.reader import scan
from lake_tests.bench.year.must import VALUES, Finding, minute, stretch
from lake_tests.bench.year.planted import END, HOUR, MINUTE, Span

LAG_MINUTES = 3
_REASONS = {
    "HTTP status 404": "not published",
    "late: Vision has no": "not published",
    "CHECKSUM says": "wrong checksum",
    "zip": "damaged zip",
    "aggTrade ids are missing": "lost ids",
    "is no number": "garbled",
    "REST does not keep the hour": "out of reach",
}
"""What a reason says, by a part of it."""


def audit_findings(
    lake: Lake, span: Span, symbol: str, materialized: Collection[datetime], now: datetime
) -> Iterator[Finding]:
    """Wrong hours, with their codes."""
    report = audit_partitions(
        lake.store,
        symbol,
        span.start,
        END,
        now=now,
        lag_minutes=LAG_MINUTES,
        materialized=materialized,
    )
    for verdict in report.wrong:
        # The details of a quarantine are its codes; those of others are numbers.
        codes = [code if code.startswith("quarantined") else code.partition(":")[0] for code in verdict.codes]
        yield Finding("audit", symbol, minute(verdict.hour), ",".join(codes))


def ledger_findings(lake: Lake, span: Span, symbol: str, now: datetime) -> Iterator[Finding]:
    """Holes, quarantine, missing sources, revisions, vintages, sources that are not the usual ones, failed checks."""
    certificate = certify(lake.store, symbol, span.start, END, now=now, lag_minutes=LAG_MINUTES)
    for hole in certificate.holes:
        mark = "explained" if hole.explained else "unexplained"
        yield Finding("holes", symbol, stretch(hole.start, hole.end), f"{mark}: {hole.cause}")
    for entry in lake.ledger.quarantined(symbol, span.start, END):
        yield Finding("quarantine", symbol, minute(entry.start), ",".join(entry.codes))
    for row in lake.ledger.missing_sources(symbol):
        reason = next((label for part, label in _REASONS.items() if part in row.reason), row.reason)
        yield Finding("missing sources", symbol, f"{row.stream} {row.period}", f"{row.source}: {reason}")
    for revision in lake.ledger.revisions(symbol, span.start - HOUR, END + HOUR):
        ways = (name.partition(":")[0] for name in (revision.old_source, revision.new_source))
        where = f"{revision.stream} {minute(revision.timestamp)}"
        yield Finding("revisions", symbol, where, f"{revision.column}: {' to '.join(ways)}")
    current = {}
    for name in UM_MINUTE.uses:
        for archive in lake.ledger.archives_between(symbol, name, span.start, END):
            current[name, archive.period] = archive.sha256
            vintages = lake.ledger.archive_vintages(symbol, name, archive.period)
            if len(vintages) > 1 and all(lake.catalog.absolute(each.path).is_file() for each in vintages):
                yield Finding("vintages", symbol, f"{name} {archive.period}", str(len(vintages)))
    for partition in lake.ledger.partitions(symbol, span.start, END):
        yield from _of_hour(partition, current)


def _of_hour(partition: Partition, current: Mapping[tuple[str, str], str]) -> Iterator[Finding]:
    """What is unusual about a committed hour; `current` has the sha256 of each archive by stream and period."""
    symbol, hour = partition.symbol, partition.start
    for check in outcomes_from_json(partition.checks, CHECKS):
        if not check.passed:
            yield Finding("checks", symbol, minute(hour), check.name)
    for name, ref in partition.sources.items():
        if ref.kind != _usual(name, hour):
            yield Finding("sources", symbol, f"{name} {minute(hour)}", ref.kind)
        vintage = current.get((name, UM_MINUTE.uses[name].period(hour.date())), "none")
        if ref.kind.startswith("archive") and not ref.reference.startswith(vintage):
            yield Finding("sources", symbol, f"{name} {minute(hour)}", "an older vintage")
    if partition.row_count < 60 and not partition.complete:
        yield Finding("sources", symbol, minute(hour), "incomplete")


def _usual(stream: str, hour: datetime) -> str:
    """The kind of source of a sound hour: the month of the end has no funding file yet, book tickers have none."""
    feed = UM_MINUTE.uses[stream]
    if not feed.could_have_archive(hour.date()):
        return "none"
    return (
        "rest" if feed.stream.files.cadence == "monthly" and feed.period(hour.date()) == f"{END:%Y-%m}" else "archive"
    )


def value_findings(lake: Lake, span: Span, symbol: str) -> Iterator[Finding]:
    """Stretches in which a column that should always have a value is NULL."""
    columns = list(VALUES.values())
    rows = scan(lake.store, symbol, span.start, END, ["timestamp", *columns]).collect()
    for name in columns:
        times = rows.filter(pl.col(name).is_null())["timestamp"].to_list()
        for first, last in _runs(times):
            yield Finding("values", symbol, f"{name} {stretch(first, last + MINUTE)}", "NULL")


def _runs(times: Iterable[datetime]) -> Iterator[tuple[datetime, datetime]]:
    first = last = None
    for time in times:
        if first is not None and last is not None and time != last + MINUTE:
            yield first, last
            first = None
        first, last = first or time, time
    if first is not None and last is not None:
        yield first, last


def open_days(lake: Lake, symbol: str, now: datetime) -> Iterator[Finding]:
    """Days that cannot become one file, and why."""
    for step in plan_compaction(UM_MINUTE, lake.ledger, symbol, now=now):
        reason = step.waits_for.partition(",")[0] or "left"
        yield Finding("compaction", symbol, f"{step.period.start:%Y-%m-%d}", reason)


def card_findings(lake: Lake, span: Span, symbol: str) -> Iterator[Finding]:
    """The figures of each month's report card, as they are at the end of the span."""
    for month in months(span):
        card = report_card(lake.store, symbol, month, now=END + LAG_MINUTES * MINUTE, lag_minutes=LAG_MINUTES)
        found = card.certificate
        yield card_finding(
            symbol,
            month,
            card.verdict,
            expected=found.expected_rows,
            explained=found.missing_rows - found.unexplained_rows,
            unexplained=found.unexplained_rows,
            revised=sum(card.revisions.values()),
            rejected=len(card.rejected),
        )


def card_finding(
    symbol: str,
    month: datetime,
    verdict: str,
    *,
    expected: int,
    explained: int,
    unexplained: int,
    revised: int,
    rejected: int,
) -> Finding:
    """A month's figures as a finding."""
    what = (
        f"{verdict}: {expected} minutes, {explained} missing and explained, {unexplained} not; "
        f"{revised} revised values, {rejected} hours in quarantine"
    )
    return Finding("report card", symbol, f"{month:%Y-%m}", what)


def months(span: Span) -> Iterator[datetime]:
    """Starts of the months that the span touches."""
    start, end = month_window(span.start)
    while start < END:
        yield start
        start, end = month_window(end)
