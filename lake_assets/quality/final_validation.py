"""Whether a root holds what the platform promises: one word per table and symbol, and one for all.

Belongs here: the judgement, from certificates, audit and rulepack. Does not belong here: any of these three, printing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from lake_assets.at_rest import LakeAtRest
from lake_assets.audit.rulepack_bars import check_bars
from lake_assets.audit.scan import audit_partitions
from lake_assets.inputs.excuses import holes_known
from lake_assets.quality.certificate import Certificate, certify
from lake_assets.schema.table import Table
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE
from lake_assets.validation.rule_report import overall
from lake_assets.validation.rules import all_excused
from lake_resources.binance.market import MARKETS
from lake_resources.clock import HOUR
from lake_resources.errors import StorageError
from lake_resources.settings import LakeSettings
from lake_resources.storage.extents import require_extents
from lake_resources.yahoo.tickers import ticker_name

State = Literal["PASS", "EXPLAINED", "FAIL"]
NO_DATA = "no data"
UNDER_WAY = timedelta(minutes=6)
"""The newest rows may be this old while the platform is well: builds come every two minutes, and take their time."""
LOOK_COMES_WITHIN = HOUR
"""A table's second look at a day that is over may come so long after the earliest moment that settles the day."""


@dataclass(frozen=True)
class Judged:
    """A table of one symbol.

    Attributes:
        table: name of the table.
        symbol: or the name of a ticker.
        rows: rows that are there and had to be.
        state: `EXPLAINED`: there is no row, and none was due, for reasons that are on record (closed exchanges).
        reasons: why it is not `PASS`; of a `PASS`, what cannot be judged yet.
    """

    table: str
    symbol: str
    rows: int
    state: State
    reasons: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Its fields."""
        return {
            "table": self.table,
            "symbol": self.symbol,
            "rows": self.rows,
            "state": self.state,
            "reasons": list(self.reasons),
        }


def wanted(settings: LakeSettings) -> list[tuple[Table, str]]:
    """Tables and symbols that must have rows wherever the platform runs with these settings."""
    return [
        *((UM_MINUTE, symbol) for symbol in settings.symbols),
        *((SPOT_BARS_1S, symbol) for symbol in settings.spot_symbols),
        *((MACRO_MINUTE, ticker_name(ticker)) for ticker in settings.macro_tickers),
    ]


def judge_root(settings: LakeSettings, lake: LakeAtRest, *, until: datetime) -> list[Judged]:
    """Every table and symbol that the settings name; klines too, where a backfill brought any.

    Args:
        settings: which symbols.
        lake: the root.
        until: when the platform was ended, or now while it runs, UTC.
    """
    pairs = wanted(settings)
    for table in SPOT_KLINES.values():
        ledger = lake.of(table).ledger
        pairs += [(table, symbol) for symbol in settings.spot_symbols if ledger.first_partition(symbol) is not None]
    return [judge_symbol(lake.of(table), symbol, until) for table, symbol in pairs]


def nothing_there(settings: LakeSettings) -> list[Judged]:
    """What is said of a root without a lake."""
    return [Judged(table.name, symbol, 0, "FAIL", (NO_DATA,)) for table, symbol in wanted(settings)]


def judge_symbol(lake: LakeAtRest, symbol: str, until: datetime) -> Judged:
    """One table of one symbol, from its first partition to the newest row that is due at `until`."""
    table, layout, ledger = lake.table, lake.store.layout, lake.ledger
    due = until - UNDER_WAY
    first = ledger.first_partition(symbol)
    if first is None or layout.row_start(due) <= first:
        day = layout.start_of(until)
        excused = all_excused(holes_known(ledger, symbol, day, until), table.row_stream, day, until)
        rows = sum(row.row_count for row in ledger.partitions(symbol, first or day, until + layout.step))
        if rows:
            try:  # none of them is due, so no audit looks at them: that they are those of the ledger can be told
                require_extents(lake.store, symbol, first or day, until + layout.step)
            except StorageError as error:
                return Judged(table.name, symbol, rows, "FAIL", (str(error),))
            return Judged(table.name, symbol, rows, "PASS")
        if excused:
            return Judged(table.name, symbol, 0, "EXPLAINED", ("no row was due",))
        return Judged(table.name, symbol, 0, "FAIL", (NO_DATA,))
    end = layout.row_start(due)
    certificate = certify(lake.store, symbol, first, end, now=due, lag_minutes=lake.safety_lag_minutes)
    settled = _settled_until(table, until, end)
    missing, late, undecided = _unexplained(certificate, settled, _newest(lake, symbol, first, until))
    reasons = [*_missing(missing, table), *_stopped(late, table), *_audited(lake, symbol, first, settled, due)]
    if not certificate.present_rows and not reasons:
        return Judged(table.name, symbol, 0, "EXPLAINED", ("no row was due",))
    if not certificate.present_rows:
        reasons.insert(0, NO_DATA)
    # What the audit found damaged does not read.
    elif (
        not reasons
        and table.layout.market in MARKETS
        and overall([check_bars(lake, symbol, first, certificate.as_of)]) == "FAIL"
    ):
        reasons.append("rules R1 to R7: FAIL; `lake validate-rules` says why")
    if reasons:
        return Judged(table.name, symbol, certificate.present_rows, "FAIL", tuple(reasons))
    return Judged(table.name, symbol, certificate.present_rows, "PASS", tuple(_undecided(undecided, table)))


def verdict(found: Sequence[Judged]) -> Literal["PASS", "FAIL"]:
    """One word for all: PASS if nothing fails and something was there to be judged."""
    states = {each.state for each in found}
    return "PASS" if "FAIL" not in states and "PASS" in states else "FAIL"


def _missing(count: int, table: Table) -> Iterable[str]:
    return [f"{count:,} {table.row_word}s missing without an explanation"] if count else []


def _settled_until(table: Table, until: datetime, end: datetime) -> datetime:
    """Rows before this are there, or have their explanation, or are missing; of later ones a source may be silent."""
    if table.second_look_after is None:
        return end
    return min(end, table.layout.start_of(until - table.second_look_after - LOOK_COMES_WITHIN))


def _newest(lake: LakeAtRest, symbol: str, first: datetime, until: datetime) -> datetime:
    """Time of the newest committed row, or of the first partition where there is none."""
    held = lake.ledger.partition_facts(symbol, first, until + lake.store.layout.step)
    return max((row.max_ts for row in held if row.max_ts is not None), default=first)


def _unexplained(certificate: Certificate, settled: datetime, newest: datetime) -> tuple[int, int, int]:
    """Rows without an explanation: those that are missing, those after which none came, those that may yet be told."""
    table = certificate.table
    holes = [(hole.start, hole.end) for hole in certificate.holes if not hole.explained]

    def rows(start: datetime, end: datetime) -> int:
        return sum(max(timedelta(0), min(last, end) - max(at, start)) // table.layout.grain for at, last in holes)

    missing = rows(certificate.start, settled)
    late = rows(max(settled, newest), certificate.as_of - table.told_late)
    return missing, late, certificate.unexplained_rows - missing - late


def _stopped(count: int, table: Table) -> Iterable[str]:
    return [f"none of the newest {count:,} {table.row_word}s came, and its sessions go on"] if count else []


def _undecided(count: int, table: Table) -> Iterable[str]:
    if not count:
        return []
    return [f"{count:,} {table.row_word}s without a row so far; once the {table.layout.span} is over they are settled"]


def _audited(lake: LakeAtRest, symbol: str, start: datetime, settled: datetime, due: datetime) -> list[str]:
    end, lag = lake.store.layout.row_start(due), lake.safety_lag_minutes
    report = audit_partitions(lake.store, symbol, start, end, now=due, lag_minutes=lag, full=True)
    # What a partition lacks that is not settled yet counts among its undecided rows.
    told = tuple(each for each in report.hours if each.hour < settled or {*each.names} != {"partial"})
    counts = replace(report, hours=told).counts
    return [f"audit: {code} in {count} {lake.store.layout.span}s" for code, count in counts.items()]
