"""The page of macro minutes: every ticker at a glance, one of them closely, with its holes and what they mean.

Belongs here: the page. Does not belong here: rows and certificates (`reading`), names of tickers (`yahoo.tickers`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import altair as alt
import polars as pl
import streamlit as st

from lake_assets.dashboard.choices import choose_refresh, now, symbols_of, telling
from lake_assets.dashboard.downloads import offer
from lake_assets.quality.certificate import Certificate
from lake_assets.reading import load
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_resources.clock import DAY
from lake_resources.settings import LakeSettings
from lake_resources.storage.reader import reading
from lake_resources.yahoo.tickers import ticker_of

_SPANS = {"1 day": 1, "3 days": 3, "1 week": 7, "1 month": 30}


@telling
def show() -> None:
    """The page."""
    settings = LakeSettings()
    st.title("Macro minutes")
    st.caption("Yahoo's minutes. All times are UTC. Nothing is expected outside of trading sessions.")
    names = symbols_of(MACRO_MINUTE, settings)
    if not names:
        st.info(
            "No macro minute is here yet: set `LAKE_MACRO_TICKERS`, and wait for a quarter of an hour of `lake up`."
        )
        return
    days = _SPANS[st.sidebar.selectbox("Days", list(_SPANS), index=1, key="macro-span")]
    name = str(st.sidebar.selectbox("Ticker", names, key="macro-ticker", format_func=ticker_of))
    every = choose_refresh()

    @st.fragment(run_every=every)
    @telling
    def drawn() -> None:
        end = MACRO_MINUTE.layout.row_start(now() + timedelta(minutes=1))
        start = end - days * DAY
        found = {each: _loaded(settings, each, start, end) for each in names}
        st.dataframe([_line(each, *found[each]) for each in names])
        rows, certificate = found[name]
        st.subheader(ticker_of(name))
        if rows.is_empty():
            st.info(f"{ticker_of(name)} has no minute between {start:%F %R} and {end:%F %R} UTC.")
        else:
            st.altair_chart(_closes(rows))
        offer(f"{name}-{start:%Y%m%dT%H%M}-{end:%Y%m%dT%H%M}", rows, certificate.as_json)
        st.subheader("Minutes that are not there")
        st.dataframe(
            [{"from": hole.start, "to": hole.end, "minutes": hole.rows, "cause": hole.cause,
              "explained": hole.explained} for hole in certificate.holes]
        )  # fmt: skip

    drawn()


def _loaded(settings: LakeSettings, name: str, start: datetime, end: datetime) -> tuple[pl.DataFrame, Certificate]:
    lazy, certificate = load(name, start, end, table=MACRO_MINUTE, settings=settings, clock=now)
    with reading(MACRO_MINUTE.layout, name, start, end):
        return lazy.collect(), certificate


def _line(name: str, rows: pl.DataFrame, certificate: Certificate) -> dict[str, object]:
    """A ticker in a line; minutes outside of sessions are explained and so are none that lack."""
    facts: dict[str, object] = {
        "ticker": ticker_of(name),
        "minutes": rows.height,
        "without explanation": certificate.unexplained_rows,
        "revised values": certificate.revised_values,
    }
    if rows.is_empty():
        return facts
    first, last = rows.row(0, named=True), rows.row(-1, named=True)
    return facts | {
        "newest (UTC)": last["ts"],
        "close": last["close"],
        "change %": round(100 * (last["close"] / first["open"] - 1), 3),
        "final": last["is_final"],
    }


def _closes(rows: pl.DataFrame) -> alt.Chart:
    """The closes as a line that is broken where a minute lacks; minutes that are not final in grey."""
    step = pl.col("ts").diff() > timedelta(minutes=1)
    plain = rows.select(
        time=pl.col("ts").dt.epoch("ms"), close="close", piece=step.fill_null(value=False).cum_sum(), final="is_final"
    )
    chart: alt.Chart = alt.Chart(alt.InlineData(values=plain.to_dicts())).mark_line(point=plain.height < 100)
    shown: alt.Chart = chart.encode(
        x=alt.X("time:T", title="UTC", scale=alt.Scale(type="utc")),
        y=alt.Y("close:Q", title=None, scale=alt.Scale(zero=False)),
        detail="piece:N",
        color=alt.condition("datum.final", alt.value("#2962ff"), alt.value("#9e9e9e")),
        tooltip=["time:T", "close:Q", "final:N"],
    )
    return shown
