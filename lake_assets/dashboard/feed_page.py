"""The pages of the 1H table and of raw slices.

Belongs here: what they hold, as tables. Does not belong here: the protocols themselves (`feed_1h`, `slices`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl
import streamlit as st

from lake_assets.dashboard.choices import telling
from lake_assets.dashboard.downloads import offer
from lake_assets.validation.completeness import completeness_pct
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import TABLE, BarsTable, TableState
from lake_resources.storage.ledger.slice_rows import SliceRows


@telling
def show_feed() -> None:
    """The 1H table: its newest rows, and every difference to the exchange that was ever seen."""
    settings = LakeSettings()
    st.title("BTCUSDT, 1 hour")
    st.caption("All times are UTC.")
    table = BarsTable(settings.resolved_feed_duckdb)
    state = table.published()
    rows = state.rows
    if rows.is_empty():
        st.info("The 1H table has no rows yet: materialize `feed_1h` in Dagster, or run `lake feed-1h`.")
        return
    st.metric("Rows", f"{rows.height:,}")
    st.dataframe(rows.tail(500).reverse())
    offer("ohlcv_btcusdt_1h", rows, lambda: _certificate(table, state))
    st.subheader("Restatements")
    st.caption("Where the exchange says otherwise than it did. The table itself is never changed.")
    st.dataframe(table.differences())


def _certificate(table: BarsTable, state: TableState) -> dict[str, Any]:
    """What the rows are worth: the span, hours that lack between, the hash over all of them, restatements on record."""
    first, last = state.rows["timestamp"][0], state.rows["timestamp"][-1]
    expected = int((last - first) / HOUR) + 1
    return {
        "table": TABLE,
        "start": first.isoformat(),
        "last_hour": last.isoformat(),
        "expected_hours": expected,
        "present_hours": state.rows.height,
        "completeness_pct": completeness_pct(state.rows.height, expected),
        "running_hash": state.chain["running_hash"][-1] if state.chain.height else None,
        "restated_values": table.differences().height,
    }


@telling
def show_slices() -> None:
    """Raw slices: how many of each set are in which state, and those that are not whole."""
    settings = LakeSettings()
    st.title("Raw slices")
    st.caption("All times are UTC.")
    rows = SliceRows(settings.resolved_slices_ledger_url)
    try:
        sets = rows.slice_sets()
        if not sets:
            st.info("No slice is kept yet: set `LAKE_SLICE_SYMBOLS`, or run `lake slices run --once`.")
            return
        states = {of: rows.slice_rows(of) for of in sets}
    finally:
        rows.close()
    st.dataframe([
        {"endpoint": of.endpoint, "symbol": of.symbol, "interval": of.interval, **Counter(row.status for row in found)}
        for of, found in states.items()
    ])  # fmt: skip
    st.subheader("Not whole")
    open_ = [
        {"symbol": of.symbol, "interval": of.interval, "start": row.start, "status": row.status, "reason": row.reason}
        for of, found in states.items()
        for row in found
        if row.status != "ok"
    ]
    st.dataframe(pl.DataFrame(open_).with_columns(pl.from_epoch("start", "ms")) if open_ else open_)
