"""The page of quality: the one verdict as a calendar, holes by cause, what is missing and how fresh all is.

Belongs here: the page. Does not belong here: the states (`quality_days`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import altair as alt
import polars as pl
import streamlit as st

from lake_assets.at_rest import store_of
from lake_assets.dashboard.choices import (
    choose,
    choose_refresh,
    choose_symbol,
    choose_table,
    looking_again,
    now,
    telling,
)
from lake_assets.dashboard.downloads import offer
from lake_assets.dashboard.liveness import age_text, last_beat, late_archives, latencies
from lake_assets.dashboard.quality_counts import CHECKED_DAYS, check_counts, freshness, holes_by_cause
from lake_assets.dashboard.quality_days import COLOURS, WORST_LAST, calendar, partition_states, window_of
from lake_assets.quality.certificate import Certificate, certify
from lake_assets.schema.table import Table
from lake_assets.validation.completeness import completeness_pct
from lake_resources.settings import LakeSettings

_SPANS = {"2 weeks": 14, "1 month": 31, "3 months": 92, "1 year": 366}


@telling
def show(settings: LakeSettings) -> None:
    """The page."""
    table = choose_table()
    symbol = choose_symbol(table, settings)
    days = _SPANS[choose("Days", list(_SPANS), "span", first="1 month")]
    every = choose_refresh()
    st.title(f"Quality of the {table.layout.title}")
    st.caption("The verdict that the ledger holds, the worst of each day. All times are UTC.")
    looking_again(settings, lambda: _drawn(settings, table, symbol, days), every)


def _drawn(settings: LakeSettings, table: Table, symbol: str, days: int) -> None:
    moment = now()
    start, end = window_of(days, moment)
    expected = settings.start_utc, table.layout.start_of(moment - timedelta(minutes=settings.safety_lag_minutes))
    store = store_of(settings, table)
    try:
        symbols = store.ledger.symbols_with_partitions()
        st.altair_chart(
            _heat(calendar(store, symbols, start, end, expected=expected), "day:O", "symbol:N"), width="stretch"
        )
        states = partition_states(store, symbol, start, end, expected=expected)
        first = store.ledger.first_partition(symbol)
        begin = max(start, first) if first else start
        found = certify(store, symbol, begin, end, now=moment, lag_minutes=settings.safety_lag_minutes)
        st.subheader(symbol)
        if begin > start:
            st.caption(
                f"Figures, holes and doubts are those from {begin:%Y-%m-%d %H:%M} on, the first that is committed."
            )
        _figures(found, store.ledger.watermark(symbol))
        if table.layout.span == "hour":
            hours = states.with_columns(day=pl.col("start").dt.truncate("1d"), hour=pl.col("start").dt.hour())
            st.altair_chart(_heat(hours, "day:O", "hour:O"), width="stretch")
        offer(f"quality-{table.name}-{symbol}-{begin:%Y%m%d}-{end:%Y%m%d}", states, found.as_json)
        st.subheader("Holes by cause")
        st.dataframe(holes_by_cause(found))
        st.subheader("Holes")
        st.dataframe(
            [{"from": hole.start, "to": hole.end, "rows": hole.rows, "cause": hole.cause, "explained": hole.explained}
             for hole in found.holes]
        )  # fmt: skip
        st.subheader("Doubts")
        st.dataframe(
            [{"partition": at, "verdict": doubt.kind, "why": doubt.text} for at, doubt in found.doubts.items()]
        )
        st.subheader("Checks")
        st.caption(
            f"Of the last {CHECKED_DAYS} days: how many partitions passed each check, and the last that did not."
        )
        st.dataframe(check_counts(store, symbol, max(begin, end - timedelta(days=CHECKED_DAYS)), end))
        st.subheader("How fresh it is")
        st.dataframe(freshness(store, symbols, moment))
        _platform(settings, moment)
        st.subheader("Sources that had nothing")
        st.dataframe([vars(row) for row in store.ledger.missing_sources(symbol)])
    finally:
        store.close()


def _figures(found: Certificate, watermark: datetime | None) -> None:
    shown = st.columns(4)
    shown[0].metric("Complete", f"{completeness_pct(found.present_rows, found.expected_rows)} %")
    shown[1].metric("Without explanation", f"{found.unexplained_rows:,}")
    shown[2].metric("Revised values", f"{found.revised_values:,}")
    shown[3].metric("Accounted for until", f"{watermark:%m-%d %H:%M}" if watermark else "nothing yet")


def _platform(settings: LakeSettings, moment: datetime) -> None:
    """What the watchdog says of the collector and of archives."""
    beat = last_beat(settings)
    if beat is None:
        st.info("No heartbeat of `lake up` here, so nothing is known of the collector and of late archives.")
        return
    st.subheader("Collector")
    st.caption(f"By the heartbeat, {age_text(beat, moment)}.")
    st.dataframe(latencies(beat))
    st.subheader("Late archives")
    st.dataframe([{"archive": text} for text in late_archives(beat)])


def _heat(states: pl.DataFrame, x: str, y: str) -> alt.Chart:
    plain = states.with_columns(day=pl.col("day").dt.strftime("%Y-%m-%d")).select(pl.exclude("start", "reason"))
    known = [state for state in WORST_LAST if state in COLOURS]
    scale = alt.Scale(domain=known, range=[COLOURS[each] for each in known])
    chart: alt.Chart = alt.Chart(alt.InlineData(values=plain.to_dicts())).mark_rect(stroke="white")
    legend = alt.Legend(title=None, orient="top", columns=len(known), symbolType="square", symbolSize=150, labelLimit=0)
    shown: alt.Chart = chart.encode(
        x=alt.X(x, title=None, axis=alt.Axis(labelAngle=-90, labelOverlap=True)),
        y=alt.Y(y, title=None, axis=alt.Axis(labelOverlap=False)),
        color=alt.Color("state:N", scale=scale, legend=legend),
        tooltip=["day:N", "state:N", "rows:Q", "expected:Q"],
    ).properties(height=alt.Step(18))
    return shown
