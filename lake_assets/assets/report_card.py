"""The report card of a symbol's month: `quality/<symbol>/report_card`.

Belongs here: the asset. Does not belong here: when it runs (`schedules`), the page (`quality.month_card`).
"""

import base64
from datetime import UTC, datetime

import dagster as dg

from lake_assets.dagster_names import symbol_name
from lake_assets.metadata import minute_key, symbol_tags
from lake_assets.partitions import DAY_TO_HOURS
from lake_assets.quality.month_card import picture, render, report_card, write_report_card
from lake_assets.resources import LakeOpener
from lake_resources.settings import LakeSettings

_TEXT = """\
One page for a month of {symbol}: completeness as a number that is never rounded up and as a picture of days and hours,
sources, checks, revised values, holes by cause, quarantine. The same page lies below the lake's root in `reports/`."""


def report_card_key(symbol: str) -> dg.AssetKey:
    """Key of a symbol's report cards."""
    return dg.AssetKey(["quality", symbol_name(symbol), "report_card"])


def monthly(settings: LakeSettings) -> dg.MonthlyPartitionsDefinition:
    """Months from the lake's start on; the month that is not over is one too."""
    first = settings.start.replace(day=1).isoformat()
    return dg.MonthlyPartitionsDefinition(start_date=first, timezone="UTC", end_offset=1)


def build_report_card_asset(symbol: str, settings: LakeSettings) -> dg.AssetsDefinition:
    """The asset `quality/<symbol>/report_card`."""

    @dg.asset(
        key=report_card_key(symbol),
        deps=[dg.AssetDep(minute_key(symbol), partition_mapping=DAY_TO_HOURS)],
        description=_TEXT.format(symbol=symbol),
        group_name="quality",
        kinds={"markdown"},
        tags=symbol_tags(symbol),
        partitions_def=monthly(settings),
    )
    def card(context: dg.AssetExecutionContext, lake: dg.ResourceParam[LakeOpener]) -> dg.MaterializeResult[None]:
        opened = lake.open()
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
                "expected_minutes": facts.expected_rows,
                "present_minutes": facts.present_rows,
                "unexplained_minutes": facts.unexplained_rows,
                "revised_values": facts.revised_values,
                "report": dg.MetadataValue.md(settings.testing.labelled(render(found, image))),
                "dagster/uri": dg.MetadataValue.path(str(path)),
            }
        )

    return card
