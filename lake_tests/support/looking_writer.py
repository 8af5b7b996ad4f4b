"""A process that writes in a lake and looks at it, as a reader does, before each step that it takes on the disk.

Belongs here: the writing, the looking, and what each look found. Does not belong here: any assertion.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from lake_assets.audit.scan import audit_partitions
from lake_assets.reading import load, verify
from lake_assets.slices.endpoints import ENDPOINTS
from lake_assets.slices.keeping import checked
from lake_assets.slices.manifest import read_manifest
from lake_assets.slices.server import open_slices, run_once
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_resources.settings import LakeSettings
from lake_resources.storage.commit import commit_partitions
from lake_resources.storage.compaction import Period, clear, compact
from lake_resources.storage.store import Store
from lake_tests.support.compacted_hours import DAYS, MONTHS
from lake_tests.support.looking_steps import looking
from lake_tests.support.looking_tables import looked_at_tables
from lake_tests.support.minute_hours import SYMBOL
from lake_tests.support.sliced import OF, ms
from lake_tests.support.sound_hours import candidate, open_files, sound_rows
from lake_tests.support.stores import store_at

COUNT = 4
START = MONTHS[0].end - 2 * HOUR
END = START + COUNT * HOUR
OLD, NEW = (sound_rows(START, COUNT, seed) for seed in (7, 8))
"""Rows of the hours before and after the writer replaces the second and the third."""
LATER = END + timedelta(days=40)


def _minutes(settings: LakeSettings) -> Any:
    """Which rows of each hour a reader gets, how many its certificate counts, and what the audit says."""
    with closing(store_at(settings.lake_root)) as store:
        report = audit_partitions(store, SYMBOL, START, END, now=LATER, lag_minutes=3)
    frame, certificate = load(SYMBOL, START, END, ["close"], require="any", settings=settings, clock=lambda: LATER)
    closes = frame.collect()["close"]
    verify(certificate, settings=settings)
    hours = [closes[60 * n : 60 * n + 60] for n in range(COUNT)]
    versions = [
        "".join(name for name, rows in (("old", OLD), ("new", NEW)) if hour.equals(rows["close"][60 * n : 60 * n + 60]))
        for n, hour in enumerate(hours)
    ]
    wrong = [f"{verdict.hour}: {verdict.names}" for verdict in report.wrong]
    return {"versions": versions, "rows": [len(closes), certificate.present_rows, len(report.hours)], "wrong": wrong}


def _commit(store: Store, rows: pl.DataFrame, hours: Sequence[int]) -> None:
    parts = [candidate(START + n * HOUR, rows.slice(60 * n, 60), streams=tuple(UM_MINUTE.uses)) for n in hours]
    commit_partitions(store, SYMBOL, parts, clock=lambda: LATER)


def _write_minutes(store: Store) -> None:
    """Days, hours of both of them anew, days and months, and then all is removed that nothing is read from."""
    for period in DAYS:
        _compact(store, period)
    _commit(store, NEW, [1, 2])
    for period in (*DAYS, *MONTHS):
        _compact(store, period)
    clear(store, SYMBOL, clock=lambda: LATER + timedelta(days=9), grace=HOUR)


def _compact(store: Store, period: Period) -> None:
    held = store.ledger.partition_files(SYMBOL, period.start, period.end)
    compact(store, period, held, clock=lambda: LATER)


def _slices(settings: LakeSettings) -> Any:
    """What `lake slices verify` says, and how many slices the manifest has."""
    with open_slices(settings, begin=False) as opened:
        found = [f"{each.code}: {each.subject} {each.found}" for each in checked(opened, ENDPOINTS[OF.endpoint], OF)]
        return {"wrong": found, "manifest": read_manifest(opened.store.blobs, OF)["summary"]}


def main() -> None:
    """`looking_writer minutes|slices|tables ROOT [URL]`: write, and print what the looks found."""
    if sys.argv[1] == "tables":
        sys.stdout.write(json.dumps(looked_at_tables(Path(sys.argv[2]))))
        return
    settings = LakeSettings(root=Path(sys.argv[2]), symbols=(SYMBOL,), collector=False, exchange="simulator")
    if sys.argv[1] == "minutes":
        store = open_files(settings.lake_root)
        _commit(store, OLD, range(COUNT))
        with looking(lambda: _minutes(settings)) as seen:
            _write_minutes(store)
    else:
        settings = settings.model_copy(update={"spot_rest_url": sys.argv[3], "rest_url": sys.argv[3]})
        with open_slices(settings) as slices:
            run_once(slices, OF, first=ms(START), most=2)
            with looking(lambda: _slices(settings)) as seen:
                run_once(slices, OF, most=3)
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
