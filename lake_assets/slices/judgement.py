"""What an answer to a slice's request is worth: statuses with reasons, decided on what the answer holds.

Belongs here: the statuses, the reasons, the decision for records on a grid and for events. Does not belong here: what a
body holds (the endpoints), asking again (`loop`), a clock: the exchange's time is an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise


class Status(StrEnum):
    """Where a slice stands."""

    PENDING = "pending"
    OK = "ok"
    PARTIAL = "partial"
    EMPTY = "empty"
    NEEDS_REFRESH = "needs_refresh"
    FAILED = "failed"


class SliceReason(StrEnum):
    """Why it stands there."""

    NONE = "none"
    NOT_ASKED = "not_asked"
    STILL_FORMING = "still_forming"
    """The newest record is not final by the exchange's clock, or the window reaches into the future."""
    GAP_SEEN_ONCE = "gap_seen_once"
    """Records are missing inside; it is asked again after a pause."""
    EXCHANGE_HAS_NONE = "exchange_has_none"
    """The same records were missing at a later look, so that the exchange does not have them."""
    NO_DATA = "no_data"
    """No record at all; it is asked again after a pause."""
    UNEXPECTED_RECORDS = "unexpected_records"
    """Records outside the window, off the grid, repeated or out of order: the answer is not what was asked for."""
    HTTP_ERROR = "http_error"
    RATE_LIMITED = "rate_limited"
    BANNED = "banned"
    NETWORK = "network_unavailable"
    MALFORMED = "malformed_answer"
    LOST = "answer_lost"
    """The answer's file is gone or has other bytes than were written."""


@dataclass(frozen=True)
class Judgement:
    """What an answer is worth.

    Attributes:
        status, reason: where the slice stands because of it.
        missing: positions on the grid (epoch ms, or ids) that should be there by now and are not, in order.
        detail: one sentence for people; empty where nothing is odd.
    """

    status: Status
    reason: SliceReason
    missing: tuple[int, ...] = field(default=())
    detail: str = ""


@dataclass(frozen=True)
class SliceGrid:
    """Positions that a window must hold.

    Attributes:
        start: first position, epoch ms or id.
        step: distance of two positions.
        count: positions of the whole window.
        final_until: positions below this are final by now: their records do not change any more.
    """

    start: int
    step: int
    count: int
    final_until: int

    @property
    def end(self) -> int:
        """First position after the window."""
        return self.start + self.step * self.count

    def due(self) -> range:
        """Positions that must be there by now."""
        last = min(self.end, self.final_until)
        steps = max(0, -((self.start - last) // self.step))
        return range(self.start, self.start + steps * self.step, self.step)


def judge(grid: SliceGrid, found: Sequence[int], *, said_before: Sequence[int] | None) -> Judgement:
    """Judge the positions of the records in an answer.

    `ok` means that the set of positions is exactly the window's grid and every record is final; or that records are
    missing inside, and the same ones were missing at an earlier look.

    Args:
        grid: what the window must hold.
        found: positions of the records, as sent.
        said_before: what an earlier answer lacked, taken at least a pause before; None where there was none.
    """
    odd = _unexpected(grid, found)
    if odd:
        return Judgement(Status.NEEDS_REFRESH, SliceReason.UNEXPECTED_RECORDS, detail=odd)
    there = set(found)
    missing = tuple(position for position in grid.due() if position not in there)
    confirmed = said_before is not None and missing == tuple(said_before)
    growing = grid.final_until <= grid.end - grid.step or any(position >= grid.final_until for position in found)
    if not found and grid.due():
        reason = SliceReason.EXCHANGE_HAS_NONE if confirmed and not growing else SliceReason.NO_DATA
        return Judgement(Status.EMPTY, reason, missing, f"no record of {len(grid.due())} that should be there")
    if growing:
        return Judgement(
            Status.PARTIAL, SliceReason.STILL_FORMING, missing, "the window is not over, or not final, yet"
        )
    if missing and not confirmed:
        return Judgement(
            Status.PARTIAL, SliceReason.GAP_SEEN_ONCE, missing, f"{len(missing)} of {grid.count} are missing"
        )
    if missing:
        return Judgement(
            Status.OK, SliceReason.EXCHANGE_HAS_NONE, missing, f"the exchange has not {len(missing)} of them"
        )
    return Judgement(Status.OK, SliceReason.NONE)


def judge_events(
    window: tuple[int, int], found: Sequence[int], *, final_until: int, said_before: Sequence[int] | None
) -> Judgement:
    """Judge records that lie on no grid: they must lie in the window `[start, end)`, each later than the one before.

    Args:
        window: first position, and first position after it.
        found: positions of the records, as sent.
        final_until: records below this do not change any more, and no further one appears.
        said_before: what an earlier answer lacked; an empty one lacked nothing that can be named.
    """
    start, end = window
    odd = _unexpected(SliceGrid(start, 1, end - start, final_until), found)
    if odd:
        return Judgement(Status.NEEDS_REFRESH, SliceReason.UNEXPECTED_RECORDS, detail=odd)
    if final_until < end:
        return Judgement(Status.PARTIAL, SliceReason.STILL_FORMING, detail="the window is not over yet")
    if not found:
        reason = SliceReason.NO_DATA if said_before is None else SliceReason.EXCHANGE_HAS_NONE
        return Judgement(Status.EMPTY, reason, detail="no record in the window")
    return Judgement(Status.OK, SliceReason.NONE)


def _unexpected(grid: SliceGrid, found: Sequence[int]) -> str:
    """What of the positions cannot be an answer to the request, as a sentence; empty where nothing."""
    outside = [position for position in found if not grid.start <= position < grid.end]
    if outside:
        return f"{len(outside)} records lie outside the window, the first at {outside[0]}"
    off = [position for position in found if (position - grid.start) % grid.step]
    if off:
        return f"{len(off)} records lie off the grid, the first at {off[0]}"
    repeated = [position for position, times in Counter(found).items() if times > 1]
    if repeated:
        return f"{len(repeated)} positions are there more than once, the first is {repeated[0]}"
    if any(later <= earlier for earlier, later in pairwise(found)):
        return "the records are out of order"
    return ""
