"""The page of the 1H table: its rows as a line and a table, and every difference to the exchange that was ever seen.

Belongs here: the page. Does not belong here: the protocol itself (`feed_1h`).
"""

from __future__ import annotations

from typing import Any

import polars as pl
import streamlit as st

from lake_assets.dashboard.choices import choose_refresh, looking_again, telling
from lake_assets.dashboard.closes import closes_line
from lake_assets.dashboard.downloads import offer
from lake_assets.validation.completeness import completeness_pct
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.bars_duckdb import TABLE, BarsTable, TableState

_SHOWN = 500


@telling
def show(settings: LakeSettings) -> None:
    """The page."""
    st.title("BTCUSDT, 1 hour")
    st.caption("All times are UTC. Hours that the table lacks are holes in the line.")
    looking_again(settings, lambda: _drawn(settings), choose_refresh())


def _drawn(settings: LakeSettings) -> None:
    table = BarsTable(settings.resolved_feed_duckdb)
    state = table.published()
    rows = state.rows
    if rows.is_empty():
        st.info("The 1H table has no rows yet: materialize `feed_1h` in Dagster, or run `lake feed-1h`.")
        return
    found = certificate_of(table, state)
    shown = st.columns(4)
    shown[0].metric("Rows", f"{rows.height:,}")
    shown[1].metric("Complete", f"{found['completeness_pct']} %")
    shown[2].metric("Last hour", f"{rows['timestamp'][-1]:%m-%d %H:%M}")
    shown[3].metric("Restated values", f"{found['restated_values']:,}")
    hours = rows.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))
    st.altair_chart(closes_line(hours, "timestamp", HOUR), width="stretch")
    offer("ohlcv_btcusdt_1h", rows, lambda: found)
    st.subheader("Newest rows")
    st.dataframe(rows.tail(_SHOWN).reverse())
    st.subheader("Restatements")
    st.caption("Where the exchange says otherwise than it did. The table itself is never changed.")
    st.dataframe(table.differences())


def certificate_of(table: BarsTable, state: TableState) -> dict[str, Any]:
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
