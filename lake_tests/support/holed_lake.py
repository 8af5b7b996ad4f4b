"""A lake of two days of the minute table with planted holes, for what shows it.

Belongs here: making it, and the settings that name it. Does not belong here: any assertion.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lake_resources.clock import HOUR
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import commit_partitions
from lake_resources.storage.ledger.ledger import Revision
from lake_resources.storage.root import claim_root
from lake_tests.support.sound_hours import FIRST, NOW, SYMBOL, candidate, open_files, sound_rows

HOURS = 48
ABSENT = FIRST + 7 * HOUR
"""An hour that nobody committed."""
EXPLAINED = FIRST + 30 * HOUR
"""Another one, of which the exchange has nothing: a known hole says so."""
REVISED = FIRST + 3 * HOUR + timedelta(minutes=5)
END = FIRST + HOURS * HOUR


@dataclass(frozen=True)
class HoledLake:
    """The lake's settings."""

    settings: LakeSettings


def holed_lake(root: Path) -> HoledLake:
    """Two days from `FIRST` without two of their hours, one value of which was revised."""
    settings = LakeSettings(_env_file=None, root=root, exchange="simulator", start=FIRST.date(), symbols=(SYMBOL,))
    claim_root(root, "simulator")
    store = open_files(root)
    rows = sound_rows(FIRST, HOURS)
    hours = [FIRST + number * HOUR for number in range(HOURS)]
    candidates = [
        candidate(hour, rows.slice(60 * number, 60))
        for number, hour in enumerate(hours)
        if hour not in (ABSENT, EXPLAINED)
    ]
    commit_partitions(store, SYMBOL, candidates, clock=lambda: NOW)
    hole = KnownHole("klines_1m", SYMBOL, EXPLAINED, EXPLAINED + HOUR, "the exchange halted", "its notice")
    store.ledger.declare_hole(hole)
    store.ledger.record_revisions([Revision(SYMBOL, "klines_1m", REVISED, "close", "rest", "archive", 1.0, 2.0, NOW)])
    store.close()
    return HoledLake(settings)
