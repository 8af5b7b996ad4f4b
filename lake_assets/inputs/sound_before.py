"""Files of which the same was asked before, and whose rows lacked nothing: a hot band asks it anew each minute.

Belongs here: what makes a question the same, and the memory of those that were answered well. Does not belong here: the
answer (`row_evidence`), what follows from it (`sources`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

from lake_assets.inputs.row_evidence import settled_hours
from lake_assets.inputs.stream_sources import Span
from lake_assets.schema.stream_use import StreamUse
from lake_resources.storage.parquet import Stamp, stamp_of

_KEPT = 512


@dataclass(frozen=True)
class JudgedBy:
    """All that the judgement on rows of some hours depends on, where nothing is found to be lacking.

    Attributes:
        stream: market and name.
        files: in order, each with its stamp.
        window: of the rows that are looked at.
        hours: that are judged.
        settled: those of them in which rows can lack by now.
        first: first instant of trading, where settlements are held against it.
    """

    stream: tuple[str, str]
    files: tuple[tuple[Path, Stamp], ...]
    window: Span
    hours: tuple[datetime, ...]
    settled: tuple[datetime, ...]
    first: datetime | None


def judged_by(
    use: StreamUse,
    paths: Sequence[Path],
    window: Span,
    hours: Sequence[datetime],
    now: datetime,
    first: datetime | None,
) -> JudgedBy | None:
    """What a judgement depends on; None where a file is not there, which is told of when it is read.

    Args:
        use: the stream as the table uses it.
        paths: files of its sources, in order.
        window: of the rows that are looked at, UTC.
        hours: starts of the hours that are judged, UTC.
        now: the instant of asking, UTC.
        first: first instant of trading, UTC, where it matters.
    """
    try:
        files = tuple((path, stamp_of(path)) for path in paths)
    except OSError:
        return None
    settled = tuple(settled_hours(use, hours, now))
    return JudgedBy((use.stream.market.name, use.name), files, window, tuple(hours), settled, first)


class SoundBefore:
    """What was found to lack nothing, asked last; of any number of threads.

    Args:
        most: so many are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[JudgedBy, None] = OrderedDict()
        self._guard = Lock()

    def has(self, asked: JudgedBy) -> bool:
        """Whether the same was found so."""
        with self._guard:
            if asked not in self._found:
                return False
            self._found.move_to_end(asked)
            return True

    def note(self, asked: JudgedBy) -> None:
        """Remember it, in place of what was asked longest ago."""
        with self._guard:
            self._found[asked] = None
            while len(self._found) > self._most:
                self._found.popitem(last=False)


SOUND = SoundBefore(_KEPT)
"""Of this process."""
