"""Open hours of a window, by what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lake_assets.build.open_hours import open_hours
from lake_resources.clock import HOUR, MINUTE
from lake_resources.storage.ledger.ledger import Intent, Listing, Partition
from lake_tests.support.stores import store_at

START = datetime(2026, 11, 18, tzinfo=UTC)


def committed(hour: datetime, minutes: int = 60) -> Partition:
    last = hour + (minutes - 1) * MINUTE
    return Partition(
        "BTCUSDT", hour, "p", minutes, minutes, hour, last, "s", "c" * 64, 1, "i", minutes == 60, {}, "1", START
    )  # fmt: skip


def test_each_open_hour_is_in_one_of_the_three(tmp_path: Path) -> None:
    ledger = store_at(tmp_path).ledger
    rows = [committed(START), committed(START + 2 * HOUR, 40), replace(committed(START + 4 * HOUR, 10), row_count=10)]
    ledger.write_intents([Intent(row, "t") for row in rows])
    ledger.commit_intents("BTCUSDT")
    for index in (3, 4):
        ledger.record_quarantine("BTCUSDT", START + index * HOUR, None, ["continuity"], "gap", at=START + 9 * HOUR)
    found = open_hours(ledger, "BTCUSDT", START, START + 6 * HOUR)
    assert found.absent == (START + HOUR, START + 5 * HOUR)
    assert found.incomplete == {START + 2 * HOUR: (START + 2 * HOUR + 40 * MINUTE, "c" * 64)}
    assert found.quarantined == {START + index * HOUR: "gap" for index in (3, 4)}
    assert open_hours(ledger, "BTCUSDT", START, START).absent == ()
    ledger.close()


def test_hours_without_trading_are_none(tmp_path: Path) -> None:
    ledger = store_at(tmp_path).ledger
    for row in [committed(START + HOUR), committed(START + 3 * HOUR, 20)]:
        ledger.write_intents([Intent(row, "t")])
        ledger.commit_intents("BTCUSDT")
    ledger.record_quarantine("BTCUSDT", START + 4 * HOUR, None, ["source_missing"], "none", at=START + 9 * HOUR)
    assert len(open_hours(ledger, "BTCUSDT", START, START + 6 * HOUR).absent) == 3

    ledger.record_listing(Listing("BTCUSDT", START + 20 * MINUTE, START + 3 * HOUR), at=START)

    found = open_hours(ledger, "BTCUSDT", START, START + 6 * HOUR)
    # The hour that the listing falls into has minutes that must be there.
    absent = (START, START + 2 * HOUR)
    assert (found.absent, dict(found.incomplete), dict(found.quarantined)) == (absent, {}, {})
    ledger.close()


def test_symbols_whose_trading_ended_are_left_out(tmp_path: Path) -> None:
    ledger = store_at(tmp_path).ledger
    ledger.record_listing(Listing("OLDUSDT", None, START), at=START)
    ledger.record_listing(Listing("BTCUSDT", START, None), at=START)
    symbols = ("NEWUSDT", "OLDUSDT", "BTCUSDT")
    assert ledger.traded_after(symbols, START - MINUTE) == symbols
    assert ledger.traded_after(symbols, START) == ("NEWUSDT", "BTCUSDT")
    ledger.close()
