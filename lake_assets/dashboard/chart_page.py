"""The page with the chart: any table, symbol and window, holes as holes, a click tells what a bar is worth.

Belongs here: the page. Does not belong here: the series (`chart_series`), the component (`chart_view`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import streamlit as st

from lake_assets.at_rest import store_of
from lake_assets.dagster_names import partition_key, table_names
from lake_assets.dashboard.chart_series import AskedChart, Chart, certificate_of, chart_of, fitting, panes_of
from lake_assets.dashboard.chart_view import show_chart
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
from lake_assets.schema.table import Table
from lake_assets.transforms.rollup import TIMEFRAMES, Timeframe
from lake_assets.validation.outcome import outcomes_from_json
from lake_resources.instants import parse_minute
from lake_resources.settings import LakeSettings
from lake_resources.storage.provenance import describe

WINDOWS: dict[str, timedelta] = {
    "1 hour": timedelta(hours=1), "6 hours": timedelta(hours=6), "1 day": timedelta(days=1),
    "1 week": timedelta(days=7), "1 month": timedelta(days=30), "1 year": timedelta(days=365),
}  # fmt: skip
PANES = ("spread", "mark_price_close", "funding_rate", "oi_contracts")
"""Lines that a chart opens with, of those that its table has: spread, mark price, funding, open interest."""
_OTHER = "from … to …"


@telling
def show(settings: LakeSettings) -> None:
    """The page."""
    table = choose_table()
    symbol = choose_symbol(table, settings)
    window = _window(table)
    fit = ["auto", *(name for name, length in TIMEFRAMES.items() if not length % table.layout.grain)]
    chosen = choose("Bars of", fit, "timeframe")
    timeframe = None if chosen == "auto" else cast(Timeframe, chosen)
    offered = panes_of(table)
    first = [name for name in PANES if name in offered]
    panes = tuple(st.sidebar.multiselect("Beside the price", offered, first, key=f"panes-{table.name}"))
    every = choose_refresh()
    st.title(f"{symbol}, {table.layout.title}")
    st.caption(
        "All times are UTC. Bands are rows that nobody has: red without an explanation, grey with one."
        " Bars in grey may still change, in orange are in doubt, in blue were revised. Click a bar for its sources."
    )
    subject = f"{table.name} {symbol} {window.name} {chosen}"
    if st.session_state.get("subject") != subject:
        st.session_state["subject"] = subject
        st.session_state.pop("looked_at", None)

    def drawn() -> None:
        start, end = window.span()
        looked_at = st.session_state.get("looked_at")
        if looked_at and st.button("Back to the whole window"):
            looked_at = st.session_state.pop("looked_at") and None
        first, last = looked_at or (start, end)
        asked = AskedChart(table, symbol, first, last, timeframe, panes=panes)
        chart = chart_of(asked, settings=settings, clock=now)
        _facts(chart)
        told = show_chart(chart, f"{subject} {looked_at}")
        if timeframe is None:
            _follow(told, chart, start, end)
        if told.get("clicked"):
            _bar(settings, chart, datetime.fromtimestamp(told["clicked"], UTC), int(told.get("bars", 1)))
        _downloads(settings, chart)

    looking_again(settings, drawn, every)


@dataclass(frozen=True)
class _Window:
    """A window that was chosen: the last so-and-so-long, or fixed."""

    name: str
    length: timedelta | None = None
    fixed: tuple[datetime, datetime] | None = None

    def span(self) -> tuple[datetime, datetime]:
        """It as it is now, UTC."""
        if self.fixed is not None:
            return self.fixed
        end = now()
        return end - (self.length or timedelta(days=1)), end


def _window(table: Table) -> _Window:
    choice = choose("Window", [*WINDOWS, _OTHER], "window", first="1 day")
    if choice != _OTHER:
        return _Window(choice, WINDOWS[choice])
    end = now()
    first = st.sidebar.text_input("From (UTC, ISO 8601)", f"{end - timedelta(days=1):%F %R}", key="from")
    last = st.sidebar.text_input("To", f"{end:%F %R}", key="to")
    start, until = parse_minute(first), parse_minute(last)
    if start >= until:
        st.error(f"The window of the {table.layout.title} ends before it begins.")
        st.stop()
    return _Window(f"{start} {until}", fixed=(start, until))


def _facts(chart: Chart) -> None:
    found = chart.certificate
    word = found.table.row_word
    shown = st.columns(5)
    # A percentage that is rounded up would say that all is there when it is not.
    shown[0].metric("Complete", f"{found.completeness_pct} %")
    shown[1].metric(f"{word}s there", f"{found.present_rows:,}")
    shown[2].metric("Without explanation", f"{found.unexplained_rows:,}")
    shown[3].metric("Partitions in doubt", f"{len(found.doubts):,}")
    shown[4].metric("Bars of", chart.timeframe)


def _follow(told: dict[str, float], chart: Chart, start: datetime, end: datetime) -> None:
    """Load finer bars once the window that is looked at is short enough for them."""
    if "from" not in told or "to" not in told:
        return
    first, last = (datetime.fromtimestamp(told[name], UTC) for name in ("from", "to"))
    margin = (last - first) / 2
    wider = max(first - margin, start), min(last + margin, end)
    finer = fitting(chart.certificate.table, *wider)
    if TIMEFRAMES[finer] < TIMEFRAMES[chart.timeframe] and wider[0] < wider[1]:
        st.session_state["looked_at"] = wider
        st.rerun(scope="fragment")


def _bar(settings: LakeSettings, chart: Chart, at: datetime, bars: int) -> None:
    """What a point of the picture is worth, which may be of several bars: the partitions that it is made of."""
    table = chart.certificate.table
    layout = table.layout
    end = at + bars * TIMEFRAMES[chart.timeframe]
    st.subheader(f"{table.row_text(at)} UTC")
    for hole in chart.certificate.holes:
        if hole.start < end and hole.end > at:
            st.write(f"{hole.rows} {table.row_word}s are not there: {hole.cause} {hole.reference}")
    store = store_of(settings, table)
    try:
        rows = store.ledger.partitions(chart.certificate.symbol, at, end)
    finally:
        store.close()
    names = "/".join(table_names(layout, chart.certificate.symbol))
    for row in rows[:25]:
        key = partition_key(layout, row.start)
        page = f"{settings.web_address}/assets/{names}?view=partitions&partition={key}"
        failed = [each.text() for each in outcomes_from_json(row.checks, table.checks) if not each.passed]
        rows_there = f"{row.row_count} of {row.expected_rows} rows" if row.complete else f"{row.row_count} rows so far"
        st.markdown(f"**[{key}]({page})** {row.verdict or 'not judged'}, {rows_there}")
        st.caption(describe(row.sources, row.sources) + (f". Failed: {'; '.join(failed)}" if failed else ""))


def _downloads(settings: LakeSettings, chart: Chart) -> None:
    name = f"{chart.certificate.symbol}-{chart.timeframe}-{chart.start:%Y%m%dT%H%M}-{chart.end:%Y%m%dT%H%M}"
    offer(name, chart.frame, lambda: certificate_of(chart, settings=settings).as_json())
