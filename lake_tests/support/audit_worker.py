"""A process that audits the same lake again and again with its cache, to be killed at any point.

Belongs here: that loop. Does not belong here: killing it, judging what is left.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from lake_assets.audit.cache import AuditCache
from lake_assets.audit.scan import audit_partitions
from lake_tests.support.sound_hours import FIRST, HOUR, LAG, NOW, SYMBOL, open_files


def main() -> None:
    """`audit_worker ROOT HOURS`: announces itself with a line, then audits, with the cache emptied every other time."""
    root, hours = Path(sys.argv[1]), int(sys.argv[2])
    store = open_files(root)
    cache = AuditCache(root / "audit.sqlite")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in count():
        if number % 2:
            cache.forget(SYMBOL, [FIRST + n * HOUR for n in range(hours)])
        audit_partitions(store, SYMBOL, FIRST, FIRST + hours * HOUR, now=NOW, lag_minutes=LAG, cache=cache)


if __name__ == "__main__":
    main()
