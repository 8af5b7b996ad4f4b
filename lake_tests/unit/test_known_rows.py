"""Readings from memory: what the ledger says of many symbols at once is what it says of each, until it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lake_resources.clock import HOUR
from lake_resources.known_hole import KnownHole
from lake_resources.storage.ledger.ledger import ANY_SYMBOL, Archive, Capture, Intent, Ledger, Listing
from lake_tests.support.minute_hours import DAY, NOW, SYMBOL, at, partition
from lake_tests.support.stores import store_at

SYMBOLS = (SYMBOL, "ETHUSDT", "NEWUSDT")
STREAMS = ("klines_1m", "metrics")
START, END = at(-20), at(14)
WINDOWS = [(START, END), (at(0), at(1)), (at(-18), at(3)), (at(1), at(12)), (at(13), at(14)), (at(3), at(3))]
OUTSIDE = [(at(-40), at(1)), (at(0), at(30))]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = store_at(tmp_path).ledger
    for symbol in SYMBOLS[:2]:
        fill(ledger, symbol)
    ledger.declare_hole(KnownHole("metrics", ANY_SYMBOL, at(2), at(3), "maintenance", "somewhere"))
    yield ledger
    ledger.close()


def fill(ledger: Ledger, symbol: str) -> None:
    for stream in STREAMS:
        for period in ("2026-01", "2026-02", "2026-02-13", "2026-02-14", "2026-02-15", "2026-02-16", "2026-03"):
            ledger.record_archive(archive(symbol, stream, period))
        ledger.record_captures(capture(symbol, stream, hour) for hour in (-19, -1, 0, 1, 11, 13))
        ledger.record_missing(symbol, stream, "2026-02-15T01", "rest", "not whole", at=NOW)
        ledger.record_missing(symbol, stream, "2026-02-15", "archive", "not there", at=NOW)
    rows = [replace(partition(at(hour), symbol=symbol), verdict=kind, verdict_detail="{}") for hour, kind in
            ((-18, "clean"), (0, "partial"), (1, None), (2, "contradicted"))]  # fmt: skip
    ledger.write_intents([Intent(row, ".tmp/x.parquet") for row in rows])
    ledger.commit_intents(symbol)
    for hour in (1, 5):
        ledger.record_quarantine(symbol, at(hour), None, ["ohlc"], "odd", at=NOW)
    ledger.record_listing(Listing(symbol, at(-19), None), at=NOW)
    ledger.declare_hole(KnownHole("klines_1m", symbol, at(0), at(1), "outage", "somewhere"))


def archive(symbol: str, stream: str, period: str, sha: str = "a") -> Archive:
    return Archive(symbol, stream, period, sha * 64, "http://x/y.zip", "vision/x.parquet", 1440, DAY, at(23), "c" * 64,
                   9, "verified", NOW)  # fmt: skip


def capture(symbol: str, stream: str, hour: int, content: str = "a") -> Capture:
    return Capture(symbol, stream, at(hour), f"captures/{content}.parquet", 60, at(hour), at(hour + 1), hour < 11,
                   "/fapi/v1/klines", content * 64, NOW)  # fmt: skip


def told(ledger: Ledger, windows: list[tuple[datetime, datetime]]) -> list[Any]:
    """All that can be told from memory."""
    found: list[Any] = []
    for symbol in SYMBOLS:
        found += [ledger.listing(symbol), ledger.missing_sources(symbol), ledger.missing_sources(symbol, resolved=True)]
        for stream in STREAMS:
            found.append(ledger.missing_sources(symbol, stream))
            found += [ledger.archives_between(symbol, stream, *window) for window in windows]
            found += [ledger.captures_between(symbol, stream, *window) for window in windows]
        for window in windows:
            found += [ledger.quarantined(symbol, *window), ledger.quarantined(symbol, *window, resolved=True)]
            found += [ledger.verdicts(symbol, *window), ledger.verdicts(symbol, *window, {"clean"})]
            found += [ledger.known_holes(symbol, *window), ledger.known_holes(symbol, *window, "metrics")]
    return found


def compare(ledger: Ledger, windows: list[tuple[datetime, datetime]]) -> list[Any]:
    """What is told from memory, which must be what is read."""
    said = told(ledger, windows)
    memory, ledger._known = ledger._known, None
    try:
        assert said == told(ledger, windows)
    finally:
        ledger._known = memory
    return said


def test_what_is_told_of_many_at_once_is_what_is_told_of_each(ledger: Ledger) -> None:
    before = told(ledger, WINDOWS)
    assert any(before)
    ledger.know(SYMBOLS, START, END)
    assert compare(ledger, WINDOWS) == before
    compare(ledger, OUTSIDE)


def test_nothing_is_read_that_is_known(ledger: Ledger, tmp_path: Path) -> None:
    ledger.know(SYMBOLS, START, END)
    other = store_at(tmp_path).ledger
    fill(other, SYMBOLS[2])
    assert ledger.captures_between(SYMBOLS[2], "metrics", at(0), at(1)) == [], "others are heard at the next reading"
    ledger.forget()
    assert ledger.captures_between(SYMBOLS[2], "metrics", at(0), at(1)) != []
    ledger.know([SYMBOL], START, END)
    assert ledger.captures_between(SYMBOLS[1], "metrics", at(0), at(1)) != [], "of others nothing is known"
    other.close()


def test_what_is_written_is_told_at_once(ledger: Ledger) -> None:
    ledger.know(SYMBOLS, START, END)
    said = compare(ledger, WINDOWS[:2])

    def changed() -> bool:
        nonlocal said
        before, said = said, compare(ledger, WINDOWS[:2])
        return before != said

    ledger.record_archive(archive(SYMBOL, "metrics", "2026-02-15", "b"))
    assert changed()
    ledger.record_captures([capture(SYMBOL, "metrics", 11, "b"), capture(SYMBOLS[2], "klines_1m", 0)])
    assert changed()
    ledger.record_missing(SYMBOL, "klines_1m", "2026-02-15T03", "rest", "nothing", at=NOW)
    assert changed()
    ledger.resolve_missing(SYMBOL, "klines_1m", "2026-02-15T01", at=NOW)
    assert changed()
    ledger.record_quarantine(SYMBOL, at(3), None, ["schema"], "odd", at=NOW)
    assert changed()
    ledger.resolve_quarantine(SYMBOL, [at(3)], at=NOW)
    assert changed()
    ledger.write_intents([Intent(replace(partition(at(1)), verdict="partial"), ".tmp/x.parquet")])
    ledger.commit_intents(SYMBOL)
    assert changed(), "its verdict, and that it is in quarantine no more"
    ledger.commit_decided(SYMBOL, (at(2), at(3)), lambda held: [replace(held[at(2)], verdict="clean")])
    assert changed()
    ledger.record_listing(Listing(SYMBOL, at(-19), at(9)), at=NOW + timedelta(hours=1))
    assert changed()
    ledger.declare_hole(KnownHole("metrics", SYMBOL, at(5), at(5) + HOUR, "outage", "somewhere"))
    assert changed()
