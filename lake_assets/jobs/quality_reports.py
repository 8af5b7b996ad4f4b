"""The jobs of the reports: one per kind, on every table of all symbols.

Belongs here: their names and what they select, which month a report card is about. Does not belong here: when they run
(`schedules`), the reports (`assets.quality`, `assets.report_card`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

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


def request_report_cards(settings: LakeSettings, tick: datetime) -> dg.RunRequest | dg.SkipReason:
    """The run for the month of the day before a tick: so the last run of a month sees all of it.

    Args:
        settings: where partitions begin.
        tick: the instant that the schedule was due at, UTC.
    """
    month = (tick - timedelta(days=1)).date().replace(day=1)
    if month < settings.start.replace(day=1):
        return dg.SkipReason(f"yesterday is before LAKE_START ({settings.start})")
    return dg.RunRequest(partition_key=month.isoformat())
