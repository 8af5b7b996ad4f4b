"""The one reader of symbols that people write.

Belongs here: which text can be a symbol. Does not belong here: whether the exchange trades it.
"""

from __future__ import annotations

from lake_resources.errors import SettingsError

LONGEST = 40


def parse_symbol(text: str) -> str:
    """A symbol, upper case. It becomes a directory and a part of URLs, so it is letters of any script, digits and `_`.

    Raises:
        SettingsError: it holds anything else, nothing, or more than 40 characters.
    """
    symbol = text.strip().upper()
    if not symbol.replace("_", "x").isalnum() or len(symbol) > LONGEST:
        raise SettingsError(f"{text[: 2 * LONGEST]!r} is no symbol", remedy="Give symbols such as BTCUSDT")
    return symbol


_LARGE = (
    "BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "SUI", "LINK", "AVAX",
    "DOT", "LTC", "NEAR", "TRX", "UNI", "ATOM", "APT", "ARB", "OP",
)  # fmt: skip
SPOT_PRESETS = {"preset19": tuple(f"{base}USDT" for base in _LARGE)}
"""Words that stand for a list of spot symbols."""
