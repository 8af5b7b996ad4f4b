"""The job that deletes what nothing depends on any more: old runs of the hot band, superseded answers, raw records.

Belongs here: the job, deleting what pruning allows. Does not belong here: which runs may go (`automation.pruning`),
when it runs (`schedules`).
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

import dagster as dg

from lake_assets.automation.pruning import FAILED_KEPT_FOR, FinishedRun, deletable, old_enough
from lake_assets.build.answer_pruning import prune_captures
from lake_assets.dagster_names import AUTOMATION_TAG, PRUNE_JOB, partition_key, partition_start
from lake_assets.jobs.run_tags import RANGE_END, RANGE_START
from lake_assets.metadata import minute_key
from lake_assets.resources import LakeOpener
from lake_assets.tables.declared import TABLES
from lake_resources.collector.segments import prune as prune_segments
from lake_resources.dagster_private import delete_run_file
from lake_resources.settings import LakeSettings

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_RUNS_PER_PRUNE = 20_000
_LAYOUTS = {(table.layout.market, table.layout.directory): table.layout for table in TABLES.values()}
"""Layouts of tables by market and directory, which are the first and the last part of an asset key."""


def build_prune_job(settings: LakeSettings) -> dg.JobDefinition:
    """The job that deletes what pruning allows."""
    keep = timedelta(hours=settings.prune_after_hours)

    @dg.op(name="prune_history")
    def prune_history(context: dg.OpExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> None:
        opened = lake.open()
        now = opened.clock()
        runs = prune_runs(context.instance, settings.symbols, now, keep)
        files = prune_captures(opened, now - keep)
        # The collector does the same; this is for the time in which none runs. Files that it writes are not touched.
        age, size_bytes = timedelta(hours=settings.segment_max_age_hours), int(settings.segment_max_gib * (1 << 30))
        segments = prune_segments(opened.catalog.live_records_dir, now, age, size_bytes)
        opened.close()
        context.log.info(
            f"deleted {runs} runs of the hot band, {files} superseded answers of REST, {segments.files} segments"
        )
        context.add_output_metadata({"runs": runs, "captures": files, "segments": segments.files})

    @dg.job(
        name=PRUNE_JOB,
        executor_def=dg.in_process_executor,
        description=f"Deletes successful hot runs older than {settings.prune_after_hours} h that are no partition's"
        " only or latest proof, raw answers that later ones replaced, and raw records of the collector after their"
        " retention.",
    )
    def prune() -> None:
        prune_history()

    return prune


def prune_runs(instance: dg.DagsterInstance, symbols: Iterable[str], now: datetime, keep: timedelta) -> int:
    """Delete old runs of the hot band, their events and logs, as far as newer runs prove the same partitions.

    Args:
        instance: the Dagster instance.
        symbols: whose minute tables there are now; runs of other symbols are judged by what they targeted, too.
        now: the moment of pruning, UTC.
        keep: how long every run is kept; failed ones at least a week.

    Returns:
        How many runs were deleted.
    """
    known = {minute_key(symbol).to_user_string() for symbol in symbols}
    records = instance.get_run_records(
        dg.RunsFilter(
            tags={AUTOMATION_TAG: "hot"}, statuses=_FINISHED, updated_before=now - min(keep, FAILED_KEPT_FOR)
        ),
        limit=_RUNS_PER_PRUNE,
        ascending=True,
    )
    old = []
    for record in records:
        ended = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), tz=now.tzinfo)
        run = record.dagster_run
        failed = run.status != dg.DagsterRunStatus.SUCCESS
        finished = FinishedRun(run.run_id, ended, failed, _targets(run, known))
        if old_enough(finished, now, keep):
            old.append(finished)
    wanted = {item for run in old for item in run.partitions}
    gone = deletable(old, _latest_runs(instance, wanted))
    for run_id in gone:
        _delete(instance, run_id)
    return len(gone)


def _targets(run: dg.DagsterRun, known: set[str]) -> frozenset[tuple[str, str]]:
    """Asset and partition key of everything that a hot run targeted; nothing if that cannot be told."""
    first, last = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
    if first is None or last is None:
        return frozenset()
    found = set[tuple[str, str]]()
    for key in {key.to_user_string() for key in run.asset_selection or ()} or known:
        market, *_, directory = key.split("/")
        layout = _LAYOUTS.get((market, directory))
        if layout is None:
            return frozenset()
        start, end = partition_start(layout, first), partition_start(layout, last) + layout.step
        found |= {(key, partition_key(layout, at)) for at in layout.between(start, end)}
    return frozenset(found)


def _latest_runs(instance: dg.DagsterInstance, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    latest: dict[tuple[str, str], str] = {}
    for asset, partition in sorted(wanted):
        found = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey.from_user_string(asset), asset_partitions=[partition]), limit=1
        ).records
        if found:
            latest[asset, partition] = found[0].run_id
    return latest


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a run with its events, its log files, and (SQLite) the file that held its events."""
    instance.delete_run(run_id)
    with suppress(FileNotFoundError):
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    delete_run_file(instance, run_id)
