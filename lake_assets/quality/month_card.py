"""The report card of a symbol's month: one page of Markdown and one small picture.

Belongs here: gathering the numbers, the page, the picture, writing both. Does not belong here: judging (`validation`),
Dagster. Equal data give an equal page: nothing of the run's time is on it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from PIL import Image, ImageDraw

from lake_assets.at_rest import TableStore
from lake_assets.inputs.excuses import holes_known
from lake_assets.quality.certificate import Certificate, certify
from lake_assets.schema.column import LIVE
from lake_assets.schema.table import Table
from lake_assets.validation.completeness import completeness_pct
from lake_assets.validation.hour_verdict import outcomes_now
from lake_assets.validation.rules import all_excused
from lake_resources.clock import DAY
from lake_resources.storage.catalog import Catalog, utc
from lake_resources.storage.disk import disk_errors, fsync_dirs, fsync_file
from lake_resources.storage.ledger.ledger import CompactedFile, Partition, Revision

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
        checks: by check, partitions by `passed` and `failed`.
        revisions: revised values by stream and column.
        rejected: open quarantine entries as lines; without those of partitions that known holes explain.
        files: how many files of partitions, days and months the rows are read from.
        cells: state of each partition of the month, in order.
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
        checks = self.certificate.table.checks
        failed = any(counts["failed"] for name, counts in self.checks.items() if checks[name].severity == "error")
        doubted = any(found.kind != "provisional" for found in self.certificate.doubts.values())
        if self.certificate.unexplained_rows or self.certificate.unexplained_gaps or self.rejected or failed or doubted:
            return "LOOK"
        return "CLEAN" if self.certificate.clean else "OPEN"


def report_card(store: TableStore, symbol: str, month: datetime, *, now: datetime, lag_minutes: int) -> ReportCard:
    """The report card of the UTC month that holds `month`.

    Args:
        store: the table.
        symbol: whose rows.
        month: any instant of the month.
        now: decides which rows must exist.
        lag_minutes: safety lag.
    """
    start, end = month_window(month)
    certificate = certify(store, symbol, start, end, now=now, lag_minutes=lag_minutes)
    partitions = store.ledger.partitions(symbol, start, end)
    known = holes_known(store.ledger, symbol, start, end)
    return ReportCard(
        certificate=certificate,
        checks=_checks(store.table, partitions),
        revisions=Counter((row.stream, _column(row)) for row in store.ledger.revisions(symbol, start, end)),
        rejected=tuple(
            f"{entry.start:%Y-%m-%d %H:%M}: {', '.join(entry.codes)}: {entry.detail}"
            for entry in store.ledger.quarantined(symbol, start, end)
            if not all_excused(known, store.table.row_stream, entry.start, entry.start + store.layout.step)
        ),
        files=_files(store.layout.span, partitions, store.ledger.compacted_files(symbol, start, end)),
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
    table, word, span = found.table, found.table.row_word, found.table.layout.span
    lines = [
        f"# {found.symbol}, {found.start:%B %Y}: {card.verdict}",
        "",
        f"{found.present_rows:,} of {found.expected_rows:,} {word}s ({found.completeness_pct:.2f} %);"
        f" {found.missing_rows - found.unexplained_rows:,} missing {word}s are explained,"
        f" {found.unexplained_rows:,} are not."
        + (f" Expected up to {table.row_text(found.as_of)} UTC." if found.as_of < found.end else ""),
        "",
        f"![a row per day, a cell per {span}]({picture})",
        "",
        f"Green: all {word}s. Yellow: only known holes of the exchange. Red: {word}s are missing.",
        "Grey: not due yet, or not traded.",
        "",
        f"## Sources ({word}s)",
        "",
        *_table(("stream", *_KINDS, "with a source"), _source_rows(found)),
        "",
        _collected(table),
        "",
        "## Columns that are NULL for lack of a source",
        "",
        *_gaps(found),
        "",
        f"## Checks ({span}s)",
        "",
        *_table(
            ("check", "passed", "failed", "severity"),
            [
                (name, f"{c['passed']:,}", f"{c['failed']:,}", found.table.checks[name].severity)
                for name, c in card.checks.items()
            ],
        ),
        "",
        "## Holes by cause",
        "",
        *_holes(found),
        "",
        *_doubts(found),
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


def _collected(table: Table) -> str:
    """Which streams need no source, because only a collector hears them at times; nothing where there is none."""
    if LIVE not in table.origins.values():
        return ""
    ended = [use.stream for use in table.streams if use.stream.archive and use.stream.archive.last_day]
    spans = [f"`{each.name}` (outside of {each.files.first_day} to {each.files.last_day})" for each in ended]
    return f"Only a collector hears {' and '.join([*spans, f'`{LIVE}`'])}: they need no source."


def picture(card: ReportCard) -> bytes:
    """A PNG: a row per day, a cell per partition."""
    (width, height), per_day = _CELL_PX, DAY // card.certificate.table.layout.step
    image = Image.new("P", (per_day * width, len(card.cells) // per_day * height), 0)
    states = list(_COLOURS)
    image.putpalette([255, 255, 255, *(part for state in states for part in _COLOURS[state])])
    draw = ImageDraw.Draw(image)
    for index, state in enumerate(card.cells):
        left, top = index % per_day * width, index // per_day * height
        draw.rectangle((left, top, left + width - 2, top + height - 2), fill=1 + states.index(state))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_report_card(catalog: Catalog, card: ReportCard, labelled: Callable[[str], str] = lambda page: page) -> Path:
    """Write page and picture below the lake's root, each whole or not at all; returns the page's path.

    Args:
        catalog: of the lake.
        card: what is on the page.
        labelled: what is made of the page before it is written.
    """
    found = card.certificate
    path = catalog.report_path(found.symbol, found.start)
    beside = path.with_suffix(".png")
    with disk_errors(f"report {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, content in ((beside, picture(card)), (path, labelled(render(card, beside.name)).encode())):
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


def _checks(table: Table, partitions: Sequence[Partition]) -> dict[str, Counter[str]]:
    totals: dict[str, Counter[str]] = {name: Counter() for name in table.checks}
    for partition in partitions:
        for outcome in outcomes_now(partition.checks, partition.verdict, partition.verdict_detail, table.checks):
            totals[outcome.name]["passed" if outcome.passed else "failed"] += 1
    return totals


def _files(span: str, partitions: Sequence[Partition], compacted: Sequence[CompactedFile]) -> dict[str, int]:
    held = {partition.start for partition in partitions}
    served = {start for file in compacted for start in file.served}
    tiers: Counter[str] = Counter(file.tier for file in compacted)
    return {"month": tiers["month"], "day": tiers["day"]} | {span: tiers[span] + len(held - served)}


def _cells(certificate: Certificate) -> list[CellState]:
    step, grain = certificate.table.layout.step, certificate.table.layout.grain
    count = (certificate.end - certificate.start) // step
    expected = -((certificate.start - certificate.as_of) // step)
    cells: list[CellState] = ["whole" if index < expected else "not expected" for index in range(count)]
    for partition in certificate.untraded:
        cells[(partition - certificate.start) // step] = "not expected"
    for hole in certificate.holes:
        first = (hole.start - certificate.start) // step
        last = (hole.end - grain - certificate.start) // step
        for index in range(first, last + 1):
            if cells[index] != "lacking":
                cells[index] = "explained" if hole.explained else "lacking"
    return cells


def _source_rows(certificate: Certificate) -> list[tuple[str, ...]]:
    rows = []
    for stream, found in certificate.sources.items():
        total = sum(found.values())
        # A stream that is named for some partitions only is the collector.
        percent = completeness_pct(total - found.get("none", 0), max(total, certificate.present_rows))
        rows.append((stream, *(f"{found.get(kind, 0):,}" for kind in _KINDS), f"{percent:.2f} %"))
    return rows


def _gaps(certificate: Certificate) -> list[str]:
    """A line per stream, cause and number of rows, with the columns that they concern."""
    columns: dict[tuple[str, str, int, bool], list[str]] = {}
    for gap in certificate.source_gaps:
        columns.setdefault((gap.stream, gap.cause, gap.rows, gap.explained), []).append(gap.column)
    rows = [
        (stream, cause, f"{count:,}", ", ".join(names), "yes" if explained else "no")
        for (stream, cause, count, explained), names in sorted(columns.items(), key=lambda item: (item[0][3], item[0]))
    ]
    return (
        _table(("stream", "cause", f"{certificate.table.row_word}s", "columns", "explained"), rows)
        if rows
        else ["none"]
    )


def _holes(certificate: Certificate) -> list[str]:
    if not certificate.holes:
        return ["none"]
    table = certificate.table
    by_cause: dict[tuple[str, bool, str], list[int]] = {}
    for hole in certificate.holes:
        by_cause.setdefault((hole.cause, hole.explained, hole.reference), []).append(hole.rows)
    rows = [
        (cause, f"{len(counts):,}", f"{sum(counts):,}", reference if explained else "unexplained")
        for (cause, explained, reference), counts in sorted(by_cause.items(), key=lambda item: -sum(item[1]))
    ]
    longest = sorted(certificate.holes, key=lambda hole: (-hole.rows, hole.start))[:_SHOWN_HOLES]
    return [
        *_table(("cause", "holes", f"{table.row_word}s", "reference"), rows),
        "",
        "Longest:",
        "",
        *(f"- {table.row_text(hole.start)}, {hole.rows:,} {table.row_word}s: {hole.cause}" for hole in longest),
    ]


def _doubts(certificate: Certificate) -> list[str]:
    """Partitions whose verdict is not clean, with why; no section where there is none."""
    if not certificate.doubts:
        return []
    text = certificate.table.row_text
    lines = [f"- {text(start)}: {doubt.text}" for start, doubt in certificate.doubts.items()]
    more = [f"- {len(lines) - _SHOWN_HOLES} more"] if len(lines) > _SHOWN_HOLES else []
    return ["## In doubt", "", *lines[:_SHOWN_HOLES], *more, ""]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
