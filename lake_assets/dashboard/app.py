"""The script that Streamlit runs: the pages of the dashboard.

Belongs here: their order. Does not belong here: any page.
"""

from __future__ import annotations

import streamlit as st

from lake_assets.dashboard import chart_page, feed_page, macro_page, parity_page, quality_page, slices_page

st.set_page_config("minute-lake", layout="wide")
# What is looked at begins at the top of the window.
st.html("<style>.stMainBlockContainer { padding-top: 2.5rem; }</style>")
st.navigation(
    [
        st.Page(chart_page.show, title="Chart", default=True),
        st.Page(quality_page.show, title="Quality", url_path="quality"),
        st.Page(parity_page.show, title="Parity", url_path="parity"),
        st.Page(feed_page.show, title="1H feed", url_path="feed"),
        st.Page(macro_page.show, title="Macro", url_path="macro"),
        st.Page(slices_page.show, title="Slices", url_path="slices"),
    ]
).run()
