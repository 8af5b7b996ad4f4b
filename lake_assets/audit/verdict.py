"""What an audit says: codes of an hour, and the sum of a range.

Belongs here: the codes with their texts, the records of a verdict, their JSON form.
Does not belong here: looking at files or ledger (`files`, `scan`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lake_assets.validation.completeness import completeness_pct

CODES: dict[str, str] = {
    "missing_file": "there is no file for the hour",
    "unreadable_parquet": "the file is not Parquet that can be read whole",
    "missing_columns": "declared columns are not in the file",
    "unknown_columns": "the file has columns that are not declared",
    "wrong_types": "columns have another type than declared",
    "column_order": "the declared columns are there in another order",
    "empty_partition": "no row lies in the window, and known holes do not name all its minutes",
    "rows_outside_hour": "rows of another hour are in the file",
    "duplicate_timestamps": "a minute is there more than once",
    "row_count_mismatch": "not exactly the expected minutes",
    "timestamp_gap_or_order_error": "as many rows as expected, but other minutes, or out of order",
    "hard_required_nulls": "NULL or NaN in a required column that no known hole excuses",
    "out_of_bounds": "a value is outside its declared bounds or not finite",
    "ohlc_broken": "prices or volumes contradict themselves",
    "content_hash_mismatch": "the file's bytes are not the ones that were committed",
    "ledger_without_file": "the ledger has the hour, the disk does not",
    "file_without_ledger": "the disk has the hour, the ledger does not",
    "ledger_rows_mismatch": "the ledger says another number of rows than the file has",
    "ledger_span_mismatch": "the ledger says other first and last minutes than the file has",
    "ledger_incomplete": "the ledger calls a closed hour with all its rows incomplete",
    "schema_hash_mismatch": "the hour was committed under another declaration of the table",
    "contradicted": "two sources of the hour say what cannot both be true",
    "partial": "a stream of the hour lacks minutes, which are NULL",
    "unproven": "values of the hour that nothing speaks for or against",
    "provisional": "the hour is whole, and a source of it may still be replaced",
    "quarantined": "the newest attempt at the hour broke the gate or had no source, and nothing is committed",
    "not_in_dagster": "committed, but Dagster shows the partition as not materialized",
    "only_in_dagster": "Dagster shows the partition as materialized, but nothing is committed",
}
"""Every code an audit can give. A code never changes its meaning; details follow it after a colon."""


@dataclass(frozen=True)
class HourVerdict:
    """One hour of the minute table.

    Attributes:
        hour: start of the hour, UTC.
        codes: what is wrong, each `code` or `code:details`; empty where nothing is.
        expected_rows: minutes that must exist in the window (known holes count as expected).
        present_rows: how many of those minutes exist.
        untried: known holes name all its minutes, and nobody has tried to build it: no defect, but the watermark does
            not pass it and its day is not closed before somebody did.
    """

    hour: datetime
    codes: tuple[str, ...]
    expected_rows: int
    present_rows: int
    untried: bool = False

    @property
    def completeness_pct(self) -> float:
        """Percent of the expected minutes that exist, never rounded up."""
        return completeness_pct(self.present_rows, self.expected_rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The codes without details."""
        return tuple(code.partition(":")[0] for code in self.codes)


@dataclass(frozen=True)
class AuditReport:
    """Verdicts on the hours of `[start, end)` of one symbol, in order; `from_cache` were not read anew."""

    symbol: str
    start: datetime
    end: datetime
    hours: tuple[HourVerdict, ...]
    from_cache: int = 0
    dagster_compared: bool = False

    @property
    def wrong(self) -> list[HourVerdict]:
        """Hours with something wrong."""
        return [verdict for verdict in self.hours if verdict.codes]

    @property
    def counts(self) -> dict[str, int]:
        """How many hours have each code, the most frequent first."""
        counted = Counter(name for verdict in self.hours for name in set(verdict.names))
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    @property
    def expected_rows(self) -> int:
        """Minutes that must exist."""
        return sum(verdict.expected_rows for verdict in self.hours)

    @property
    def present_rows(self) -> int:
        """Minutes that do exist."""
        return sum(verdict.present_rows for verdict in self.hours)

    def as_json(self) -> dict[str, Any]:
        """JSON values: totals, counts by code, every hour with something wrong, and how complete each hour is."""
        return {
            "symbol": self.symbol,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "hours": len(self.hours),
            "ok": len(self.hours) - len(self.wrong),
            "wrong": len(self.wrong),
            "from_cache": self.from_cache,
            "dagster_compared": self.dagster_compared,
            "expected_minutes": self.expected_rows,
            "present_minutes": self.present_rows,
            # Of nothing there is no share.
            "completeness_pct": completeness_pct(self.present_rows, self.expected_rows) if self.hours else None,
            "codes": self.counts,
            "wrong_hours": [
                {
                    "hour": verdict.hour.isoformat(),
                    "codes": list(verdict.codes),
                    "completeness_pct": verdict.completeness_pct,
                }
                for verdict in self.wrong
            ],
            "completeness_pct_by_hour": {verdict.hour.isoformat(): verdict.completeness_pct for verdict in self.hours},
        }
