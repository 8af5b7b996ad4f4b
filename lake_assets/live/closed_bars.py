"""What the klines that a socket closed prove: that after the last trade that was heard nothing more was traded.

Belongs here: reading those frames, and how far beyond the last trade they reach. Does not belong here: bars of trades
(`transforms.trade_fold`), reading records (`heard_minutes`, `spot_records`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake_resources.binance.ws.frames import decode
from lake_resources.clock import epoch_ms, from_epoch_ms


@dataclass(frozen=True)
class ClosedBar:
    """What the frame that closes a kline says.

    Attributes:
        count: single trades in it.
        last_id: id of the last of them; -1 where there is none.
    """

    count: int
    last_id: int


@dataclass(frozen=True)
class LastTrade:
    """The newest trade that was heard.

    Attributes:
        time: its time, that of its first fill where it is of several, UTC.
        first_id: id of its first single trade.
        last_id: id of its last one.
    """

    time: datetime
    first_id: int
    last_id: int


def closed_bars(payloads: Iterable[bytes]) -> dict[datetime, ClosedBar]:
    """Closed klines by their start (UTC).

    Args:
        payloads: frames of which each closes a kline, as they came.
    """
    bars = [decode(payload)["k"] for payload in payloads]
    return {from_epoch_ms(bar["t"]): ClosedBar(bar["n"], bar["L"]) for bar in bars}


def heard_until(last: LastTrade, closed: Mapping[datetime, ClosedBar], step: timedelta) -> datetime | None:
    """Up to when nothing after the last trade was traded, as closed klines say; None where they do not.

    The kline that holds the trade must name it, or a fill of it, as its last one: a trade of several fills may end in
    the next kline. Those after it must have no trade, or none that is not part of it.

    Args:
        last: the newest trade that was heard.
        closed: klines of one length, by start.
        step: that length.

    Returns:
        End of the last kline in a row that says so, UTC.
    """
    step_ms = step // timedelta(milliseconds=1)
    at = from_epoch_ms(epoch_ms(last.time) // step_ms * step_ms)
    bar = closed.get(at)
    if bar is None or not last.first_id <= bar.last_id <= last.last_id:
        return None
    while bar is not None and (not bar.count or bar.last_id <= last.last_id):
        at += step
        bar = closed.get(at)
    return at
