"""Several symbols in one turn: the rows, checks and bytes that each has in turns of its own, whatever happens between.

Two lakes hear the same exchange. In one a turn builds all symbols, in the other each symbol has turns of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake_assets.build.hours import build_partitions
from lake_assets.lake import Lake, open_lake
from lake_assets.live.row_files import LiveRows
from lake_assets.resident.keep_hot import keep_hot_once
from lake_resources.clock import HOUR, MINUTE, SECOND
from lake_resources.known_hole import KnownHole
from lake_resources.simulator.market.specs import Listing
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.hashing import file_hash
from lake_tests.support.heard_rows import hear, heard
from lake_tests.support.simulated_lake import DAY, Bench, bench_on, exchange

pytestmark = pytest.mark.slow

OPEN = DAY + 23 * HOUR
NEW = "XRPUSDT"
SYMBOLS = ("BTCUSDT", "ETHUSDT", NEW)
FIRST, OTHER = SYMBOLS[:2]
LISTED = OPEN + 12 * MINUTE


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with exchange(symbols=SYMBOLS, listings={NEW: Listing(LISTED)}) as found:
        yield found


def told(lake: Lake) -> list[tuple[object, ...]]:
    """All that the ledger says of the symbols, but for when it was said; files have the bytes that it names."""
    ledger, end, found = lake.ledger, DAY + 48 * HOUR, list[tuple[object, ...]]()
    for symbol in SYMBOLS:
        for row in ledger.partitions(symbol, DAY, end):
            assert file_hash(lake.files.here(row.path)) == row.content_hash
            sources = {name: (ref.kind, ref.reference, ref.detail) for name, ref in row.sources.items()}
            found.append(
                (symbol, row.start, row.content_hash, row.inputs_hash, row.expected_rows, row.complete, sources)
            )
            found.append((row.checks, row.verdict, row.verdict_detail))
        found.append((ledger.watermark(symbol), ledger.listing(symbol), ledger.revisions(symbol, DAY, end)))
        found += [(each.stream, each.period, each.source, each.reason, each.attempts) for each in
                  ledger.missing_sources(symbol, resolved=True)]  # fmt: skip
        found += [(each.start, each.codes, each.detail, each.accounted_until, each.resolved_at is None) for each in
                  ledger.quarantined(symbol, DAY, end, resolved=True)]  # fmt: skip
    return found


class Both:
    """The two lakes, and what happens to both."""

    def __init__(self, together: Bench, alone: Bench) -> None:
        self.together, self.alone = together, alone

    @property
    def lakes(self) -> tuple[Lake, Lake]:
        return self.together.lake, self.alone.lake

    def turn(self, at: datetime) -> list[tuple[object, ...]]:
        """A turn of each; what both lakes say after it."""
        bench = self.together.at(at)
        done = keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
        failed = dict[str, str]()
        for symbol in SYMBOLS:
            settings = self.alone.settings.model_copy(update={"symbols": (symbol,)})
            failed |= keep_hot_once(self.alone.lake, settings, say=bench.reports.append).failed
        assert done.failed == failed
        said = told(bench.lake)
        assert said == told(self.alone.lake)
        return said

    def hear(self, symbols: tuple[str, ...], start: datetime, end: datetime) -> None:
        for lake in self.lakes:
            hear(lake, symbols, start, end)


@pytest.fixture
def both(sim: SimulatorServer, tmp_path: Path) -> Iterator[Both]:
    given: dict[str, Any] = {"symbols": SYMBOLS, "spot_symbols": (), "hot_hours": 1}
    with bench_on(sim, tmp_path / "together", **given) as together, bench_on(sim, tmp_path / "alone", **given) as alone:
        yield Both(together, alone)


def test_a_day_turns_with_gaps_late_rows_a_listing_and_a_restart(both: Both, sim: SimulatorServer) -> None:
    sim.clock.freeze(OPEN + 30 * MINUTE)
    both.hear((FIRST,), OPEN - HOUR, OPEN + 30 * MINUTE)
    both.hear((NEW,), LISTED, OPEN + 30 * MINUTE)
    first = both.turn(OPEN + 30 * MINUTE + SECOND)
    assert len({row[:2] for row in first if len(row) == 7}) == 5, "of the new one no hour before its listing"

    # One minute is heard, one is not; one symbol's exchange lacks minutes of one series, which the next turn has.
    sim.clock.freeze(OPEN + 32 * MINUTE)
    both.hear((FIRST,), OPEN + 30 * MINUTE, OPEN + 32 * MINUTE)
    both.hear((NEW,), OPEN + 31 * MINUTE, OPEN + 32 * MINUTE)
    lost = {"start": OPEN + 20 * MINUTE, "end": OPEN + 23 * MINUTE, "query": OTHER}
    both.together.fault("missing_minutes", "/fapi/v1/markPriceKlines", **lost)
    second = both.turn(OPEN + 32 * MINUTE + SECOND)
    assert second != first
    sim.faults.clear()

    # A record comes late, a hole is declared, one symbol is refused all it asks for, a price of another is corrected.
    both.hear((NEW,), OPEN + 30 * MINUTE, OPEN + 31 * MINUTE)
    for lake in both.lakes:
        lake.ledger.declare_hole(KnownHole("metrics", FIRST, OPEN, OPEN + HOUR, "outage", "somewhere"))
    both.together.fault("refused", "/fapi/", query=OTHER, status=400, code=-1100)
    both.together.fault("scaled", "/fapi/v1/premiumIndexKlines", query=FIRST, column="4", by=1.5, every=1,
                        start=OPEN + 10 * MINUTE, end=OPEN + 12 * MINUTE)  # fmt: skip
    both.turn(OPEN + 33 * MINUTE + SECOND)
    sim.faults.clear()

    # The day turns while both builders are off, and begin anew.
    for bench in (both.together, both.alone):
        bench.lake.close()
        bench.lake = open_lake(bench.settings, clock=sim.clock.now, sleep=lambda _: None)
    both.turn(OPEN + 61 * MINUTE + SECOND)
    sealed = both.turn(OPEN + 63 * MINUTE + SECOND)
    assert [row[5] for row in sealed if len(row) == 7 and row[1] == OPEN] == [True] * len(SYMBOLS)


def test_trades_that_are_not_those_of_the_klines_are_told_of_that_symbol_alone(
    both: Both, sim: SimulatorServer
) -> None:
    sim.clock.freeze(OPEN + 20 * MINUTE)
    both.hear((OTHER,), OPEN, OPEN + 20 * MINUTE)
    for lake in both.lakes:
        rows = heard(lake, FIRST, OPEN, OPEN + 20 * MINUTE)
        LiveRows(lake.catalog).merge(FIRST, rows.with_columns(agg_quantity=pl.col("agg_quantity") * 2))
    found = both.turn(OPEN + 20 * MINUTE + SECOND)
    checks = [str(row[0]) for row in found if len(row) == 3 and "trades_vs_klines" in str(row[0])]
    assert sum('"trades_vs_klines","passed":false' in each for each in checks) == 1


def test_a_symbol_that_cannot_be_read_leaves_its_neighbours_alone(sim: SimulatorServer, tmp_path: Path) -> None:
    with bench_on(sim, tmp_path, symbols=SYMBOLS[:2], spot_symbols=(), hot_hours=1) as bench:
        damaged = bench.at(OPEN + 10 * MINUTE + SECOND).lake.catalog.live_rows_path(OTHER, OPEN)
        damaged.parent.mkdir(parents=True)
        damaged.write_bytes(b"no rows")
        turn = keep_hot_once(bench.lake, bench.settings, say=bench.reports.append)
        assert list(turn.failed) == [f"um/{OTHER}/minute"]
        assert len(bench.lake.ledger.partitions(FIRST, DAY, DAY + 24 * HOUR)) == 2
        assert not bench.lake.ledger.partitions(OTHER, DAY, DAY + 24 * HOUR)


def test_an_hour_has_the_bytes_of_an_ordinary_build(sim: SimulatorServer, tmp_path: Path) -> None:
    now = OPEN + 10 * MINUTE + SECOND
    given: dict[str, Any] = {"symbols": SYMBOLS[:2], "spot_symbols": ()}
    with bench_on(sim, tmp_path / "together", hot_hours=1, **given) as bench:
        assert keep_hot_once(bench.at(now).lake, bench.settings, say=bench.reports.append).failed == {}
        together = told(bench.lake)
    with bench_on(sim, tmp_path / "alone", **given) as bench:
        for symbol in SYMBOLS[:2]:
            days = build_partitions(
                bench.at(now).lake, symbol, [OPEN - HOUR, OPEN], now=now, report=bench.reports.append, provisional=True
            )
            assert [hour.status for day in days for hour in day.hours] == ["committed", "committed"]
        assert told(bench.lake) == together
