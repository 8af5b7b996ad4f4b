"""The page of parity: one row side by side, from the socket, REST, each vintage of the archive, and the lake.

Belongs here: the page. Does not belong here: finding the sides (`minute_sides`).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import streamlit as st

from lake_assets.at_rest import store_of
from lake_assets.dashboard.choices import choose_refresh, choose_symbol, choose_table, looking_again, now, telling
from lake_assets.dashboard.downloads import offer
from lake_assets.dashboard.minute_sides import FIELD, sides_of
from lake_assets.reading import load
from lake_resources.instants import parse_instant
from lake_resources.settings import LakeSettings

_DIFFERS = "background-color: rgba(255, 152, 0, 0.35)"


@telling
def show(settings: LakeSettings) -> None:
    """The page."""
    table = choose_table()
    symbol = choose_symbol(table, settings)
    every = choose_refresh()
    st.title(f"Parity, {symbol}")
    st.caption("One row from every side, UTC. What differs is marked; the lake's own choice is the last column.")
    default = table.layout.row_start(now() - timedelta(hours=1))
    text = st.text_input(f"{table.row_word.capitalize()} (UTC, ISO 8601)", f"{default:%F %T}", key="instant")
    instant = table.layout.row_start(parse_instant(text))

    def drawn() -> None:
        store = store_of(settings, table)
        try:
            found = sides_of(store, symbol, instant)
        finally:
            store.close()
        if found.width == 2:
            st.info(f"Nobody has said anything of {symbol} at {table.row_text(instant)} UTC that is still kept.")
            return
        differing = found["differs"].sum()
        st.write(f"{symbol} {table.row_text(instant)} UTC: {differing} of {found.height} fields differ.")
        shown = found.select(
            pl.col("differs").replace_strict({True: "≠", False: ""}).alias(" "), FIELD, pl.exclude(FIELD, "differs")
        )
        marks = [_DIFFERS if each else "" for each in found["differs"]]
        st.dataframe(
            shown.to_pandas().style.apply(lambda _column: marks),
            hide_index=True,
            height="content",
            column_config={" ": st.column_config.Column(width="small")},
        )
        offer(
            f"parity-{table.name}-{symbol}-{instant:%Y%m%dT%H%M%S}",
            found,
            lambda: load(
                symbol, instant, instant + table.layout.grain, table=table, settings=settings, clock=now
            ).certificate.as_json(),
        )

    looking_again(settings, drawn, every)
