"""The report card of a symbol's month: one page of Markdown and one small picture.

Belongs here: gathering the numbers, the page, the picture, writing both. Does not belong here: judging (`validation`),
Dagster. Equal data give an equal page: nothing of the run's time is on it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from PIL import Image, ImageDraw

from lake_assets.audit.excuses import holes_known
from lake_assets.quality.certificate import Certificate, certify
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.completeness import completeness_pct
from lake_assets.validation.outcome import CHECKS, outcomes_from_json
from lake_assets.validation.rules import all_excused
from lake_resources.clock import HOUR, MINUTE
from lake_resources.storage.catalog import Catalog, utc
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file
from lake_resources.storage.ledger.ledger import CompactedFile, Partition, Revision
from lake_resources.storage.store import Store

CellState = Literal["whole", "explained", "lacking", "not expected"]

_COLOURS: dict[CellState, tuple[int, int, int]] = {
    "whole": (72, 150, 92),
    "explained": (222, 184, 74),
    "lacking": (196, 64, 56),
    "not expected": (226, 226, 226),
}
_CELL_PX = (14, 8)
_SHOWN_HOLES = 20
_KINDS = ("archive", "archive+rest", "rest", "ws", "none")


@dataclass(frozen=True)
class ReportCard:
    """A month of one symbol.

    Attributes:
        certificate: completeness, sources, holes.
        checks: by check, hours by `passed` and `failed`.
        revisions: revised values by stream and column.
        rejected: open quarantine entries as lines; without those of hours that known holes explain.
        files: how many hour, day and month files the hours are read from.
        cells: state of each hour of the month, in order.
    """

    certificate: Certificate
    checks: dict[str, Counter[str]]
    revisions: Counter[tuple[str, str]]
    rejected: tuple[str, ...]
    files: dict[str, int]
    cells: tuple[CellState, ...] = field(repr=False)

    @property
    def verdict(self) -> str:
        """`CLEAN`, `OPEN` (the month is not over) or `LOOK`."""
        failed = any(counts["failed"] for name, counts in self.checks.items() if CHECKS[name].severity == "error")
        if self.certificate.unexplained_minutes or self.certificate.unexplained_gaps or self.rejected or failed:
            return "LOOK"
        return "CLEAN" if self.certificate.clean else "OPEN"


def report_card(store: Store, symbol: str, month: datetime, *, now: datetime, lag_minutes: int) -> ReportCard:
    """The report card of the UTC month that holds `month`.

    Args:
        store: the table.
        symbol: whose minutes.
        month: any instant of the month.
        now: decides which minutes must exist.
        lag_minutes: safety lag.
    """
    start, end = month_window(month)
    certificate = certify(store, symbol, start, end, now=now, lag_minutes=lag_minutes)
    partitions = store.ledger.partitions(symbol, start, end)
    known = holes_known(store.ledger, symbol, start, end)
    return ReportCard(
        certificate=certificate,
        checks=_checks(partitions),
        revisions=Counter((row.stream, _column(row)) for row in store.ledger.revisions(symbol, start, end)),
        rejected=tuple(
            f"{entry.start:%Y-%m-%d %H:%M}: {', '.join(entry.codes)}: {entry.detail}"
            for entry in store.ledger.quarantined(symbol, start, end)
            if not all_excused(known, UM_MINUTE.row_stream, entry.start, entry.start + HOUR)
        ),
        files=_files(partitions, store.ledger.compacted_files(symbol, start, end)),
        cells=tuple(_cells(certificate)),
    )


def month_window(instant: datetime) -> tuple[datetime, datetime]:
    """The UTC month that holds an instant, half-open."""
    start = utc(instant).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def render(card: ReportCard, picture: str) -> str:
    """The page.

    Args:
        card: what is on it.
        picture: file name or `data:` URI of the picture.
    """
    found = card.certificate
    lines = [
        f"# {found.symbol}, {found.start:%B %Y}: {card.verdict}",
        "",
        f"{found.present_minutes:,} of {found.expected_minutes:,} minutes ({found.completeness_pct:.2f} %);"
        f" {found.missing_minutes - found.unexplained_minutes:,} missing minutes are explained,"
        f" {found.unexplained_minutes:,} are not."
        + (f" Expected up to {found.as_of:%Y-%m-%d %H:%M} UTC." if found.as_of < found.end else ""),
        "",
        f"![a row per day, a cell per hour]({picture})",
        "",
        "Green: all minutes. Yellow: only known holes of the exchange. Red: minutes are missing.",
        "Grey: not due yet, or not traded.",
        "",
        "## Sources (minutes)",
        "",
        *_table(("stream", *_KINDS, "with a source"), _source_rows(found)),
        "",
        "Only a collector hears `book_ticker` (outside of 2023-05-16 to 2024-03-30) and `live`: they need no source.",
        "",
        "## Columns that are NULL for lack of a source",
        "",
        *_gaps(found),
        "",
        "## Checks (hours)",
        "",
        *_table(
            ("check", "passed", "failed", "severity"),
            [(name, f"{c['passed']:,}", f"{c['failed']:,}", CHECKS[name].severity) for name, c in card.checks.items()],
        ),
        "",
        "## Holes by cause",
        "",
        *_holes(found),
        "",
        "## Revised values",
        "",
        *(
            _table(
                ("stream", "column", "values"),
                [(stream, column, f"{count:,}") for (stream, column), count in sorted(card.revisions.items())],
            )
            if card.revisions
            else ["none"]
        ),
        "",
        "## Quarantine, open",
        "",
        *([f"- {line}" for line in card.rejected[:_SHOWN_HOLES]] or ["none"]),
        "",
        "## Files",
        "",
        ", ".join(f"{count:,} {tier} files" for tier, count in card.files.items()) + f"; data version"
        f" `{found.data_version[:16]}`, code {', '.join(found.code_versions) or '-'}",
        "",
    ]
    return "\n".join(lines)


def picture(card: ReportCard) -> bytes:
    """A PNG: a row per day, a cell per hour."""
    width, height = _CELL_PX
    image = Image.new("P", (24 * width, len(card.cells) // 24 * height), 0)
    states = list(_COLOURS)
    image.putpalette([255, 255, 255, *(part for state in states for part in _COLOURS[state])])
    draw = ImageDraw.Draw(image)
    for index, state in enumerate(card.cells):
        left, top = index % 24 * width, index // 24 * height
        draw.rectangle((left, top, left + width - 2, top + height - 2), fill=1 + states.index(state))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_report_card(catalog: Catalog, card: ReportCard) -> Path:
    """Write page and picture below the lake's root, each whole or not at all; returns the page's path."""
    found = card.certificate
    path = catalog.report_path(found.symbol, found.start)
    beside = path.with_suffix(".png")
    with disk_errors(f"report {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, content in ((beside, picture(card)), (path, render(card, beside.name).encode())):
            temp = target.with_name(f".{uuid4().hex}")
            try:
                temp.write_bytes(content)
                fsync_file(temp)
                temp.rename(target)
            finally:
                temp.unlink(missing_ok=True)
        fsync_dirs([path.parent])
    return path


def _column(revision: Revision) -> str:
    # Streams that are identified by an id name it after a `#`.
    return revision.column.partition("#")[0]


def _checks(partitions: Sequence[Partition]) -> dict[str, Counter[str]]:
    totals: dict[str, Counter[str]] = {name: Counter() for name in CHECKS}
    for partition in partitions:
        for outcome in outcomes_from_json(partition.checks):
            totals[outcome.name]["passed" if outcome.passed else "failed"] += 1
    return totals


def _files(partitions: Sequence[Partition], compacted: Sequence[CompactedFile]) -> dict[str, int]:
    held = {partition.start for partition in partitions}
    served = {hour for file in compacted for hour in file.served}
    tiers = Counter(file.tier for file in compacted)
    return {"month": tiers["month"], "day": tiers["day"], "hour": len(held - served)}


def _cells(certificate: Certificate) -> list[CellState]:
    count = (certificate.end - certificate.start) // HOUR
    expected = -((certificate.start - certificate.as_of) // HOUR)
    cells: list[CellState] = ["whole" if index < expected else "not expected" for index in range(count)]
    for hour in certificate.untraded_hours:
        cells[(hour - certificate.start) // HOUR] = "not expected"
    for hole in certificate.holes:
        first = (hole.start - certificate.start) // HOUR
        last = (hole.end - MINUTE - certificate.start) // HOUR
        for index in range(first, last + 1):
            if cells[index] != "lacking":
                cells[index] = "explained" if hole.explained else "lacking"
    return cells


def _source_rows(certificate: Certificate) -> list[tuple[str, ...]]:
    rows = []
    for stream, found in certificate.sources.items():
        total = sum(found.values())
        # A stream that is named for some hours only is the collector.
        percent = completeness_pct(total - found.get("none", 0), max(total, certificate.present_minutes))
        rows.append((stream, *(f"{found.get(kind, 0):,}" for kind in _KINDS), f"{percent:.2f} %"))
    return rows


def _gaps(certificate: Certificate) -> list[str]:
    """A line per stream, cause and number of minutes, with the columns that they concern."""
    columns: dict[tuple[str, str, int, bool], list[str]] = {}
    for gap in certificate.source_gaps:
        columns.setdefault((gap.stream, gap.cause, gap.minutes, gap.explained), []).append(gap.column)
    rows = [
        (stream, cause, f"{minutes:,}", ", ".join(names), "yes" if explained else "no")
        for (stream, cause, minutes, explained), names in sorted(
            columns.items(), key=lambda item: (item[0][3], item[0])
        )
    ]
    return _table(("stream", "cause", "minutes", "columns", "explained"), rows) if rows else ["none"]


def _holes(certificate: Certificate) -> list[str]:
    if not certificate.holes:
        return ["none"]
    by_cause: dict[tuple[str, bool, str], list[int]] = {}
    for hole in certificate.holes:
        by_cause.setdefault((hole.cause, hole.explained, hole.reference), []).append(hole.minutes)
    rows = [
        (cause, f"{len(minutes):,}", f"{sum(minutes):,}", reference if explained else "unexplained")
        for (cause, explained, reference), minutes in sorted(by_cause.items(), key=lambda item: -sum(item[1]))
    ]
    longest = sorted(certificate.holes, key=lambda hole: (-hole.minutes, hole.start))[:_SHOWN_HOLES]
    return [
        *_table(("cause", "holes", "minutes", "reference"), rows),
        "",
        "Longest:",
        "",
        *(f"- {hole.start:%Y-%m-%d %H:%M}, {hole.minutes:,} minutes: {hole.cause}" for hole in longest),
    ]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
