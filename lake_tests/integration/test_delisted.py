"""A symbol that is listed late or delisted: hours outside are nowhere a defect, and what is there all the same is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake_assets.at_rest import TableStore
from lake_assets.audit.listing import traded_window
from lake_assets.audit.scan import audit_partitions
from lake_assets.audit.verdict import AuditReport
from lake_assets.quality.certificate import Certificate, certify
from lake_assets.quality.month_card import render, report_card
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR, MINUTE
from lake_resources.simulator.market.specs import Listing as Traded
from lake_resources.simulator.server import SimulatorServer
from lake_resources.storage.commit import Rejection, commit_partitions, quarantine_partition
from lake_resources.storage.ledger.ledger import Listing
from lake_tests.support.simulated_lake import Bench, bench_on
from lake_tests.support.sound_hours import (
    FIRST,
    LAG,
    NOW,
    SYMBOL,
    candidate,
    commit_sound,
    open_files,
    sound_rows,
)  # fmt: skip

HELD = 6
END = FIRST + HELD * HOUR
DELISTED = Listing(SYMBOL, FIRST - 3 * HOUR + 20 * MINUTE, END + 20 * MINUTE)
AFTER = FIRST + 30 * HOUR
BACKFILLABLE = [name for name in UM_MINUTE.uses if name != "book_ticker"]


@pytest.fixture
def lake(tmp_path: Path) -> TableStore:
    """Six hours of a symbol that is traded for more than two before and some minutes after them."""
    store = open_files(tmp_path / "lake")
    commit_sound(store, FIRST, HELD, streams=BACKFILLABLE)
    store.ledger.record_listing(DELISTED, at=NOW)
    return store


def audited(lake: TableStore, **given: object) -> AuditReport:
    return audit_partitions(lake, SYMBOL, FIRST - 9 * HOUR, AFTER, now=NOW, lag_minutes=LAG, **given)  # type: ignore[arg-type]


def certified(lake: TableStore) -> Certificate:
    return certify(lake, SYMBOL, FIRST - 9 * HOUR, AFTER, now=NOW, lag_minutes=LAG)


ABSENT = [FIRST - 3 * HOUR, FIRST - 2 * HOUR, FIRST - HOUR, END]
"""Hours of trading that are not there; the listing falls into the first of them, the delivery into the last."""


def test_only_minutes_of_trading_are_missed(lake: TableStore) -> None:
    report = audited(lake)
    assert [verdict.hour for verdict in report.wrong] == ABSENT
    assert len(report.hours) == HELD + 4
    found = certified(lake)
    assert [(hole.start, hole.end, hole.explained) for hole in found.holes] == [
        (FIRST - 3 * HOUR, FIRST - 3 * HOUR + 20 * MINUTE, True),
        (FIRST - 3 * HOUR + 20 * MINUTE, FIRST, False),
        (END, END + 20 * MINUTE, False),
        (END + 20 * MINUTE, END + HOUR, True),
    ]
    assert "traded from" in found.holes[0].cause
    assert "traded until" in found.holes[-1].cause
    assert (found.present_rows, found.unexplained_rows) == (HELD * 60, 40 + 120 + 20)
    assert found.as_json()["untraded_hours"] == 6 + 23


def test_a_symbol_that_goes_on_is_expected_to(lake: TableStore) -> None:
    lake.ledger.record_listing(replace(DELISTED, end=None), at=NOW)
    assert len(audited(lake).wrong) == 3 + 24
    assert certified(lake).unexplained_rows == (3 + 24) * 60 - 20


def test_what_is_there_outside_is_judged(lake: TableStore) -> None:
    store = lake
    commit_sound(store, END + 2 * HOUR, 1)
    store.catalog.partition_path(SYMBOL, END + 2 * HOUR).write_bytes(b"torn")
    stray = store.catalog.partition_path(SYMBOL, END + 5 * HOUR)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(store.catalog.partition_path(SYMBOL, FIRST).read_bytes())
    quarantine_partition(store, SYMBOL, Rejection(END + 7 * HOUR, None, ["source_missing"], "none"), clock=lambda: NOW)
    shown = {FIRST + n * HOUR for n in range(HELD)} | {END + 2 * HOUR, END + 9 * HOUR}
    wrong = {verdict.hour: verdict.names for verdict in audited(lake, materialized=shown).wrong}
    assert wrong.keys() - {*ABSENT} == {END + 2 * HOUR, END + 5 * HOUR, END + 9 * HOUR}
    assert "content_hash_mismatch" in wrong[END + 2 * HOUR]
    assert "file_without_ledger" in wrong[END + 5 * HOUR]
    assert "only_in_dagster" in wrong[END + 9 * HOUR]


def test_the_report_card_expects_nothing_of_the_rest(lake: TableStore) -> None:
    month = FIRST.replace(day=1)
    lake.ledger.record_listing(replace(DELISTED, first=FIRST, end=END), at=NOW)
    carried = [column.name for name in ("metrics", "funding_rate") for column in UM_MINUTE.of_stream(name)]
    rows = sound_rows(FIRST, HELD).with_columns(pl.col(carried).fill_null(1))
    parts = [candidate(FIRST + n * HOUR, rows.slice(60 * n, 60), streams=BACKFILLABLE) for n in range(HELD)]
    commit_partitions(lake, SYMBOL, parts, clock=lambda: NOW)
    card = report_card(lake, SYMBOL, month, now=NOW, lag_minutes=LAG)
    assert (card.verdict, card.cells.count("whole"), card.cells.count("not expected")) == ("CLEAN", HELD, 744 - HELD)
    assert "360 of 360 minutes (100.00 %)" in render(card, "p.png")
    later = report_card(lake, SYMBOL, month - timedelta(days=1), now=NOW, lag_minutes=LAG)
    assert (later.verdict, later.certificate.expected_rows) == ("CLEAN", 0)


ONBOARD, DELIVERY = datetime(2026, 10, 1, 7, 15, tzinfo=UTC), datetime(2026, 11, 10, 9, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    listings = {SYMBOL: Traded(ONBOARD, DELIVERY)}
    sim = SimulatorServer(symbols=(SYMBOL,), limits=False, listings=listings)
    with sim, bench_on(sim, tmp_path) as found:
        yield found


def test_what_the_exchange_says_is_kept(bench: Bench) -> None:
    start, end = ONBOARD - timedelta(days=9), DELIVERY + timedelta(days=9)
    window = (ONBOARD - 15 * MINUTE, DELIVERY)
    assert traded_window(bench.lake, SYMBOL, start, end) == window
    assert bench.lake.ledger.listing(SYMBOL) == Listing(SYMBOL, ONBOARD, DELIVERY)
    # Some day the exchange takes the symbol off its list.
    del bench.sim.exchange.feeds[SYMBOL]
    assert traded_window(bench.lake, SYMBOL, start, end) == window
    assert bench.lake.ledger.listing("BTCBUSD") is None
