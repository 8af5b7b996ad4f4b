"""How the minute table uses each archive stream.

Belongs here: which streams feed it, how far each looks back, when a REST answer is final, when an archive is due.
Does not belong here: asking any source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from lake_resources.binance.stream import Stream
from lake_resources.binance.um_streams import UM_STREAMS

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTES_PER_HOUR = 60

_FULL_ANSWER_AFTER = DAY
"""A kline hour with missing minutes is asked for again until it is this old; then the exchange lacks them."""
_METRICS_DELAY_MINUTES = 5


@dataclass(frozen=True)
class Feed:
    """One stream as the minute table uses it.

    Attributes:
        stream: the wire stream.
        look_back_hours: whole hours before the hour whose rows may reach into it.
        settle: an answer taken this long after the end of its hour does not change any more.
        required: without it the hour cannot be built.
        hours_per_fetch: hours that are fetched from REST and kept together; a failure loses no more than these.
    """

    stream: Stream
    look_back_hours: int
    settle: timedelta
    required: bool
    hours_per_fetch: int

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

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
        age = asked_at - (hour + HOUR)
        if self.stream.is_klines and rows < MINUTES_PER_HOUR:
            return age >= _FULL_ANSWER_AFTER
        return age >= self.settle


def _feed(
    name: str,
    *,
    look_back_hours: int = 0,
    settle_minutes: int = 3,
    required: bool = False,
    hours_per_fetch: int = 24,
) -> Feed:
    return Feed(UM_STREAMS[name], look_back_hours, timedelta(minutes=settle_minutes), required, hours_per_fetch)


FEEDS: dict[str, Feed] = {
    feed.name: feed
    for feed in (
        _feed("klines_1m", required=True),
        _feed("mark_price_klines_1m", required=True),
        _feed("index_price_klines_1m", required=True),
        _feed("premium_index_klines_1m"),
        # A busy day of them takes REST the better part of an hour.
        _feed("agg_trades", hours_per_fetch=1),
        # Its columns are carried forward for up to an hour.
        _feed("book_ticker", look_back_hours=1),
        # 5 minutes until a value is known, 60 minutes of carrying it; REST shows a new row a few minutes late.
        _feed("metrics", look_back_hours=2, settle_minutes=15),
        # The last settlement may be 8 hours + 1 old, and its interval is the distance to the one before.
        _feed("funding_rate", look_back_hours=18, settle_minutes=15),
    )
}
"""The feeds where slow series are carried for 60 minutes."""


def feeds(max_ffill_minutes: int) -> dict[str, Feed]:
    """The feeds, looking back as far as a series may be carried: else an hour would depend on what is built with it.

    Args:
        max_ffill_minutes: how long a slow series may be carried forward.
    """
    book, metrics = FEEDS["book_ticker"], FEEDS["metrics"]
    return FEEDS | {
        book.name: replace(book, look_back_hours=_hours(max_ffill_minutes)),
        metrics.name: replace(metrics, look_back_hours=_hours(max_ffill_minutes + _METRICS_DELAY_MINUTES)),
    }


def _hours(minutes: int) -> int:
    return -(-minutes // MINUTES_PER_HOUR)
