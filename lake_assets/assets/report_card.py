"""The report card of a month of a symbol's table: `quality/<symbol>/report_card`, `quality/spot/<symbol>/…`.

Belongs here: the asset. Does not belong here: when it runs (`automation.timetable`), the page (`quality.month_card`).
"""

import base64
from datetime import UTC, datetime

import dagster as dg

from lake_assets.assets.following import follows_by_month
from lake_assets.assets.unreachable import done_again
from lake_assets.dagster_names import CARD_JOB, symbol_name, table_names
from lake_assets.metadata import symbol_tags, table_key
from lake_assets.partitions import DAY_TO_HOURS
from lake_assets.quality.month_card import picture, render, report_card, write_report_card
from lake_assets.resources import LakeOpener
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.layout import FIRST_TABLE, TableLayout
from lake_resources.settings import LakeSettings

_TEXT = """\
One page for a month of {title}: completeness as a number that is never rounded up and as a picture of days and hours,
sources, checks, revised values, holes by cause, quarantine. The same page lies below the lake's root in `reports/`."""


def report_card_key(symbol: str, layout: TableLayout = UM_MINUTE.layout) -> dg.AssetKey:
    """Key of the report cards of a symbol's table: `quality/<symbol>/report_card`, of spot `…/bars_1s_report_card`."""
    if layout.name == FIRST_TABLE:
        return dg.AssetKey(["quality", symbol_name(symbol), "report_card"])
    return dg.AssetKey(["quality", *table_names(layout, symbol)[:-1], f"{layout.directory}_report_card"])


def monthly(settings: LakeSettings) -> dg.MonthlyPartitionsDefinition:
    """Months from the lake's start on; the month that is not over is one too."""
    first = settings.start.replace(day=1).isoformat()
    return dg.MonthlyPartitionsDefinition(start_date=first, timezone="UTC", end_offset=1)


def build_report_card_asset(symbol: str, settings: LakeSettings, table: Table = UM_MINUTE) -> dg.AssetsDefinition:
    """The asset with the report cards of a symbol's table, a partition per month."""
    layout = table.layout
    title = symbol if layout.name == FIRST_TABLE else f"{symbol} in the {layout.title}"

    @dg.asset(
        key=report_card_key(symbol, layout),
        deps=[dg.AssetDep(table_key(layout, symbol), partition_mapping=DAY_TO_HOURS)],
        description=_TEXT.format(title=title),
        group_name="quality",
        kinds={"markdown"},
        tags=symbol_tags(symbol, layout.market),
        automation_condition=follows_by_month(CARD_JOB, settings),
        partitions_def=monthly(settings),
    )
    @done_again
    def card(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> dg.MaterializeResult[None]:
        opened = lake.open().of(table)
        month = datetime.fromisoformat(context.partition_key).replace(tzinfo=UTC)
        found = report_card(opened.store, symbol, month, now=opened.clock(), lag_minutes=opened.safety_lag_minutes)
        path = write_report_card(opened.catalog, found, settings.testing.labelled)
        opened.close()
        image = "data:image/png;base64," + base64.b64encode(picture(found)).decode()
        facts = found.certificate
        return dg.MaterializeResult(
            metadata={
                "verdict": found.verdict,
                "completeness_pct": facts.completeness_pct,
                f"expected_{table.row_word}s": facts.expected_rows,
                f"present_{table.row_word}s": facts.present_rows,
                f"unexplained_{table.row_word}s": facts.unexplained_rows,
                "revised_values": facts.revised_values,
                "report": dg.MetadataValue.md(settings.testing.labelled(render(found, image))),
                "dagster/uri": dg.MetadataValue.path(str(path)),
            }
        )

    return card
