"""How a table uses a stream: what it needs of it, how far back, and when an answer or an archive is final.

Belongs here: the `StreamUse` record. Does not belong here: which table uses which stream (`lake_assets.tables`), the
stream itself (`lake_resources.binance`), asking any source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal

from lake_resources.binance.stream import Stream
from lake_resources.binance.witness import Grid
from lake_resources.clock import HOUR

Silence = Literal["refused", "nothing", "lost"]
"""What it means that rows of an hour which has the stream hold no value of it: the gate refuses them (`refused`),
nothing was published (`nothing`), or it ran out or was lost, which the check `source_coverage` counts (`lost`)."""


@dataclass(frozen=True, kw_only=True)
class StreamUse:
    """One stream as a table uses it.

    Attributes:
        stream: the wire stream.
        silence: what a row without a value means in an hour that has the stream.
        required: without it a partition cannot be built.
        look_back_hours: whole hours before the hour whose rows may reach into it.
        carried_after: the stream's values are carried forward, from so long after their time on; then the look-back
            follows from how long they may be (`looking_back`). None where nothing is carried.
        settle: an answer taken this long after the end of its hour does not change any more.
        hours_per_fetch: hours that are fetched from REST and kept together; a failure loses no more than these.
        heard: the collector may have heard some minutes of it, whatever the source of the hour.
        again_after: an answer for an open hour that is younger than this is not asked for again: rows of the stream
            come so seldom.
    """

    stream: Stream
    silence: Silence
    required: bool = False
    look_back_hours: int = 0
    carried_after: timedelta | None = None
    settle: timedelta = timedelta(minutes=3)
    hours_per_fetch: int = 24
    heard: bool = False
    again_after: timedelta = timedelta(0)

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

    @property
    def rows_per_hour(self) -> int:
        """Rows of a whole hour of a stream that has one for each step of a grid; 0 of one whose rows just happen."""
        return HOUR // self.stream.witness.step if isinstance(self.stream.witness, Grid) else 0

    def looking_back(self, max_ffill_minutes: int) -> StreamUse:
        """The use where slow series are carried for so many minutes.

        It looks back as far as a value may reach: else an hour would depend on what is built with it.
        """
        if self.carried_after is None:
            return self
        reach = timedelta(minutes=max_ffill_minutes) + self.carried_after
        return replace(self, look_back_hours=-(-reach // HOUR))

    def could_have_archive(self, day: date) -> bool:
        """Whether Binance ever published (or will publish) this stream for that day."""
        return self.stream.files.covers(day)

    def archive_due(self, day: date, now: datetime) -> bool:
        """Whether the file that covers the day should be there by now."""
        return self.could_have_archive(day) and now >= self.archive_due_at(day)

    def archive_due_at(self, day: date) -> datetime:
        """When the file that covers the day should be there, UTC."""
        return self.stream.files.due_at(day)

    def period(self, day: date) -> str:
        """Period in the name of the file that covers the day."""
        return self.stream.files.period(day)

    def is_final(self, hour: datetime, rows: int, asked_at: datetime) -> bool:
        """Whether a REST answer for an hour, taken at `asked_at`, needs no second request."""
        return rows >= self.rows_per_hour and asked_at - (hour + HOUR) >= self.settle
