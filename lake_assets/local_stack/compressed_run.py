"""A run of the platform in testing mode: builds that are asked for at fixed times, and what the run came to.

Belongs here: when a build is asked for, which hours, counting for the summary. Does not belong here: settings of
testing mode (`lake_resources.testing_mode`), starting processes (`stack`), judging (`quality.final_validation`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx

from lake_assets.dagster_names import AUTOMATION_TAG, MACRO_JOB, hour_key, table_names
from lake_assets.local_stack.graphql import DagsterApi
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR
from lake_resources.errors import LakeError
from lake_resources.settings import LakeSettings
from lake_resources.storage.catalog import floor_hour
from lake_resources.testing_mode import TEST_LABEL

CYCLE = "cycle"
"""Kind of automation of these builds, as their runs are tagged."""
_TAGS = {AUTOMATION_TAG: CYCLE, "dagster/priority": "5"}
"""Of their runs: a build that is forced does not wait for what is hourly elsewhere and due every two minutes here."""
_BAR = "=" * 80
_NO_DATA = frozenset({"dagster_home", "logs", "reports"})
_NO_DATA_ENDS = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock", ".tmp")

Range = tuple[Sequence[str], str, str]


def newest_hours(settings: LakeSettings, now: datetime) -> list[Range]:
    """The newest hour that has a closed minute, and the one before it, of every hourly table: asset, first, last key.

    Args:
        settings: which symbols, where partitions begin, how long a minute has to be closed.
        now: UTC.
    """
    last = floor_hour(now - timedelta(minutes=settings.safety_lag_minutes + 1))
    first = max(last - HOUR, settings.start_utc)
    if first > last:
        return []
    tables = ((UM_MINUTE, settings.symbols), (SPOT_BARS_1S, settings.spot_symbols))
    return [
        (table_names(table.layout, symbol), hour_key(first), hour_key(last))
        for table, symbols in tables
        for symbol in symbols
    ]


class BuildCycles:
    """Asks Dagster for a build of the newest hours: after the warm-up, whatever else is at work, and then regularly.

    Args:
        settings: in testing mode.
        api: the running platform.
        started: when it was started, UTC.
        say: takes lines of progress.
    """

    def __init__(
        self, settings: LakeSettings, api: DagsterApi, *, started: datetime, say: Callable[[str], None]
    ) -> None:
        self._settings, self._api, self._say = settings, api, say
        self._every = timedelta(minutes=settings.testing.transform_interval_min)
        self._due = started + timedelta(seconds=settings.testing.first_build_s)
        self.launched: list[str] = []
        self.troubles: list[str] = []

    def tick(self, now: datetime) -> str | None:
        """Ask for a build if one is due; returns the id of Dagster's backfill, or None."""
        if now < self._due:
            return None
        self._due += self._every * (1 + (now - self._due) // self._every)
        ranges = newest_hours(self._settings, now)
        title = f"testing mode: build {len(self.launched) + 1}"
        try:
            found = self._api.launch_backfill(ranges, title=title, tags=_TAGS)
        except (LakeError, httpx.HTTPError) as error:
            self.troubles.append(f"a build could not be asked for: {' '.join(str(error).split())[:200]}")
            self._say(self.troubles[-1])
            return None
        self.launched.append(found)
        self._say(f"{title}, backfill {found}")
        return found


@dataclass(frozen=True)
class RunSummary:
    """What a run in testing mode came to.

    Attributes:
        duration_s: from the start to the end, seconds.
        transform_cycles: builds that were asked for by `BuildCycles` and succeeded before the end.
        macro_fetches: runs of macro minutes that succeeded.
        files_written: data files below the root that were written since the start and are there at the end.
        warnings: what was wrong at the end, and runs that failed.
    """

    duration_s: float
    transform_cycles: int
    macro_fetches: int
    files_written: int
    warnings: tuple[str, ...]

    def text(self) -> str:
        """The summary block."""
        lines = [
            TEST_LABEL,
            _BAR,
            "TEST COMPLETE",
            _BAR,
            f"Duration: {self.duration_s:.1f}s",
            f"Transform cycles run: {self.transform_cycles}",
            f"Macro fetches: {self.macro_fetches}",
            f"Files written: {self.files_written}",
            f"Warnings: {len(self.warnings) or 'None'}",
            *[f"  - {text}" for text in self.warnings],
            _BAR,
        ]
        return "\n".join(lines) + "\n"


def summarize(
    root: Path,
    instance: dg.DagsterInstance,
    cycles: Sequence[str],
    *,
    started: datetime,
    ended: datetime,
    warnings: Sequence[str] = (),
) -> RunSummary:
    """Count what happened, in Dagster's storage and on the disk, after everything has ended.

    Args:
        root: of testing mode.
        instance: Dagster's storage of this root.
        cycles: ids of the backfills of `BuildCycles`.
        started: of the platform, UTC.
        ended: when it was told to end, UTC; a run that broke off from then on was ended with it, and did not fail.
        warnings: what is known to be wrong besides runs that failed.
    """
    runs = instance.get_run_records(dg.RunsFilter(created_after=started))
    done = dg.DagsterRunStatus.SUCCESS
    fetches = [each for each in runs if each.dagster_run.job_name == MACRO_JOB and each.dagster_run.status == done]
    failed = [
        f"run {each.dagster_run.run_id[:8]} of {each.dagster_run.job_name} failed"
        for each in runs
        if each.dagster_run.status == dg.DagsterRunStatus.FAILURE and (each.end_time or 0.0) < ended.timestamp()
    ]
    backfills = [instance.get_backfill(each) for each in cycles]
    return RunSummary(
        duration_s=(ended - started).total_seconds(),
        transform_cycles=sum(each is not None and each.status.value == "COMPLETED_SUCCESS" for each in backfills),
        macro_fetches=len(fetches),
        files_written=sum(path.stat().st_mtime >= started.timestamp() for path in data_files(root)),
        warnings=(*warnings, *failed),
    )


def data_files(root: Path) -> Iterator[Path]:
    """Files of data below a root: neither logs, reports and Dagster's own, nor databases that are only kept beside."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if parts[0] not in _NO_DATA and not hidden and not path.name.endswith(_NO_DATA_ENDS) and path.is_file():
            yield path


def problems_told(heartbeat: Path) -> list[str]:
    """Problems of the newest heartbeat; none where it is still starting, or there is none."""
    try:
        beat = json.loads(heartbeat.read_text())
        return [] if beat["status"] == "STARTING" else [str(text) for text in beat["problems"]]
    except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
        return []
