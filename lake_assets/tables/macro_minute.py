"""Minutes of macro tickers: `macro/<ticker>/minute`, one row per minute with a price, one partition per UTC day.

Belongs here: what the table is made of. Does not belong here: its columns (`schema.macro_columns`), asking Yahoo and
judging what it says (`build.macro_days`).
"""

from __future__ import annotations

from datetime import timedelta

from lake_assets.schema.macro_columns import COLUMNS, YAHOO_STREAM
from lake_assets.schema.table import Table
from lake_assets.validation.hour_verdict import EVIDENCE
from lake_assets.validation.outcome import CHECKS, GATE_CHECKS
from lake_resources.clock import HOUR
from lake_resources.layout import TableLayout

MACRO_MINUTE = Table(
    layout=TableLayout(
        name="macro_minute",
        title="table of macro minutes",
        market="macro",
        market_directory="macro",
        directory="minute",
        grain=timedelta(minutes=1),
        span="day",
        row_stream=YAHOO_STREAM,
        tiers=("month",),
        time_column="ts",
    ),
    columns=COLUMNS.columns,
    # Yahoo is no stream of Binance: nothing of it is archived, captured or collected.
    streams=(),
    primary_key=("ticker", "ts"),
    sort_order=("ts",),
    # A minute in which nothing was traded is no row at Yahoo.
    sparse=True,
    # What Yahoo left out of a day is settled when it leaves it out again so long after the day was committed whole.
    second_look_after=HOUR,
    # Yahoo shows prices of futures 10 minutes late, those of ICE 30.
    told_late=timedelta(minutes=30),
    checks={name: CHECKS[name] for name in (*GATE_CHECKS, EVIDENCE)},
    export_mark="macro",
)
