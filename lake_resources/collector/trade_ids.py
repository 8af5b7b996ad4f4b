"""Which trade ids of a symbol were heard: repetitions and gaps.

Belongs here: the state machine. Does not belong here: fetching what is missing (`healing`), remembering it (`journal`).
Binance gives every aggTrade of a symbol (every trade on spot) the next id, so a jump is a loss and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_GAPS = 10_000
"""Of one symbol; connections that break every ten seconds for a day leave fewer. Ids that always jump are none."""


@dataclass
class Gap:
    """Ids that were not heard, both bounds inclusive; `since_s` is when the jump was seen (steady clock)."""

    first_id: int
    last_id: int
    since_s: float

    @property
    def count(self) -> int:
        """How many ids."""
        return self.last_id - self.first_id + 1


class TradeIds:
    """Ids of one symbol.

    Args:
        last_id: newest id known from before, or None.

    Attributes:
        last_id: newest id heard.
        gaps: ids below it that were not heard, in order.
        repeated: how many ids came again.
    """

    def __init__(self, last_id: int | None = None) -> None:
        self.last_id = last_id
        self.gaps: list[Gap] = []
        self.repeated = 0

    def heard(self, trade_id: int, now_s: float) -> bool:
        """Take an id; False when it came before.

        Raises:
            ValueError: it leaves one gap more where there are `MOST_GAPS` already.
        """
        last_id = self.last_id
        if last_id is None or trade_id == last_id + 1:
            self.last_id = trade_id
            return True
        if trade_id > last_id:
            if len(self.gaps) >= MOST_GAPS:
                raise ValueError(f"id {trade_id} would leave more than {MOST_GAPS:,} gaps")
            self.gaps.append(Gap(last_id + 1, trade_id - 1, now_s))
            self.last_id = trade_id
            return True
        for position, gap in enumerate(self.gaps):
            if gap.first_id <= trade_id <= gap.last_id:
                below = Gap(gap.first_id, trade_id - 1, gap.since_s)
                above = Gap(trade_id + 1, gap.last_id, gap.since_s)
                self.gaps[position : position + 1] = [part for part in (below, above) if part.count > 0]
                return True
        self.repeated += 1
        return False

    def cover(self, first_id: int, last_id: int) -> int:
        """Take the ids from first to last at once, as one row of several trades; returns how many were missing."""
        missing = sum(
            min(gap.last_id, last_id) - max(gap.first_id, first_id) + 1
            for gap in self.gaps
            if gap.first_id <= last_id and gap.last_id >= first_id
        )
        if missing:
            self.give_up(first_id, last_id)
        return missing

    def due(self, now_s: float, patience_s: float) -> list[Gap]:
        """Gaps that are older than a mere change of order."""
        return [gap for gap in self.gaps if now_s - gap.since_s >= patience_s]

    def give_up(self, first_id: int, last_id: int) -> None:
        """Forget the ids from first to last: they will never be filled."""
        self.gaps = [
            part
            for gap in self.gaps
            for part in (
                Gap(gap.first_id, min(gap.last_id, first_id - 1), gap.since_s),
                Gap(max(gap.first_id, last_id + 1), gap.last_id, gap.since_s),
            )
            if part.count > 0
        ]
