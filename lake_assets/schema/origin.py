"""From which stream each column of the minute table comes, and what tells that nothing of it was ingested.

Belongs here: that mapping, read off the declared columns. Does not belong here: which source an hour had (ledger),
counting minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from lake_assets.schema.tables import MINUTE

LIVE = "live"
"""Name of the collector among the sources of an hour."""

_STREAM_OF = {
    "aggTrades": "agg_trades",
    "bookTicker": "book_ticker",
    "metrics": "metrics",
    "markPriceKlines": "mark_price_klines_1m",
    "indexPriceKlines": "index_price_klines_1m",
    "premiumIndexKlines": "premium_index_klines_1m",
    "fundingRate": "funding_rate",
}
"""By the first word of the cold source. Columns of the klines are there wherever a row is."""
_DERIVED = {"ls_ratio_divergence": "metrics"}
_FALLS_BACK = frozenset({"vwap_1m"})
"""Columns that have a value also without their first source."""
_WITNESS = {
    **dict.fromkeys(("event_time", "arrival_time", "update_id_start", "update_id_end", "depth_degraded"), "has_depth"),
    **dict.fromkeys(("latency_engine", "latency_network", "ws_latency_bad"), "has_ws_latency"),
    **dict.fromkeys(
        (
            "liq_long_vol_usdt", "liq_short_vol_usdt", "liq_long_count", "liq_short_count", "liq_avg_fill_price",
            "liq_unfilled_ratio", "liq_unfilled_supported",
        ),
        "has_liq",
    ),
    # NULL until the book was in sync; the price is NULL also where the book is too thin.
    "price_impact_100k": "impact_fillable",
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Where a column that can be NULL for lack of a source comes from.

    Attributes:
        stream: name of the archive stream, or `LIVE` for what only a collector can know.
        witness: column that is NULL (a flag: not true) in the minutes in which nothing was ingested; another one than
            the column itself where that is NULL also because nothing happened.
    """

    stream: str
    witness: str

    @property
    def absent(self) -> pl.Expr:
        """True in minutes in which nothing was ingested."""
        value, flag = pl.col(self.witness), self.witness in MINUTE.flags
        return ~value if flag and not MINUTE.column(self.witness).nullable else value.is_null()


def _origins() -> dict[str, Origin]:
    found = {}
    for column in MINUTE.columns:
        name = column.name
        if column.support_class == "LIVE_ONLY" and column.nullable:
            found[name] = Origin(LIVE, _WITNESS.get(name, name))
        elif name not in _FALLS_BACK and (column.nullable or column.name in MINUTE.required):
            stream = _DERIVED.get(name) or _STREAM_OF.get(column.cold_source.split()[0])
            if stream is not None:
                found[name] = Origin(stream, "count_buy_trades" if stream == "agg_trades" else name)
    return found


ORIGINS: dict[str, Origin] = _origins()
"""By column. Columns that are not in it are never NULL for lack of a source."""
