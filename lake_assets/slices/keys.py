"""Names of slices: keys, hashes and the lattice they lie on.

Belongs here: `SliceKey`, its composite key and id, and the windows from a first record to a last one. Does not belong
here: URLs (`endpoints`), what an answer says (`judgement`), files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from lake_resources.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from lake_resources.errors import SettingsError

LIMIT = 1000
"""Records of a slice, at most: what one request of klines returns."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_INTERVALS_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


class SliceKey(NamedTuple):
    """One window of raw records: one URL, one answer, one entry of the manifest.

    Attributes:
        symbol: e.g. `BTCUSDT`.
        interval: how the records are spaced, e.g. `1m`; `id` where they are numbered.
        start: first instant, epoch ms UTC, or first id.
        limit: records at most.
    """

    symbol: str
    interval: str
    start: int
    limit: int = LIMIT

    @property
    def composite(self) -> str:
        """The canonical key, `SYMBOL:interval:start:limit`; it stays the same while the newest slice grows."""
        return f"{self.symbol}:{self.interval}:{self.start}:{self.limit}"

    def actual(self, end: int) -> str:
        """The key with the last instant (or id) of the window, inclusive: `SYMBOL:interval:start-end`."""
        return f"{self.symbol}:{self.interval}:{self.start}-{end}"

    @property
    def slice_id(self) -> str:
        """BLAKE2b of the composite key with a digest of 16 bytes, 32 hexadecimal digits; the name of the answer."""
        return hashlib.blake2b(self.composite.encode(), digest_size=16).hexdigest()


def parse_key(text: str) -> SliceKey:
    """The key of a composite key.

    Raises:
        ValueError: the text is none.
    """
    parts = text.split(":")
    if len(parts) != 4 or not parts[0] or not parts[1] or not all(map(_NUMBER.fullmatch, parts[2:])):
        raise ValueError(f"{text[:200]!r} is no key of the form SYMBOL:interval:start:limit")
    return SliceKey(parts[0], parts[1], int(parts[2]), int(parts[3]))


def interval_ms(interval: str) -> int:
    """Length of an interval such as `1s`, `1m`, `1h` or `1d`, milliseconds.

    Raises:
        SettingsError: there is no such interval.
    """
    head, unit = interval[:-1], interval[-1:]
    if unit not in _INTERVALS_MS or not head.isascii() or not head.isdecimal() or int(head) == 0:
        raise SettingsError(f"there is no interval {interval!r}", remedy="Use one such as 1s, 1m, 1h or 1d")
    return int(head) * _INTERVALS_MS[unit]


def lattice(first: int, last: int, span: int) -> Iterator[tuple[int, int]]:
    """Windows `(start, end)` of `span` each that cover `first` to `last`, both ends inclusive; the last one is cut.

    Args:
        first: start of the first window, epoch ms or id.
        last: last instant or id that is wanted.
        span: length of a window in the same unit.

    Raises:
        ValueError: the first lies after the last, or a window has no length.
    """
    if span < 1:
        raise ValueError(f"a window of length {span} holds nothing")
    if first > last:
        raise ValueError(f"the range {first} to {last} ends before it starts")
    for start in range(first, last + 1, span):
        yield start, min(start + span - 1, last)
