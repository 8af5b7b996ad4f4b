"""The minutes that a command means by --start, --end and --years.

Belongs here: defaults of a range, refusing one that is empty or has not begun. Does not belong here: reading the text
of an option (`options`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lake_assets.at_rest import LakeAtRest
from lake_assets.audit.ranges import require_begun, require_order
from lake_assets.windows import floor_minute
from lake_resources.errors import NotYet, SettingsError

_DAYS_PER_YEAR = 365


def audit_window(
    lake: LakeAtRest,
    symbol: str,
    start: datetime | None,
    end: datetime | None,
    years: int | None,
    *,
    latest: datetime | None = None,
) -> tuple[datetime, datetime]:
    """The minutes `[start, end)` that a command means; `latest` is the end where none is given, else it is now.

    Raises:
        SettingsError: start and years at once, or the range is empty.
        NotYet: nothing of the range must exist yet, or no range is given and no partition is committed.
    """
    now = lake.clock()
    last = (latest or floor_minute(now)) if end is None else end
    if start is not None or years is not None:
        if start is not None and years is not None:
            raise SettingsError("--start and --years are given both", remedy="Give one of them")
        first = last - timedelta(days=_DAYS_PER_YEAR * (years or 0)) if start is None else start
        if end is None:
            # The default end is now: a later start is no reversed range, it is the future.
            require_begun(first, now, lake.safety_lag_minutes)
        require_order(first, last)
        require_begun(first, now, lake.safety_lag_minutes)
        return first, last
    held = lake.ledger.first_partition(symbol)
    if held is None:
        raise NotYet(
            f"nothing was looked at: no {lake.store.layout.span} of {symbol} is committed in {lake.catalog.root}",
            remedy="Give --start, or backfill first",
        )
    if end is None:
        return held, max(last, held + lake.store.layout.step)
    require_order(held, last)
    return held, last
