"""The page of raw slices: how many of each set are in which state, one set slice by slice, and those not whole.

Belongs here: the page. Does not belong here: the counts (`slice_states`), the protocol itself (`slices`).
"""

from __future__ import annotations

import polars as pl
import streamlit as st

from lake_assets.dashboard.choices import choose_refresh, looking_again, telling
from lake_assets.dashboard.downloads import offer
from lake_assets.dashboard.slice_states import WHOLE, certificate_of, overview, slices_frame, title_of
from lake_resources.settings import LakeSettings
from lake_resources.storage.ledger.slice_rows import SliceRow, SliceRows, SliceSet

_SHOWN = 1000


@telling
def show(settings: LakeSettings) -> None:
    """The page."""
    st.title("Raw slices")
    st.caption("The exchange's own answers, in windows that never move. All times are UTC.")
    rows = SliceRows(settings.resolved_slices_ledger_url)
    try:
        sets = rows.slice_sets()
    finally:
        rows.close()
    if not sets:
        st.info("No slice is kept yet: set `LAKE_SLICE_SYMBOLS`, or run `lake slices run --once`.")
        return
    chosen = st.sidebar.selectbox("Set", sets, key="slice-set", format_func=title_of)
    looking_again(settings, lambda: _drawn(settings, chosen), choose_refresh())


def _drawn(settings: LakeSettings, chosen: SliceSet) -> None:
    states = _states(settings)
    st.dataframe(overview(states))
    found = states.get(chosen, [])
    certificate, frame = certificate_of(chosen, found), slices_frame(chosen, found)
    st.subheader(title_of(chosen))
    shown = st.columns(4)
    shown[0].metric("Complete", f"{certificate['completeness_pct']} %")
    shown[1].metric("Slices", f"{certificate['expected_slices']:,}")
    shown[2].metric("Not whole", f"{len(certificate['not_complete']):,}")
    shown[3].metric("Records", f"{certificate['records']:,}")
    offer(f"slices-{chosen.endpoint}-{chosen.symbol}-{chosen.interval}", frame, lambda: certificate)
    st.subheader("Not whole")
    lacking = frame.filter(pl.col("status") != WHOLE)
    if lacking.is_empty():
        st.write("Every slice is whole.")
    else:
        st.dataframe(lacking.head(_SHOWN))
    st.subheader("Newest slices")
    st.dataframe(frame.tail(_SHOWN).reverse())


def _states(settings: LakeSettings) -> dict[SliceSet, list[SliceRow]]:
    rows = SliceRows(settings.resolved_slices_ledger_url)
    try:
        return {of: rows.slice_rows(of) for of in rows.slice_sets()}
    finally:
        rows.close()
