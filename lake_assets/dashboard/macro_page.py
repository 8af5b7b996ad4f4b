"""The page of macro minutes: every ticker at a glance, one of them closely, with its holes and what they mean.

Belongs here: the page. Does not belong here: rows and certificates (`reading`), names of tickers (`yahoo.tickers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl
import streamlit as st

from lake_assets.dashboard.choices import choose, choose_refresh, looking_again, now, symbols_of, telling
from lake_assets.dashboard.closes import closes_line
from lake_assets.dashboard.downloads import offer
from lake_assets.quality.certificate import Certificate
from lake_assets.reading import load
from lake_assets.research.dollar_index import COMPONENTS, INDEX, dollar_index
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_resources.clock import DAY, MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.storage.reader import reading
from lake_resources.yahoo.tickers import ticker_name, ticker_of

_SPANS = {"1 day": 1, "3 days": 3, "1 week": 7, "1 month": 30}


@telling
def show(settings: LakeSettings) -> None:
    """The page."""
    st.title("Macro minutes")
    st.caption("Yahoo's minutes. All times are UTC. Nothing is expected outside of trading sessions.")
    names = symbols_of(MACRO_MINUTE, settings)
    if not names:
        st.info(
            "No macro minute is here yet: `lake up` asks for those of `LAKE_MACRO_TICKERS` every quarter of an hour."
            " On a weekend they come with the next session."
        )
        return
    days = _SPANS[choose("Days", list(_SPANS), "macro-span", first="3 days")]
    name = choose("Ticker", names, "macro-ticker", text=ticker_of)
    every = choose_refresh()

    def drawn() -> None:
        end = MACRO_MINUTE.layout.row_start(now() + timedelta(minutes=1))
        start = end - days * DAY
        found = {each: _loaded(settings, each, start, end) for each in names}
        st.dataframe([_line(each, *found[each]) for each in names])
        _index(found, f"{start:%Y%m%dT%H%M}-{end:%Y%m%dT%H%M}")
        rows, certificate = found[name]
        st.subheader(ticker_of(name))
        if rows.is_empty():
            st.info(f"{ticker_of(name)} has no minute between {start:%F %R} and {end:%F %R} UTC.")
        else:
            st.altair_chart(closes_line(rows, "ts", MINUTE), width="stretch")
        offer(f"{name}-{start:%Y%m%dT%H%M}-{end:%Y%m%dT%H%M}", rows, certificate.as_json)
        st.subheader("Minutes that are not there")
        st.dataframe(
            [{"from": hole.start, "to": hole.end, "minutes": hole.rows, "cause": hole.cause,
              "explained": hole.explained} for hole in certificate.holes]
        )  # fmt: skip

    looking_again(settings, drawn, every)


def _index(found: Mapping[str, tuple[pl.DataFrame, Certificate]], span: str) -> None:
    """The dollar index of the minutes that are shown."""
    st.subheader("Dollar index")
    lacking = [each for each in COMPONENTS if ticker_name(each) not in found]
    if lacking:
        st.info(f"The dollar index is made of six currencies, and {', '.join(lacking)} is not here yet.")
        return
    parts = {each: found[ticker_name(each)] for each in COMPONENTS}
    rows = dollar_index(pl.concat(rows for rows, _ in parts.values()))
    whole = rows.filter(pl.col("close").is_not_null())
    lacks = rows.height - whole.height
    st.caption(
        f"`{INDEX}` by ICE's formula from {', '.join(COMPONENTS)}. Minutes that one of the six lacks have no value:"
        f" {lacks:,} of {rows.height:,}."
    )
    if whole.is_empty():
        st.info("No minute of this window has all six.")
        return
    first, last = whole.row(0, named=True), whole.row(-1, named=True)
    shown = st.columns(4)
    shown[0].metric("Index", f"{last['close']:.3f}", f"{100 * (last['close'] / first['open'] - 1):.3f} %")
    shown[1].metric("At (UTC)", f"{last['ts']:%m-%d %H:%M}")
    shown[2].metric("Minutes with all six", f"{whole.height:,}")
    shown[3].metric("Minutes without", f"{lacks:,}")
    st.altair_chart(closes_line(rows, "ts", MINUTE), width="stretch")
    offer(
        f"{INDEX}-{span}", rows,
        lambda: {"index": INDEX, "components": {each: told.as_json() for each, (_, told) in parts.items()}},
    )  # fmt: skip


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
