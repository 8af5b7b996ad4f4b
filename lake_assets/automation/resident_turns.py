"""When the resident builder looks what is due, whom it waits for, and when it counts as silent.

Belongs here: these rules, from instants that are given. Does not belong here: which hours are due (`hot`), building.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lake_resources.clock import MINUTE

WAKE_AFTER = timedelta(seconds=0.5)
"""After the end of a minute: then its rows are about to come from the collector."""
CLOSED_BY = timedelta(seconds=1)
"""After the end of a minute the exchange has closed its klines, whether or not a live row says so."""
AGAIN_AFTER = timedelta(seconds=2)
"""A turn that left a closed minute out is followed by another one so soon."""
TOGETHER_BY = timedelta(seconds=1.5)
"""After the end of a minute symbols whose live rows are there wait no longer for the others, where they are most."""
HEARD_BY = timedelta(seconds=4)
"""After the end of a minute its live rows are waited for no longer: without them it is built from what REST says."""
LISTENING_WITHIN = 2 * MINUTE
"""A symbol that the collector has not heard for so long is not waited for."""


def next_turn(now: datetime, *, behind: bool, in_vain: int = 0) -> datetime:
    """When to look again, UTC: just after the next minute has closed, or soon where something was left out.

    Args:
        now: the end of the last turn, UTC.
        behind: a closed minute that is due is not in the lake yet.
        in_vain: turns in a row, this one included, that were behind and built nothing: what they wait for was asked for
            a moment ago, and each looks through the whole band for it, so that the next comes after twice as long.
    """
    woken = now.replace(second=0, microsecond=0) + WAKE_AFTER
    following = woken if now < woken else woken + MINUTE
    return min(following, now + AGAIN_AFTER * 2 ** min(in_vain, 6)) if behind else following


def waits_for(heard: datetime | None, minute: datetime, now: datetime) -> bool:
    """Whether the live row of a closed minute is still to come, or the exchange may not have closed the minute yet.

    A live row stands only after frames that the exchange sent after the minute: it says that the minute is over.

    Args:
        heard: start of the newest minute of the symbol that has a live row, UTC; None where there is none lately, or
            nothing is collected.
        minute: start of the minute that closed last, UTC.
        now: the moment of asking, UTC.
    """
    closed = minute + MINUTE
    if now < closed or (heard is not None and heard >= minute):  # before it closed: the clock was set back meanwhile
        return False
    listened = heard is not None and heard >= minute - LISTENING_WITHIN
    return now < closed + (HEARD_BY if listened else CLOSED_BY)


def goes_ahead(ready: int, waiting: int, minute: datetime, now: datetime) -> bool:
    """Whether symbols whose live row is there are built before the others, which follow together.

    Each further pass costs about as much as some symbols: few do not go ahead of many.

    Args:
        ready: how many are there.
        waiting: how many are still to come.
        minute: start of the minute that closed last, UTC.
        now: the moment of asking, UTC.
    """
    return ready >= max(waiting, 1) and now >= minute + MINUTE + TOGETHER_BY


def silent_for(beat: datetime | None, now: datetime, patience: timedelta) -> timedelta | None:
    """How long the builder has been silent, where that is longer than it may be; for ever where it never spoke.

    A sign of life that lies as far ahead is none either: the clock was set back, and nobody has spoken since. How long
    that was is not known, and what is returned is negative.

    Args:
        beat: its last sign of life, UTC.
        now: the moment of asking, UTC.
        patience: a builder at work speaks more often than that.
    """
    if beat is None:
        return timedelta.max
    return now - beat if abs(now - beat) >= patience else None


def silence_text(silent: timedelta) -> str:
    """What is said of a builder that is silent for so long."""
    if silent == timedelta.max:
        return "the resident builder was never heard"
    if silent < timedelta():
        return f"the clock was set back by {int(-silent.total_seconds())} s, and the resident builder not heard since"
    return f"the resident builder has been silent for {int(silent.total_seconds())} s"
