"""The research layer: `research/views`, one DuckDB file with views over all tables.

Belongs here: the asset. Does not belong here: when it runs (`automation.timetable`), the views and their file
(`lake_assets.research`).
"""

from collections.abc import Sequence

import dagster as dg

from lake_assets.assets.following import follows
from lake_assets.assets.unreachable import done_again
from lake_assets.dagster_names import RESEARCH_JOB
from lake_assets.research.views_file import write_views
from lake_assets.resources import LakeOpener
from lake_resources.settings import LakeSettings

RESEARCH_KEY = dg.AssetKey(["research", "views"])
_TEXT = """\
Views over all tables of the lake in one DuckDB file, `research/views.duckdb`, for reading alone: seconds and minutes
of spot, our minutes beside the exchange's, funding and open interest by the hour, macro minutes, the dollar index, the
minute table, the 1H table, and what each hour of each table is worth. A run names the files of the moment and replaces
the file in one step."""


def build_research_asset(settings: LakeSettings, deps: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """The asset `research/views`.

    Args:
        settings: which lake.
        deps: the assets that the views read.
    """

    @dg.asset(
        key=RESEARCH_KEY,
        deps=list(deps),
        description=_TEXT,
        group_name="research",
        kinds={"duckdb", "sql"},
        automation_condition=follows(RESEARCH_JOB, settings),
    )
    @done_again
    def research_views(
        context: dg.AssetExecutionContext,  # noqa: ARG001 - of the guard around it
        lake: dg.ResourceParam[LakeOpener],
    ) -> dg.MaterializeResult[None]:
        opened = lake.open()
        try:
            written = write_views(settings, now=opened.clock())
        finally:
            opened.close()
        views = "\n".join(f"- `{view}`: {', '.join(columns)}" for view, columns in written.columns.items())
        return dg.MaterializeResult(
            metadata={
                "dagster/uri": dg.MetadataValue.path(str(written.path)),
                "views": dg.MetadataValue.md(views),
                "quality_hours": written.quality_rows,
                **{f"{table}_files": files for table, files in written.files.items()},
            }
        )

    return research_views
