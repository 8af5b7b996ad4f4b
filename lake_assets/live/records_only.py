"""The collector's observer where nothing is folded as it comes: its records are all there is, and all that is needed.

Belongs here: numbering that goes on after a restart. Does not belong here: reading the records (`spot_records`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lake_resources.binance.ws.frames import Frame
from lake_resources.collector.segments import lately_written, read_records

_WRITTEN_WITHIN_S = 180.0


@dataclass(frozen=True)
class RecordsOnly:
    """Looks at no record.

    Attributes:
        segments: directory of the raw records.
        clock_ns: local time, epoch ns.
    """

    segments: Path
    clock_ns: Callable[[], int]

    def next_seq(self) -> int:
        """The number for the next record: beyond all on the disk."""
        last = 0
        for minute in lately_written(self.segments, _WRITTEN_WITHIN_S):
            last = max([last, *(frame.seq for frame in read_records(self.segments, None, minute, minute + 1))])
        return max(last + 1, self.clock_ns() // 1000)

    def feed(self, frame: Frame) -> None:
        """Take a record."""

    def checkpoint(self, symbol: str) -> bytes | None:  # noqa: ARG002 - an observer's
        """No state is kept."""
        return None

    @property
    def pressing(self) -> bool:
        """Nobody waits for anything."""
        return False

    def work(self) -> Callable[[], None] | None:
        """Nothing is to be written."""
        return None

    def finish(self) -> Callable[[], None] | None:
        """Nothing is to be written."""
        return None
