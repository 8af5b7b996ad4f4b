"""Where an earlier collector left off: trades that are missing, and connections that nobody closed.

Belongs here: reading that from the journal and the records, whose word counts where the two differ.
Does not belong here: the state of the fold (`lake_assets.live.folding`), fetching anything (`healing`).
A killed collector has journalled neither its youngest gaps nor its last frames, but the records show both.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from lake_resources.binance.market import UM, Market
from lake_resources.binance.ws.frames import CONNECTION, HEALED
from lake_resources.binance.ws.subscriptions import witness_of_trades
from lake_resources.clock import from_epoch_ns
from lake_resources.collector.journal import ConnectionRow, GapRow, Journal, KnownRow
from lake_resources.collector.segments import minutes_on_disk, read_records

Ids = tuple[int, int]
"""First and last id, both inclusive."""

_LATE_MINUTES = 2
"""Trades may be filed so long before the newest minute of any stream."""
_UNKNOWN_MINUTES = 60
"""So many minutes are read where nothing is noted of a symbol yet."""
_LAST_FRAME_MINUTES = 3


@dataclass(frozen=True)
class LeftOff:
    """What a collector goes on from.

    Attributes:
        last_ids: newest aggTrade id of each symbol that has one; no missing id is beyond it.
        missing: per symbol the ids that are neither on disk nor given up.
        gaps: rows of gaps that are open.
        ended: rows of connections that were left open, closed at their last frame.
    """

    last_ids: Mapping[str, int]
    missing: Mapping[str, Sequence[Ids]]
    gaps: Sequence[GapRow]
    ended: Sequence[ConnectionRow]


def left_off(
    journal: Journal, root: Path, symbols: Sequence[str], last_ids: Mapping[str, int], market: Market = UM
) -> LeftOff:
    """Find out.

    Args:
        journal: of the lake.
        root: directory of the records; nobody writes there.
        symbols: upper case.
        last_ids: newest trade ids that others know.
        market: whose records they are.
    """
    known, rows = journal.known(), journal.gaps("open")
    minutes = minutes_on_disk(root)
    newest, missing = dict(last_ids), {}
    for symbol in symbols:
        open_ids = [(row.first_id, row.last_id) for row in rows if row.symbol == symbol]
        records = _TradeRecords(root, symbol, minutes, market)
        last_id, missing[symbol] = records.missing(known.get(symbol), open_ids)
        if (found := max(last_id, last_ids.get(symbol, -1))) >= 0:
            newest[symbol] = found
    return LeftOff(newest, missing, rows, _ended(journal.left_open(), root, symbols, minutes))


class _TradeRecords:
    """The trades of one symbol that are on disk.

    Ids and times of trades grow together, so few minutes have to be read.
    """

    def __init__(self, root: Path, symbol: str, minutes: Sequence[int], market: Market) -> None:
        self._witness = witness_of_trades(market.name)
        self._root = root
        self._symbol = symbol
        self._minutes = minutes
        self.ids = cache(self._read)

    def missing(self, known: KnownRow | None, open_ids: Sequence[Ids]) -> tuple[int, list[Ids]]:
        """The newest id that anything is known of (-1 where nothing is), and the ids that are missing."""
        if known is None:
            late = self._minutes[-_UNKNOWN_MINUTES:]
        else:
            late = self._minutes[bisect_left(self._minutes, known.minute - _LATE_MINUTES) :]
        heard = {number for minute in late for number in self.ids(minute)}
        last_id = max([*heard, *(last for _, last in open_ids)], default=-1)
        base = known.last_id if known is not None else min(heard, default=last_id + 1) - 1
        # A gap may be in the journal, and what was heard between it and the one before not yet on disk.
        unknown = [part for ids in subtract([(base + 1, last_id)], heard) for part in _without(ids, open_ids)]
        wanted = sorted([*open_ids, *unknown])
        missing = [part for ids in wanted for part in subtract([ids], self._within(*ids))]
        return max(base, last_id), missing

    def _within(self, first_id: int, last_id: int) -> set[int]:
        """The ids from first to last that are on disk."""
        begin = self._position(first_id)
        end = self._position(last_id + 1)
        minutes = self._minutes[max(begin - 1, 0) : end + 2]
        return {number for minute in minutes for number in self.ids(minute) if first_id <= number <= last_id}

    def _position(self, wanted_id: int) -> int:
        """Position of the first minute whose newest id is not below `wanted_id`."""
        low, high = 0, len(self._minutes)
        while low < high:
            middle = probe = (low + high) // 2
            while probe < high and not self.ids(self._minutes[probe]):
                probe += 1
            if probe < high and max(self.ids(self._minutes[probe])) < wanted_id:
                low = probe + 1
            else:
                high = middle
        return low

    def _read(self, minute: int) -> tuple[int, ...]:
        found: list[int] = []
        kinds = frozenset((self._witness.kind, HEALED))
        first, last = self._witness.healed_by
        for frame in read_records(self._root, self._symbol, minute, minute + 1, kinds):
            data = frame.decoded()
            if frame.kind == HEALED:
                found += (number for row in data for number in range(row[first], row[last] + 1))
            else:
                found.append(data[str(self._witness.row_id)])
        return tuple(found)


def subtract(wanted: Iterable[Ids], present: Iterable[int]) -> list[Ids]:
    """What is left of ids, in order, without some of them."""
    left: list[Ids] = []
    numbers = sorted(present)
    for first, last in wanted:
        begin = first
        for number in numbers[bisect_left(numbers, first) : bisect_left(numbers, last + 1)]:
            if number > begin:
                left.append((begin, number - 1))
            begin = number + 1
        if begin <= last:
            left.append((begin, last))
    return left


def _without(ids: Ids, others: Iterable[Ids]) -> list[Ids]:
    """Parts of ids that none of the others has."""
    parts = [ids]
    for first, last in others:
        parts = [
            part
            for low, high in parts
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
    return parts


def _ended(
    rows: Sequence[ConnectionRow], root: Path, symbols: Sequence[str], minutes: Sequence[int]
) -> list[ConnectionRow]:
    """Rows that were left open, closed when their socket was heard last."""
    if not rows:
        return []
    last_ns: dict[int, int] = {}
    for minute in minutes[-_LAST_FRAME_MINUTES:]:
        for symbol in symbols:
            for frame in read_records(root, symbol, minute, minute + 1):
                if frame.kind != CONNECTION:
                    last_ns[frame.conn] = max(frame.received_ns, last_ns.get(frame.conn, 0))
    ended = []
    for row in rows:
        heard = [row.last_frame_at] if row.last_frame_at is not None else []
        if row.conn in last_ns:
            heard.append(from_epoch_ns(last_ns[row.conn]))
        last = max(heard, default=None)
        reason = "the collector ended without closing it"
        ended.append(replace(row, last_frame_at=last, closed_at=last or row.opened_at, reason=reason))
    return ended
