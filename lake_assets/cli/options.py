"""Options that several commands share, and what they mean.

Belongs here: typed arguments, their help, how their text is read. Does not belong here: any command, printing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from lake_resources.errors import SettingsError
from lake_resources.instants import parse_day, parse_end, parse_minute, parse_whole_minute
from lake_resources.settings import LakeSettings
from lake_resources.symbols import parse_symbol
from lake_resources.yahoo.tickers import parse_ticker, ticker_name

_Found = TypeVar("_Found")


def refusing(parse: Callable[[str], _Found]) -> Callable[[Any], _Found]:
    """A parser as Typer wants it: what is refused is wrong usage that names the option."""

    @wraps(parse)
    def read(given: Any) -> _Found:
        # A default comes as the value that it is.
        if not isinstance(given, str):
            return given  # type: ignore[no-any-return]
        try:
            return parse(given)
        except SettingsError as error:
            raise typer.BadParameter(str(error)) from error

    return read


def settings_for(*, testing: bool) -> LakeSettings:
    """The settings, in testing mode where a flag says so; what is set of that mode elsewhere holds, too."""
    given: dict[str, Any] = {"testing": {"enabled": True}} if testing else {}
    return LakeSettings(**given)


def named_symbol(text: str) -> str:
    """A symbol, or the name that a ticker of Yahoo has in the lake: `EURUSD=X` is `EURUSD_3DX`.

    Raises:
        SettingsError: it is neither.
    """
    if any(mark in text for mark in "=^") or text.strip().upper().endswith("-USD"):
        return ticker_name(parse_ticker(text))
    return parse_symbol(text)


first_minute, end_minute = refusing(parse_minute), refusing(parse_end)
whole_minute, utc_day, symbol_name = refusing(parse_whole_minute), refusing(parse_day), refusing(named_symbol)

INSTANT = "UTC, or any ISO 8601 form with its offset"
"""What the help of an option says of its instant."""
Symbol = Annotated[str, typer.Argument(parser=symbol_name, metavar="SYMBOL", help="e.g. BTCUSDT")]
Symbols = Annotated[
    list[str] | None,
    typer.Argument(
        parser=symbol_name, metavar="SYMBOLS", help="symbols, default those of LAKE_SYMBOLS", show_default=False
    ),
]
Start = Annotated[
    datetime | None,
    typer.Option(
        parser=first_minute, metavar="TIME", help=f"first minute, e.g. 2024-01-31; {INSTANT}; seconds are rounded down"
    ),
]
End = Annotated[
    datetime | None,
    typer.Option(parser=end_minute, metavar="TIME", help="first minute after it; default: now; seconds are rounded up"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON on stdout instead of tables")]


def chosen_symbols(given: list[str] | None, settings: LakeSettings) -> tuple[str, ...]:
    """The symbols of a command, each once."""
    return tuple(dict.fromkeys(given)) if given else settings.symbols
