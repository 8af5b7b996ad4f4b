"""What commands take as a symbol: those of Binance, and tickers of Yahoo by the name that they have in the lake."""

from __future__ import annotations

import pytest

from lake_assets.cli.options import named_symbol
from lake_resources.errors import SettingsError
from lake_resources.yahoo.tickers import DEFAULT_TICKERS, ticker_name


def test_a_ticker_is_named_as_its_asset_is() -> None:
    assert {named_symbol(ticker) for ticker in DEFAULT_TICKERS} == {ticker_name(ticker) for ticker in DEFAULT_TICKERS}
    assert named_symbol("eurusd=x") == named_symbol("EURUSD_3DX") == "EURUSD_3DX"
    assert (named_symbol("^gspc"), named_symbol("btc-usd")) == ("_5EGSPC", "BTC_2DUSD")


def test_symbols_are_read_as_before() -> None:
    assert named_symbol(" btcusdt ") == "BTCUSDT"
    for text in ("BTC-USDT", "BTC/USDT", "", "=", "A" * 41):
        with pytest.raises(SettingsError):
            named_symbol(text)
