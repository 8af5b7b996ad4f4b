"""The collector's observer of spot that writes raw JSON lines: each minute of event time as a file once it is over.

Belongs here: which minutes are due, and which are due again. Does not belong here: the files and their lines
(`raw_lines`; `lake raw-export` writes the same), recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lake_assets.live.raw_lines import PART, export_raw, part_path
from lake_assets.live.records_only import RecordsOnly
from lake_resources.binance.market import SPOT
from lake_resources.binance.ws.frames import BOOK_TICKER, HEALED, TRADE, Frame
from lake_resources.clock import MINUTE_MS
from lake_resources.collector.segments import lately_written, minutes_on_disk
from lake_resources.storage.catalog import MarketPaths

SETTLE_NS = 5_000_000_000
"""A minute is written so long after its end: by then its last trades have come, and most gaps are healed."""
_LOOK_BACK_MINUTES = 360
"""So far back a start looks for minutes that have records and no file."""
_UNSURE_S = 180.0
"""What was recorded so shortly before a kill may not have reached the file of its minute."""
_AT_ONCE = 40
"""Files of one job: the end of the collector waits for no more."""
_KINDS = frozenset((TRADE, HEALED, BOOK_TICKER))

SymbolMinute = tuple[str, int]


class RawWriter:
    """Writes a minute when it is over, and again when something came late, such as trades that heal a gap.

    Args:
        root: directory of the lake, whose records are read.
        symbols: upper case.
        out: directory above `raw`.
        clock_ns: local time, epoch ns.
    """

    def __init__(self, root: Path, symbols: Sequence[str], out: Path, clock_ns: Callable[[], int]) -> None:
        self._root, self._out, self._clock_ns = root, out, clock_ns
        self._records = RecordsOnly(MarketPaths(root, SPOT.name).live_records_dir, clock_ns)
        self._heard: set[SymbolMinute] = set()
        self._ready: deque[SymbolMinute] = deque(self._left(symbols))
        self._writing = False

    def next_seq(self) -> int:
        """The number for the next record: beyond all on the disk."""
        return self._records.next_seq()

    def feed(self, frame: Frame) -> None:
        """Take a record."""
        if frame.kind in _KINDS:
            self._heard.add((frame.symbol, frame.minute))

    def checkpoint(self, symbol: str) -> bytes | None:  # noqa: ARG002 - an observer's
        """No state is kept."""
        return None

    @property
    def pressing(self) -> bool:
        """Nobody waits for anything."""
        return False

    def work(self) -> Callable[[], None] | None:
        """Minutes that were over at the call before this one: since then all of their records were written."""
        job = None if self._writing else self._job([self._ready.popleft() for _ in range(self._count())])
        last_ns = self._clock_ns() - SETTLE_NS
        over = {each for each in self._heard if (each[1] + 1) * MINUTE_MS * 1_000_000 <= last_ns}
        self._heard -= over
        self._ready.extend(sorted(over - set(self._ready)))
        return job

    def finish(self) -> Callable[[], None] | None:
        """All that is left, the minute that is not over too: whoever goes on with it writes it whole."""
        left = [*self._ready, *sorted(self._heard - set(self._ready))]
        self._ready.clear()
        self._heard.clear()
        return self._job(left)

    def _count(self) -> int:
        return min(len(self._ready), _AT_ONCE)

    def _job(self, due: Sequence[SymbolMinute]) -> Callable[[], None] | None:
        if not due:
            return None
        self._writing = True

        def write() -> None:
            left = deque(due)
            try:
                while left:
                    symbol, minute = left[0]
                    start = _instant(minute)
                    export_raw(self._root, symbol, start, start + PART, self._out)
                    left.popleft()
            finally:
                # What a full disk did not take is tried again.
                self._ready.extend(left)
                self._writing = False

        return write

    def _left(self, symbols: Sequence[str]) -> Iterable[SymbolMinute]:
        """Minutes that an earlier collector recorded and did not write, as far as anybody knows."""
        segments = self._records.segments
        oldest = self._clock_ns() // 1_000_000 // MINUTE_MS - _LOOK_BACK_MINUTES
        unsure = set(lately_written(segments, _UNSURE_S))
        for minute in minutes_on_disk(segments):
            for symbol in symbols:
                if minute in unsure or (
                    minute >= oldest and not part_path(self._out, symbol, _instant(minute)).exists()
                ):
                    yield symbol, minute


def _instant(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)
