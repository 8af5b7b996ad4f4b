"""Raw answers that later ones replaced, while an hour was open.

Belongs here: deleting them once no committed hour refers to them. Does not belong here: when (`jobs`).
The open hour is asked for every minute; only the last answers of it are worth keeping.
"""

from __future__ import annotations

from datetime import datetime

from lake_assets.lake import Lake

_AT_ONCE = 5_000


def prune_captures(lake: Lake, before: datetime) -> int:
    """Delete superseded answers for unfinished hours that were taken before an instant.

    An answer that is current, or that covers its whole hour, or that a committed hour was built from, stays.

    Returns:
        How many files were deleted.
    """
    count = 0
    while True:
        found = lake.ledger.superseded_captures(before, _AT_ONCE)
        used = {hour: _references(lake, *hour) for hour in {(capture.symbol, capture.hour) for capture in found}}
        unused = [capture for capture in found if capture.content_hash not in used[capture.symbol, capture.hour]]
        # The row goes last: a crash leaves rows without files, which the next pruning finds again.
        lake.files.remove([capture.path for capture in unused])
        lake.ledger.forget_captures(unused)
        count += len(unused)
        if len(found) < _AT_ONCE or not unused:
            return count


def _references(lake: Lake, symbol: str, hour: datetime) -> str:
    """What the committed hour was built from, as one text."""
    held = lake.ledger.partition(symbol, hour)
    return "" if held is None else " ".join(source.reference for source in held.sources.values())
