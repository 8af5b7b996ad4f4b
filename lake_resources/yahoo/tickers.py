"""Tickers of Yahoo: which text can be one, its name in paths and assets, and the calendar that it trades by.

Belongs here: reading tickers and naming them, reversibly. Does not belong here: the sessions themselves (`sessions`).
"""

from __future__ import annotations

import re
from typing import Literal

from lake_resources.errors import SettingsError

Calendar = Literal["XNYS", "CMES", "FX", "24/7"]

YAHOO_URL = "https://query2.finance.yahoo.com"
"""Base URL of Yahoo's chart API."""
DEFAULT_TICKERS = ("SPY", "UUP", "ES=F", "EURUSD=X", "GBPUSD=X", "USDJPY=X", "USDCAD=X", "USDCHF=X", "USDSEK=X")
"""Two funds, a future and the six currency pairs that the dollar index is made of."""

_TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.=^-]{0,19}")
_PLAIN = re.compile(r"[A-Z0-9]")
_CODE = re.compile(r"_([0-9A-F]{2})")


def parse_ticker(text: str) -> str:
    """A ticker as Yahoo writes it, upper case: letters, digits and `. = ^ -`, at most 20.

    Raises:
        SettingsError: it is none.
    """
    ticker = text.strip().upper()
    if not text.isascii() or not _TICKER.fullmatch(ticker):
        raise SettingsError(f"{text[:40]!r} is no ticker of Yahoo", remedy="Give tickers such as SPY, ES=F or EURUSD=X")
    return ticker


def ticker_name(ticker: str) -> str:
    """A ticker as part of paths and of Dagster's names: marks become `_` and their code, `ES=F` is `ES_3DF`.

    No two tickers have the same name, for `_` is not a mark of tickers; `ticker_of` reads it back.
    """
    return "".join(mark if _PLAIN.match(mark) else f"_{ord(mark):02X}" for mark in ticker)


def ticker_of(name: str) -> str:
    """The ticker that a name stands for.

    Raises:
        SettingsError: it is no name that `ticker_name` gives.
    """
    ticker = _CODE.sub(lambda found: chr(int(found[1], 16)), name)
    if ticker_name(ticker) != name:
        raise SettingsError(f"{name[:40]!r} is no name of a ticker", remedy="Names are made by `ticker_name`")
    return parse_ticker(ticker)


def calendar_of(ticker: str) -> Calendar:
    """The calendar that a ticker trades by.

    Currency pairs end in `=X`, futures in `=F` (those of CME are meant), crypto in `-USD`; all else is taken for a
    paper of the New York exchanges.
    """
    if ticker.endswith("=X"):
        return "FX"
    if ticker.endswith("=F"):
        return "CMES"
    return "24/7" if ticker.endswith("-USD") else "XNYS"
