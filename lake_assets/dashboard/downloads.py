"""Files of what a page shows: the rows as CSV and Parquet, and the certificate that says what they are worth.

Belongs here: the three buttons. Does not belong here: rows, certificates. Each file is made when its button is clicked:
a picture does not wait for files that nobody wants.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import polars as pl
import streamlit as st


def offer(name: str, rows: pl.DataFrame, certificate: Callable[[], dict[str, Any]]) -> None:
    """The buttons.

    Args:
        name: of the files, without an ending.
        rows: what is seen.
        certificate: makes the certificate of these rows as JSON values.
    """
    shown = st.columns(3)
    shown[0].download_button("CSV", lambda: rows.write_csv().encode(), f"{name}.csv", "text/csv", on_click="ignore")
    shown[1].download_button("Parquet", lambda: _parquet(rows), f"{name}.parquet", on_click="ignore")
    shown[2].download_button(
        "Certificate",
        lambda: json.dumps(certificate(), indent=2).encode(),
        f"{name}.certificate.json",
        "application/json",
        on_click="ignore",
    )


def _parquet(rows: pl.DataFrame) -> bytes:
    held = io.BytesIO()
    rows.write_parquet(held)
    return held.getvalue()
