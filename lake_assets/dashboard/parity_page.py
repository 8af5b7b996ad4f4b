"""The page of parity: any row side by side, from the socket, REST, each vintage of the archive, and the lake.

Belongs here: the page. Does not belong here: finding the sides (`minute_sides`).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import streamlit as st

from lake_assets.at_rest import store_of
from lake_assets.dashboard.choices import choose_symbol, choose_table, now, telling
from lake_assets.dashboard.minute_sides import FIELD, sides_of
from lake_resources.instants import parse_instant
from lake_resources.settings import LakeSettings


@telling
def show() -> None:
    """The page."""
    settings = LakeSettings()
    table = choose_table()
    symbol = choose_symbol(table, settings)
    st.title("Parity")
    st.caption("One row from every side. What differs is marked; the lake's own choice is the last column.")
    default = table.layout.row_start(now() - timedelta(hours=1))
    text = st.text_input(f"{table.row_word.capitalize()} (UTC, ISO 8601)", f"{default:%F %T}", key="instant")
    instant = table.layout.row_start(parse_instant(text))
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
    st.dataframe(
        found.select(
            pl.col("differs").replace_strict({True: "≠", False: ""}).alias(" "), FIELD, pl.exclude(FIELD, "differs")
        )
    )
