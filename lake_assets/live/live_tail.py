"""Rows that are closed and not committed yet, from the collector's records: what a reader sees before the builder.

Belongs here: where the committed rows end, which rows follow them, which of all are provisional. Does not belong here:
how rows are made of records (`heard_minutes`, `heard_seconds`), joining them to the committed ones (`exports`).
Nothing is written: any number of processes may ask while the collector records and the builder commits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import cast

import polars as pl

from lake_assets.at_rest import TableStore
from lake_resources.clock import HOUR, SECOND
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import utc

PROVISIONAL = "provisional"
"""Column that a reading with live rows adds: whether the row may still change."""


@dataclass(frozen=True)
class HeardWindow:
    """Of what rows are made that nobody committed yet.

    Attributes:
        store: the table.
        symbol: whose rows.
        start: the first row, UTC.
        end: time after the last row that is closed, UTC.
        max_ffill_minutes: how long book features are carried forward.
        quote_carry: how long a quote of spot stands for later seconds.
    """

    store: TableStore
    symbol: str
    start: datetime
    end: datetime
    max_ffill_minutes: int
    quote_carry: timedelta


Hearing = Callable[[HeardWindow], pl.DataFrame]
"""Makes rows of a table from records: those of the window that are proven whole, sorted by time, with its columns."""


@dataclass(frozen=True)
class Listening:
    """How the rows that nobody committed yet are looked for.

    Attributes:
        now: what is closed by then is looked for, UTC.
        reach: not further back than this, whatever was committed.
        max_ffill_minutes: how long book features are carried forward.
        quote_carry: how long a quote of spot stands for later seconds.
    """

    now: datetime
    reach: timedelta
    max_ffill_minutes: int
    quote_carry: timedelta

    @classmethod
    def by(cls, settings: LakeSettings, now: datetime) -> Listening:
        """As the settings say, at a moment (UTC)."""
        reach, carry = settings.hot_hours * HOUR, settings.quote_carry_s * SECOND
        return cls(now, reach, settings.max_ffill_minutes, carry)


@dataclass(frozen=True)
class LiveTail:
    """What follows the committed rows of a window, as it was at one moment.

    Attributes:
        since: committed rows end here and live rows may follow, UTC; the end of the window where nothing can follow.
        provisional_from: rows at and after this may still change, committed ones that are younger than the safety lag
            among them, UTC.
        rows: the live rows, sorted, with the table's columns; one that is not proven whole is no row.
    """

    since: datetime
    provisional_from: datetime
    rows: pl.DataFrame


def live_tail(store: TableStore, symbol: str, start: datetime, end: datetime, how: Listening) -> LiveTail:
    """The closed rows of `[start, end)` that come after the newest committed one.

    A partition before it that is not committed stays a hole: that is for healing, and its rows may be refused ones.

    Args:
        store: the table.
        symbol: whose rows.
        start: first row, UTC.
        end: time after the last row of the window, UTC.
        how: the moment, and how far back to look.

    Raises:
        SettingsError: the table has no live rows.
        StorageError: live rows of the collector do not read.
    """
    table, layout = store.table, store.layout
    if not table.heard:
        raise SettingsError(
            f"the {layout.title} has no live rows", remedy="Leave live out, or ask for minutes or for bars_1s"
        )
    start, end = utc(start), utc(end)
    closed = layout.row_start(min(end, max(start, utc(how.now))))
    oldest = max(start, layout.row_start(utc(how.now) - how.reach))
    # Committed rows of a window that ended long ago are all settled or healing's.
    held = store.ledger.partitions(symbol, layout.start_of(oldest), end) if oldest < end else []
    newest = next((row for row in reversed(held) if row.max_ts is not None), None)
    committed = oldest if newest is None or newest.max_ts is None else newest.max_ts + layout.grain
    since = min(max(committed, oldest), end)
    shown = [at for at in (store.ledger.provisional_from(row) for row in held) if at is not None]
    window = HeardWindow(store, symbol, since, closed, how.max_ffill_minutes, how.quote_carry)
    rows = _hearing(table.heard)(window) if since < closed else pl.DataFrame(schema=table.polars_schema)
    return LiveTail(since, min([since, *shown]), rows)


def _hearing(named: str) -> Hearing:
    module, _, name = named.partition(":")
    return cast(Hearing, getattr(import_module(module), name))
