"""Open hours of a window, and what declared holes explain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake_assets.ingest.open_hours import declared_holes, explained, open_hours
from lake_assets.schema.holes import Hole
from lake_resources.storage.ledger import Intent, KnownHole, Ledger, Partition

START = datetime(2026, 11, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def hole(first: int, end: int, stream: str = "klines_1m") -> Hole:
    return Hole(stream, "BTCUSDT", START + first * MINUTE, START + end * MINUTE, "outage", "here")


def committed(hour: datetime, minutes: int = 60) -> Partition:
    last = hour + (minutes - 1) * MINUTE
    return Partition(
        "BTCUSDT", hour, "p", minutes, minutes, hour, last, "s", "c" * 64, 1, "i", minutes == 60, {}, "1", START
    )  # fmt: skip


def test_each_open_hour_is_in_one_of_the_three(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
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


@pytest.mark.parametrize(
    ("holes", "whole"),
    [
        ([hole(0, 60)], True),
        ([hole(-10, 90)], True),
        ([hole(30, 60), hole(0, 30)], True),
        ([hole(0, 30), hole(31, 60)], False),
        ([hole(0, 59)], False),
        ([hole(0, 30), hole(30, 60, "mark_price_klines_1m")], False),
        ([], False),
    ],
)
def test_holes_explain_what_they_cover_whole(holes: list[Hole], whole: bool) -> None:
    assert explained(holes, START, START + HOUR) is whole


def test_only_streams_that_every_hour_needs_explain_its_absence(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    for stream in ("agg_trades", "klines_1m"):
        ledger.declare_hole(KnownHole(stream, "BTCUSDT", START, START + HOUR, "outage", "here"))
    found = declared_holes(ledger, "BTCUSDT", START, START + HOUR)
    ledger.close()
    assert [each.stream for each in found] == ["klines_1m"]
