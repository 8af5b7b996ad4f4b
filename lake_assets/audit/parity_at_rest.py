"""Parity at rest: do sealed partitions still equal what the exchange says today?

Belongs here: choosing partitions, comparing them with the API's klines of now, and hours with its 1h bars, keeping
restatements as revisions.
Does not belong here: rebuilding partitions, when it runs (Dagster's schedule).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import polars as pl

from lake_assets.audit.api_parity import note_parity, stored_klines
from lake_assets.lake import Lake
from lake_assets.validation.parity import compare_stream
from lake_assets.validation.rollup_parity import hour_bar_differences
from lake_resources.clock import HOUR
from lake_resources.storage.ledger.ledger import Revision

SEALED_AFTER = timedelta(hours=24)
"""Before that the exchange may still correct a kline, and a late archive may still replace it."""
HOUR_BARS = "klines_1h"


@dataclass(frozen=True)
class AtRest:
    """What was compared, and every value that is another one now.

    Attributes:
        hours: starts of the partitions that were asked for.
        minutes: rows that both sides have.
        hour_bars: hours whose rows were compared with the 1h bar.
        only_lake, only_exchange: rows that only one side has.
        revisions: values that differ; also kept in the ledger.
    """

    symbol: str
    hours: tuple[datetime, ...]
    minutes: int
    hour_bars: int
    only_lake: int
    only_exchange: int
    revisions: tuple[Revision, ...]

    @property
    def verdict(self) -> Literal["equal", "differs", "nothing to compare"]:
        """What follows. Nothing follows where neither side has a minute of the hours, or there is no hour."""
        if self.revisions or self.only_lake or self.only_exchange:
            return "differs"
        return "equal" if self.minutes else "nothing to compare"

    @property
    def passed(self) -> bool:
        """Whether minutes were compared and nothing differs."""
        return self.verdict == "equal"


def sample_hours(sealed: Iterable[datetime], symbol: str, day: date, count: int) -> list[datetime]:
    """Some of the sealed hours, others every day, the same ones when the day's check runs again."""

    def rank(hour: datetime) -> bytes:
        return hashlib.sha256(f"{symbol} {day} {hour.isoformat()}".encode()).digest()

    return sorted(sorted(sealed, key=rank)[:count])


def sealed_hours(lake: Lake, symbol: str, now: datetime) -> list[datetime]:
    """Committed, complete hours that are old enough not to change any more."""
    first = lake.ledger.first_partition(symbol)
    if first is None or first >= now - SEALED_AFTER:
        return []
    facts = lake.ledger.partition_facts(symbol, first, now - SEALED_AFTER)
    return [row.start for row in facts if row.complete and row.start + lake.store.layout.step <= now - SEALED_AFTER]


def check_at_rest(lake: Lake, symbol: str, hours: Sequence[datetime], now: datetime) -> AtRest:
    """Compare partitions with the exchange of now, exactly, and keep what differs with both values.

    Raises:
        ExchangeError: REST did not answer; nothing is concluded from that. What the hours before showed is kept.
    """
    revisions: list[Revision] = []
    minutes = bars = only_lake = only_exchange = 0
    layout, stream = lake.store.layout, lake.table.uses[lake.table.row_stream].stream
    for hour in hours:
        end = hour + layout.step
        ours = stored_klines(lake, symbol, hour, end)
        theirs = lake.rest.fetch(stream, symbol, hour, end)
        # The lake is the earlier of the two, as a capture is the earlier of it and its archive.
        parity = compare_stream(stream, theirs, ours, hour, end)
        minutes += parity.compared
        only_lake += parity.only_captured
        only_exchange += parity.only_archive
        source = _source(lake, symbol, hour)
        found = _revisions(symbol, stream.name, parity.differences, source, now)
        if layout.step == HOUR:
            hour_bar = lake.rest.fetch(stream, symbol, hour, end, interval="1h")
            if ours.height == HOUR // layout.grain and hour_bar.height == 1:
                bars += 1
                found += _revisions(symbol, HOUR_BARS, hour_bar_differences(ours, hour_bar), "rolled-up", now)
        lake.ledger.record_revisions(found)
        row = lake.ledger.partition(symbol, hour)
        if row is not None and parity.compared:
            note_parity(lake, stream, row, parity, now)
        revisions += found
    return AtRest(symbol, tuple(hours), minutes, bars, only_lake, only_exchange, tuple(revisions))


def _source(lake: Lake, symbol: str, hour: datetime) -> str:
    row = lake.ledger.partition(symbol, hour)
    return "none" if row is None else row.sources[lake.table.row_stream].kind


def _revisions(symbol: str, stream: str, cells: pl.DataFrame, source: str, now: datetime) -> list[Revision]:
    return [
        Revision(
            symbol=symbol,
            stream=stream,
            timestamp=cell["timestamp"],
            column=cell["column"],
            old_source=source,
            # Its value is part of its name: a second restatement of the same cell is another one.
            new_source=f"api:{cell['new']}",
            old_value=cell["old"],
            new_value=cell["new"],
            noticed_at=now,
        )
        for cell in cells.iter_rows(named=True)
    ]
