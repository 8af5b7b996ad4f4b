"""What a repair of a table would take: partitions, archives, bytes, weight, minutes.

Belongs here: choosing partitions from an audit, and estimating their cost before anything is asked for.
Does not belong here: launching (`console`), building (`build`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from lake_assets.audit.verdict import AuditReport
from lake_assets.lake import Lake
from lake_assets.schema.stream_use import StreamUse
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.windows import hours_between, runs_of
from lake_resources.binance.market import MARKETS
from lake_resources.clock import DAY, HOUR
from lake_resources.errors import SettingsError
from lake_resources.layout import TableLayout

_TYPICAL_TICKS_PER_HOUR = 60_000
"""Of a large symbol, where the lake has no answer of the stream to go by."""
_DOWNLOAD_BYTES_PER_S = 10_000_000
_BUILD_S_PER_DAY = 3.0
_RUN_S = 8.0
"""What a run costs before it does anything (design: 4 to 8 s)."""


@dataclass(frozen=True)
class RepairPlan:
    """A repair of one symbol's table, before it is launched.

    Attributes:
        hours: starts of partitions to build, hours or days, in order.
        reasons: how many of them have each audit code; those that are rebuilt by force, or of known holes that nobody
            tried to build yet, have none.
        left_out: wrong partitions beyond the cap.
        archives: files that are due and not in the lake, by stream.
        download_bytes: estimate of their size.
        rest_hours: hours without a due archive, which only REST can give.
        weight: estimate of request weight.
        minutes: estimate of the time it takes, wall-clock minutes.
        layout: of the table.
    """

    symbol: str
    hours: tuple[datetime, ...]
    reasons: Mapping[str, int]
    left_out: int
    archives: Mapping[str, int]
    download_bytes: int
    rest_hours: int
    weight: int
    minutes: float
    layout: TableLayout = UM_MINUTE.layout

    @property
    def days(self) -> int:
        """UTC days that the partitions lie in."""
        return len({hour.date() for hour in self.hours})

    @property
    def ranges(self) -> list[tuple[datetime, datetime]]:
        """Contiguous runs of partitions: starts of the first and of the last one."""
        step = self.layout.step
        return [(start, end - step) for start, end in runs_of(self.hours, step=step)]

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "symbol": self.symbol,
            # Of a table of days the two are one number.
            f"{self.layout.span}s": len(self.hours),
            "days": self.days,
            "left_out": self.left_out,
            "reasons": dict(self.reasons),
            "archives": dict(self.archives),
            "download_bytes": self.download_bytes,
            "rest_hours": self.rest_hours,
            "weight": self.weight,
            "minutes": round(self.minutes, 1),
            "ranges": [[start.isoformat(), end.isoformat()] for start, end in self.ranges],
        }


def plan_repair(
    lake: Lake,
    report: AuditReport,
    *,
    now: datetime,
    max_hours: int | None = None,
    force: bool = False,
    weight_share: float = 0.8,
    hours_per_run: int = 168,
) -> RepairPlan:
    """The partitions of an audit that a repair takes, and what it would cost. Asks no source.

    Those are the wrong ones. One that lies wholly in known holes is no defect; it is taken once all the same, so
    that it is accounted for: the watermark and the closing of its day wait for it.

    Args:
        lake: on the table that was audited.
        report: the audit that says what is wrong.
        now: decides which archives are due.
        max_hours: take at most so many, the oldest first.
        force: take every partition of the audit, also those with nothing wrong.
        weight_share: share of the exchange's weight that the lake uses.
        hours_per_run: partitions that one run takes.

    Raises:
        SettingsError: the cap is not positive.
    """
    if max_hours is not None and max_hours < 1:
        raise SettingsError(
            f"at most {max_hours} {lake.store.layout.span}s are none", remedy="Give --max-missing-hours 1 or more"
        )
    layout = lake.store.layout
    used = lake.table.uses_carrying(lake.max_ffill_minutes)
    rows = used[layout.row_stream]
    # With its archive due, an hour of known holes is committed without rows or refused, and is not taken again.
    once = {v.hour for v in report.hours if v.untried and rows.archive_due(v.hour.date(), now)}
    chosen = [verdict for verdict in report.hours if force or verdict.codes or verdict.hour in once]
    taken = chosen if max_hours is None else chosen[:max_hours]
    starts = tuple(verdict.hour for verdict in taken)
    # Raw inputs are kept and asked for by hours, whatever the length of a partition.
    hours = [hour for start in starts for hour in hours_between(start, start + layout.step)]
    reasons = Counter(name for verdict in taken for name in set(verdict.names))
    wanted = {name: _missing_archives(lake, report.symbol, use, hours, now) for name, use in used.items()}
    sizes = {name: _zip_bytes(lake, report.symbol, used[name], report.start, report.end) for name in wanted}
    download = sum(sizes[name] * len(periods) for name, periods in wanted.items())
    rest_hours = [hour for hour in hours if lake.ask_rest and not rows.archive_due(hour.date(), now)]
    weight = sum(_weight(lake, report.symbol, use, rest_hours, now) for use in used.values())
    seconds = (
        download / _DOWNLOAD_BYTES_PER_S
        + len({hour.date() for hour in hours}) * _BUILD_S_PER_DAY
        + sum(-(-((end - start) // layout.step) // hours_per_run) for start, end in runs_of(starts, step=layout.step))
        * _RUN_S
    )
    return RepairPlan(
        report.symbol,
        starts,
        dict(reasons),
        len(chosen) - len(taken),
        {name: len(periods) for name, periods in wanted.items() if periods},
        download,
        len(rest_hours),
        weight,
        seconds / 60 + weight / (MARKETS[layout.market].budget.capacity * weight_share),
        layout,
    )


def _missing_archives(lake: Lake, symbol: str, use: StreamUse, hours: Sequence[datetime], now: datetime) -> set[str]:
    """Periods of files that the hours need, that are due and that the lake does not have."""
    if not hours:
        return set()
    days: set[date] = set()
    for start, end in runs_of(hours):
        first = start - use.look_back_hours * HOUR
        days |= {
            first.date() + index * DAY
            for index in range((end - HOUR).date().toordinal() - first.date().toordinal() + 1)
        }
    due = {use.period(day) for day in days if use.archive_due(day, now)}
    first_hour, last_hour = hours[0] - use.look_back_hours * HOUR, hours[-1] + HOUR
    return due - {row.period for row in lake.ledger.archives_between(symbol, use.name, first_hour, last_hour)}


def _zip_bytes(lake: Lake, symbol: str, use: StreamUse, start: datetime, end: datetime) -> int:
    """Size of a file of the stream: the average of those that the lake has, else a typical one."""
    held = lake.ledger.archives_between(symbol, use.name, start - 30 * DAY, end)
    return sum(row.size_bytes for row in held) // len(held) if held else use.stream.files.typical_bytes


def _weight(lake: Lake, symbol: str, use: StreamUse, hours: Sequence[datetime], now: datetime) -> int:
    """Weight of asking REST for these hours of a stream, as far back as it is kept.

    Streams that are told of in few rows cost next to nothing, or count against no weight; they are left out.
    """
    rest = use.stream.rest
    kept = [hour for hour in hours if rest and (rest.retention is None or hour >= now - rest.retention)]
    if rest is None or not kept:
        return 0
    page = rest.endpoint.cost({"limit": rest.endpoint.page})
    if rest.paging == "grid":
        lengths = [use.rows_per_hour * ((end - start) // HOUR) for start, end in runs_of(kept, longest=24)]
        return sum(page * -(-rows // rest.endpoint.page) for rows in lengths)
    if rest.paging != "ids":
        return 0
    held = lake.ledger.captures_between(symbol, use.name, kept[0] - DAY, kept[-1] + HOUR)
    rows = sum(capture.row_count for capture in held) // len(held) if held else _TYPICAL_TICKS_PER_HOUR
    return len(kept) * page * (rows // rest.endpoint.page + 1)
