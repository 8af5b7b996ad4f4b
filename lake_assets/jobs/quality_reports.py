"""The jobs of the reports: one per kind, on every table of all symbols.

Belongs here: their names and what they select. Does not belong here: when they run (`automation.timetable`), the
reports (`assets.quality`, `assets.report_card`).
"""

from __future__ import annotations

from lake_assets.assets.quality import report_key
from lake_assets.assets.report_card import report_card_key
from lake_assets.assets.table_list import offered_tables, symbols_of
from lake_assets.dagster_names import AUDIT_JOB, CARD_JOB, PARITY_JOB, RULES_JOB
from lake_assets.jobs.asset_job import AssetJob, asset_job
from lake_resources.settings import LakeSettings

_TEXTS = {
    AUDIT_JOB: "Compares every partition on the disk with the ledger and with Dagster.",
    RULES_JOB: "Runs the rulepack R1 to R7 over the last 31 days, of seconds over the last 3.",
    PARITY_JOB: "Compares sampled sealed partitions with the exchange's klines of now.",
}


def build_report_jobs(settings: LakeSettings) -> list[AssetJob]:
    """A job per kind of report."""
    offered = [each.table for each in offered_tables(settings)]
    of = [(symbol, table.layout) for table in offered for symbol in symbols_of(table, settings)]
    reports = [
        asset_job(report, [report_key(symbol, report, layout) for symbol, layout in of], text)
        for report, text in _TEXTS.items()
    ]
    cards = [report_card_key(symbol, layout) for symbol, layout in of]
    return [*reports, asset_job(CARD_JOB, cards, "A page per symbol, table and month.")]
