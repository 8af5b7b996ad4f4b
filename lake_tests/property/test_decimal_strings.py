"""Decimal strings become the nearest double, by REST and by archive alike: the same text never gives two values."""

from __future__ import annotations

import tempfile
import zipfile
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lake_resources.binance.rest import rest_payloads
from lake_resources.binance.um_streams import UM_STREAMS
from lake_tests.support.archive_rows import archive_rows

# Prices, quantities and quote volumes as Binance writes them, and far beyond.
DECIMALS = st.one_of(
    st.decimals(min_value=0, max_value=10**6, places=8),
    st.decimals(min_value=0, max_value=10**12, places=5),
    st.decimals(min_value=-1, max_value=1, places=17),
    st.floats(min_value=1e-12, max_value=1e15).map(Decimal),
).map(lambda value: format(value, "f"))


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(DECIMALS, min_size=1, max_size=40))
def test_rest_and_archive_read_the_same_nearest_double(texts: list[str]) -> None:
    times = [1_774_599_098_684 + n for n in range(len(texts))]
    expected = [float(text) for text in texts]
    body = [
        {"a": n, "p": text, "q": text, "f": n, "l": n, "T": time, "m": False}
        for n, (text, time) in enumerate(zip(texts, times, strict=True))
    ]
    by_rest = rest_payloads.agg_trades(body, "GET /fapi/v1/aggTrades")
    csv = "".join(
        f"{n},{text},{text},{n},{n},{time},false\n" for n, (text, time) in enumerate(zip(texts, times, strict=True))
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trades.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("trades.csv", csv)
        by_archive = archive_rows(path, UM_STREAMS["agg_trades"])
    assert by_rest["price"].to_list() == expected
    assert by_archive["price"].to_list() == expected
    assert by_rest.equals(by_archive)
