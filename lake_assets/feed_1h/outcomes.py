"""The five checks of an hour of the feed: texts, and verdicts as outcomes.

Belongs here: what each check says about one hour, with its numbers. Pure.
Does not belong here: the rules themselves (`window`, `history`), what Dagster makes of an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import polars as pl

from lake_assets.feed_1h.bars import BAR_COLUMNS, SYMBOL
from lake_assets.feed_1h.history import Audit, Continuity, continuity, unsound_rows
from lake_assets.feed_1h.window import WindowVerdict
from lake_assets.schema.check_spec import CheckSpec
from lake_assets.schema.known_holes import holes_of, known_holes
from lake_assets.validation.dead_bars import DeadBars, dead_bars
from lake_assets.validation.outcome import CheckOutcome, outcome_of
from lake_assets.validation.rulepack import RulepackResult, rulepack
from lake_resources.bar_values import VALUE_COLUMNS
from lake_resources.binance.um_streams import AGG_TRADES, KLINES_1M
from lake_resources.clock import HOUR
from lake_resources.known_hole import KnownHole

_RULES_REACH = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as the table: UTC without a zone

FEED_CHECKS: dict[str, CheckSpec] = {
    spec.name: spec
    for spec in (
        CheckSpec(
            "api_db_parity", "error", gate=True,
            text="The exchange's bars of the window before the hour equal the table's rows exactly, and so does the "
            "hour's own row",
        ),
        CheckSpec(
            "continuity", "error", gate=False,
            text="The last 720 + buffer hours of the table: no gap, no duplicate, no NULL or NaN",
        ),
        CheckSpec("ohlc", "error", gate=True, text="low ≤ open, close ≤ high; prices positive and finite; volume ≥ 0"),
        CheckSpec(
            "append_only", "error", gate=False,
            text="No earlier row changed, went or came since it was appended: its running hash is still the same",
        ),
        CheckSpec(
            "inference_file", "error", gate=False,
            text="The newest hour of a run has an inference file of 720 + buffer + 1 consecutive hours ending with it",
            counts=("due",),
        ),
    )
}  # fmt: skip
"""`inference_file` does not fail a run: a young table is sound and only has not enough history yet."""


def recent_rules(rows: pl.DataFrame, declared: Sequence[KnownHole] = ()) -> RulepackResult:
    """The rulepack over the last 30 days of the table, as rules that were not written for it.

    Args:
        rows: ROW_SCHEMA in order of time; without rows it fails.
        declared: outages that the lake's ledger knows, beside those that come with the project.
    """
    newest = rows["timestamp"].max()
    end = (newest if isinstance(newest, datetime) else _EPOCH).replace(tzinfo=UTC) + HOUR
    first = rows["timestamp"].min()
    start = end - _RULES_REACH
    if isinstance(first, datetime):
        start = max(start, first.replace(tzinfo=UTC))
    outages = outages_of(declared, start, end)
    return rulepack(rows, "btcusdt_1h", start, end, HOUR, holes=outages)


def outages_of(declared: Sequence[KnownHole], start: datetime, end: datetime) -> list[KnownHole]:
    """Known holes of the bars, and of the trades that they are made of, that touch `[start, end)`."""
    known = holes_of([*known_holes(), *declared], SYMBOL, start, end)
    return [hole for hole in known if hole.stream in {KLINES_1M.name, AGG_TRADES.name}]


def dead_hours(rows: pl.DataFrame, hours: Sequence[datetime], declared: Sequence[KnownHole]) -> list[DeadBars]:
    """Dead bars among hours of the table (UTC-naive, in order) that no known outage excuses."""
    near = rows.filter(pl.col("timestamp").is_between(hours[0] - 24 * HOUR, hours[-1] + HOUR))
    outages = outages_of(declared, *(at.replace(tzinfo=UTC) for at in (hours[0] - 24 * HOUR, hours[-1] + 2 * HOUR)))
    first, last = hours[0].replace(tzinfo=UTC), hours[-1].replace(tzinfo=UTC)
    found = dead_bars(near, BAR_COLUMNS, HOUR, outages)
    return [each for each in found if not each.excused and each.start <= last and each.end > first]


@dataclass(frozen=True)
class TableFindings:
    """What an hour's checks look at besides its verdict.

    Attributes:
        rows: the table after the run; None where it could not be opened.
        audit: of all rows; None where the table could not be opened.
        history_hours: 720 + buffer.
        unavailable: why the table could not be opened.
    """

    rows: pl.DataFrame | None
    audit: Audit | None
    history_hours: int
    unavailable: str | None = None

    @cached_property
    def unsound(self) -> list[tuple[datetime, str]]:
        """Bars of the whole table that contradict themselves, with the reason, in time order."""
        span = self._span
        return [] if self.rows is None or span is None else unsound_rows(self.rows, span[1], _hours_of(*span))

    def continuity_upto(self, hour: datetime) -> Continuity:
        """What was found in the last hours of the table as it was at an hour (UTC-naive).

        A run may seed a month of hours, each with the month before it: of a table without any fault only the length
        differs from hour to hour.
        """
        if self._sound_span is None:
            return self._looked_at(hour)
        first, last = self._sound_span
        return Continuity(max(0, min(self.history_hours, _hours_of(first, min(hour, last)))), 0, 0, 0, None)

    @cached_property
    def _span(self) -> tuple[datetime, datetime] | None:
        """First and last hour of the table; None of an empty one."""
        if self.rows is None:
            return None
        first, last = self.rows["timestamp"].min(), self.rows["timestamp"].max()
        return (first, last) if isinstance(first, datetime) and isinstance(last, datetime) else None

    @cached_property
    def _sound_span(self) -> tuple[datetime, datetime] | None:
        """The same, None also when there is any fault between them."""
        span = self._span
        if self.rows is None or span is None or not continuity(self.rows, span[1], _hours_of(*span)).sound:
            return None
        return span

    def _looked_at(self, hour: datetime) -> Continuity:
        assert self.rows is not None
        upto = self.rows.filter(pl.col("timestamp") <= hour)["timestamp"].max()
        return continuity(self.rows, upto if isinstance(upto, datetime) else hour, self.history_hours)


def _hours_of(first: datetime, last: datetime) -> int:
    return (last - first) // HOUR + 1


def hour_outcomes(
    verdict: WindowVerdict,
    found: TableFindings,
    *,
    skew_s: float | None,
    inference: Mapping[str, int | str | None] | None,
) -> tuple[CheckOutcome, ...]:
    """The outcomes of all five checks for one hour.

    Args:
        verdict: of the hour.
        found: the table.
        skew_s: host clock minus exchange clock, seconds.
        inference: `problem` and further metadata of the file; None for hours that are not the newest of their run.
    """
    return (
        _parity(verdict, found, skew_s),
        _continuity(verdict.hour, found),
        _ohlc(verdict, found),
        _append_only(found),
        _inference(inference),
    )


def _parity(verdict: WindowVerdict, found: TableFindings, skew_s: float | None) -> CheckOutcome:
    first = verdict.differences[0].text() if verdict.differences else None
    own = 0
    if found.rows is not None and verdict.bar is not None:
        # What was appended is read back: also the first row of a table has then been compared.
        stored = found.rows.filter(pl.col("timestamp") == verdict.hour).select(VALUE_COLUMNS).rows()
        own = int(stored == [verdict.bar])
    return _outcome(
        "api_db_parity",
        verdict.status in {"append", "present"} and own == 1,
        {
            "outcome": verdict.status,
            "pulled": verdict.pulled,
            "validated": verdict.validated,
            "own_row": own,
            "mismatches": len(verdict.differences),
            "first_mismatch": first,
            "clock_skew_s": None if skew_s is None else round(skew_s, 3),
            "reason": verdict.reason or None,
        },
    )


def _continuity(hour: datetime, found: TableFindings) -> CheckOutcome:
    if found.rows is None:
        return _outcome("continuity", False, {"reason": found.unavailable})
    seen = found.continuity_upto(hour)
    return _outcome(
        "continuity",
        seen.sound,
        {
            "hours": seen.hours,
            "expected_hours": found.history_hours,
            "missing": seen.missing,
            "duplicates": seen.duplicates,
            "not_numbers": seen.not_numbers,
            "first_bad": None if seen.first_bad is None else f"{seen.first_bad:%Y-%m-%d %H:%M}",
        },
    )


def _ohlc(verdict: WindowVerdict, found: TableFindings) -> CheckOutcome:
    since = verdict.hour - (found.history_hours - 1) * HOUR
    bad = [each for each in found.unsound if since <= each[0] <= verdict.hour]
    first = f"{bad[0][0]:%Y-%m-%d %H:%M}: {bad[0][1]}" if bad else None
    refused = verdict.code in {"ohlc", "nan"}
    return _outcome(
        "ohlc",
        not bad and not refused,
        {"violations": len(bad) + refused, "first_violation": verdict.reason if refused else first},
    )


def _append_only(found: TableFindings) -> CheckOutcome:
    if found.audit is None:
        return _outcome("append_only", False, {"reason": found.unavailable})
    changed = found.audit.changed
    return _outcome(
        "append_only",
        not changed,
        {
            "rows": found.audit.rows,
            "changed": len(changed),
            "first_changed": f"{changed[0]:%Y-%m-%d %H:%M}" if changed else None,
            "running_hash": found.audit.running_hash,
        },
    )


def _inference(found: Mapping[str, int | str | None] | None) -> CheckOutcome:
    if found is None:
        return _outcome("inference_file", True, {"due": 0})
    return _outcome("inference_file", found.get("problem") is None, {"due": 1, **found})


def _outcome(name: str, passed: bool, metadata: Mapping[str, int | float | str | None]) -> CheckOutcome:
    return outcome_of(FEED_CHECKS[name], passed=passed, metadata=metadata)
