"""Races of two hosts over one ledger and its files: how many of them ended in something that must not be.

Belongs here: what the hosts do at the same moment, and what is looked at afterwards. Does not belong here: which
databases and stores they share (`lake_tests.bench.races`, `lake_tests/contract`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lake_assets.at_rest import TableStore
from lake_resources.storage.hashing import file_hash
from lake_resources.storage.ledger.ledger import Archive, Capture
from lake_tests.support.minute_hours import NOW, SYMBOL, at, candidate, closes, commit
from lake_tests.support.waiting import in_parallel

Hosts = Sequence[TableStore]


def archive(sha: str = "a", period: str = "2026-02-15", **changes: Any) -> Archive:
    """A vintage of an archive; another letter is another content."""
    rows = f"vision/{sha}.parquet", 1440, at(0), at(23)
    made = Archive(SYMBOL, "klines_1m", period, sha * 64, "http://x/y.zip", *rows, sha * 64, 9, "verified", NOW)
    return replace(made, **changes)


def capture(content: str = "a", hour: int = 0, **changes: Any) -> Capture:
    """An answer of REST about an hour."""
    made = Capture(SYMBOL, "klines_1m", at(hour), f"captures/{content}.parquet", 60, at(hour), at(hour + 1), True,
                   "/fapi/v1/klines", content * 64, NOW)  # fmt: skip
    return replace(made, **changes)


def archive_races(hosts: Hosts, races: int) -> int:
    """Both record another vintage of one archive: wrong where not both are kept, or not one of them is current."""
    wrong = 0
    for race in range(races):
        period = f"{at(24 * race):%Y-%m-%d}"
        in_parallel(
            *(partial(host.ledger.record_archive, archive(sha, period)) for host, sha in zip(hosts, "ab", strict=True))
        )
        rows = hosts[0].ledger.archive_vintages(SYMBOL, "klines_1m", period)
        wrong += (len(rows), sum(row.is_current for row in rows)) != (2, 1)
    return wrong


def answer_races(hosts: Hosts, races: int) -> int:
    """Both record another answer about one hour: wrong where not both are kept, or not one of them is current."""
    wrong = 0
    for hour in range(races):
        in_parallel(
            *(partial(host.ledger.record_captures, [capture(sha, hour)]) for host, sha in zip(hosts, "ab", strict=True))
        )
        rows = hosts[0].ledger.capture_vintages(SYMBOL, "klines_1m", at(hour))
        wrong += (len(rows), sum(row.is_current for row in rows)) != (2, 1)
    return wrong


def hour_races(hosts: Hosts, races: int) -> int:
    """Each commits an hour of its own and one that both have, the second of them only a part of it.

    A race is wrong where one of the three hours is lost, its file has other bytes than its row tells, or the part
    stands in the place of the whole; a watermark that does not reach the end is one more.
    """
    wrong = 0
    for race in range(races):
        first = 3 * race
        works = [
            (candidate(at(first + 1), value=1.0), candidate(at(first), value=race + 1.0)),
            (candidate(at(first + 2), value=2.0), candidate(at(first), rows=30, value=0.5)),
        ]
        in_parallel(*(partial(commit, host, *work) for host, work in zip(hosts, works, strict=True)))
        rows = hosts[race % 2].ledger.partitions(SYMBOL, at(first), at(first + 3))
        whole = [row.start for row in rows if row.complete] == [at(first + hour) for hour in range(3)]
        kept = whole and all(file_hash(hosts[0].files.here(row.path)) == row.content_hash for row in rows)
        wrong += not kept
    if not wrong:
        told = [value for race in range(races) for value in (race + 1.0, 1.0, 2.0)]
        wrong += closes(hosts[1], 3 * races)[::60] != told
    return wrong + (hosts[1].ledger.watermark(SYMBOL) != at(3 * races - 1 / 60))


RACES = {
    "two vintages of one archive": archive_races,
    "two answers about one hour": answer_races,
    "hours of two hosts": hour_races,
}
