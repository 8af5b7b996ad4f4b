"""All streams of all markets, by market and name: one name may stand for a stream in each market.

Belongs here: finding a stream. Does not belong here: what a stream is (`stream`), the streams of a market
(`um_streams`, `spot_streams`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from lake_resources.binance.market import SPOT, UM
from lake_resources.binance.spot_streams import SPOT_STREAMS
from lake_resources.binance.stream import Stream
from lake_resources.binance.um_streams import UM_STREAMS

STREAMS: Mapping[str, Mapping[str, Stream]] = {UM.name: UM_STREAMS, SPOT.name: SPOT_STREAMS}


def rest_memories(market: str) -> dict[str, timedelta | None]:
    """How far back REST has each stream of a market that it serves; None stands for the beginning."""
    return {name: stream.rest.retention for name, stream in STREAMS[market].items() if stream.rest is not None}
