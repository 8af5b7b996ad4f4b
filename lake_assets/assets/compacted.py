"""Day and month files of the minute table: `um/<symbol>/compacted`.

Belongs here: the asset and what the UI shows of it. Does not belong here: when it runs (`automation.timetable`), which
days are closed (`build.compaction`), files (`lake_resources.storage.compaction`).
"""

from datetime import timedelta

import dagster as dg

from lake_assets.assets.following import follows
from lake_assets.assets.unreachable import done_again
from lake_assets.build.compaction import plan_compaction, run_compaction
from lake_assets.dagster_names import COMPACTION_JOB
from lake_assets.metadata import compacted_key, symbol_tags, table_key
from lake_assets.research.views_file import remake_views_file
from lake_assets.resources import LakeOpener
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.settings import LakeSettings
from lake_resources.storage.compaction import clear
from lake_resources.storage.duckdb_views import remake_views

_TEXT = """\
Closed days and months of {symbol} as one file each, behind the same reader: years of a column are read ten times
faster than from hour files. A day is closed when all its hours are complete and built from the archives; one that
lacks nothing else is one file until they come. Each file's rows are proven equal to the hours' before it is read from,
and an hour that is built anew is read from its own file until its day or month is made again. Hour files are removed
only by a run with `remove: true`, after the grace."""


class CompactionConfig(dg.Config):
    """What a run may do besides writing day and month files."""

    remove: bool = False
    """Also remove files that nothing is read from since the grace (`LAKE_COMPACT_GRACE_HOURS`)."""


def build_compacted_asset(symbol: str, settings: LakeSettings, table: Table = UM_MINUTE) -> dg.AssetsDefinition:
    """The asset `um/<symbol>/compacted`, or that of another table."""
    layout = table.layout

    @dg.asset(
        key=compacted_key(symbol, layout),
        deps=[table_key(layout, symbol)],
        description=_TEXT.format(symbol=symbol),
        group_name=layout.directory,
        kinds={"polars", "parquet"},
        tags=symbol_tags(symbol, layout.market),
        automation_condition=follows(COMPACTION_JOB, settings),
    )
    @done_again
    def compacted(
        context: dg.AssetExecutionContext, config: CompactionConfig, lake: dg.ResourceParam[LakeOpener]
    ) -> dg.MaterializeResult[None]:
        opened = lake.open().of(table)
        now = opened.clock()
        read = written = files = 0
        try:
            for one in run_compaction(table, opened.store, symbol, now=now, clock=opened.clock):
                context.log.info(
                    f"{one.period.name}: {one.status}, {one.partitions} {layout.span}s, {one.input_bytes} bytes"
                )
                files, read, written = files + (one.path is not None), read + one.input_bytes, written + one.size_bytes
        finally:
            # Also where a damaged period ends the run: the others were compacted.
            for view in remake_views(opened.store):
                (context.log.warning if view.warning else context.log.info)(f"view {view.path} remade. {view.warning}")
        removed = 0
        # Before anything is removed: the research views may name the files.
        if warning := remake_views_file(settings, now=now):
            context.log.warning(warning)
        if config.remove:
            grace = timedelta(hours=settings.compact_grace_hours)
            removed = clear(opened.store, symbol, clock=opened.clock, grace=grace).files
        segments = opened.ledger.compacted_files(symbol)
        waiting = [
            f"- {step.period.name}: {step.waits_for}" for step in plan_compaction(table, opened.ledger, symbol, now=now)
        ]
        opened.close()
        return dg.MaterializeResult(
            metadata={
                "files_written": files,
                "bytes_read": read,
                "bytes_written": written,
                "files_removed": removed,
                "month_files": sum(segment.tier == "month" for segment in segments),
                "day_files": sum(segment.tier == "day" for segment in segments),
                f"compacted_{layout.span}s": sum(segment.serves.bit_count() for segment in segments),
                "open_days": dg.MetadataValue.md("\n".join(waiting[-62:]) or "none"),
            }
        )

    return compacted
