"""`lake parity`: stored hours against the exchange's klines of now.

Belongs here: the command and what it prints. Does not belong here: comparing (`audit.api_parity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Annotated, Any

import typer

from lake_assets.audit.api_parity import ParityRun, compare_due, compare_partitions, due_partitions
from lake_assets.audit.ranges import require_order
from lake_assets.audit.second_look import SecondLook, days_due, look_again
from lake_assets.audit.weight_budget import parity_budget
from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson, End, Start, Symbols
from lake_assets.cli.printing import messages, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, require_known, symbols_with
from lake_assets.lake import Lake, open_existing
from lake_assets.local_stack.lone_exchange import exchange_there
from lake_assets.windows import hours_between, runs_of
from lake_resources.layout import TableLayout
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command("parity")
def parity(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="only list the hours that are not compared yet; asks nobody")
    ] = False,
    other_streams: Annotated[
        bool,
        typer.Option("--other-streams", help="ask REST once more for streams whose values one source alone has stated"),
    ] = False,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Compare stored hours with the exchange's klines of now, or list what is left.

    Without a range the hours (days, of a table of days) that were not compared since they were committed, the newest
    days first, as many as LAKE_PARITY_WEIGHT_SHARE lets a run take; a day of minutes costs one request, a day of
    seconds 87. Differences are kept in `revisions` and contradict the verdict on their hour. Exit code 1 where
    something differs; 0 says nothing of hours that are left.

    --other-streams asks REST for mark, index and premium prices, metrics and settlements of hours of which one source
    alone has spoken, and compares them value by value: those of the range, else of the newest two days and of a
    thirtieth of the older ones. A day costs nine requests. Hours that differ are contradicted and built again by
    healing.

    Examples: `lake parity` · `lake parity BTCUSDT --start 2024-01-01 --end 2024-02-01` · `lake parity --list`
    · `lake parity SOLUSDT --table klines_1m` · `lake parity --other-streams`
    """
    settings = LakeSettings()
    lake = open_existing(settings).of(table)
    asking = nullcontext() if only_list else exchange_there(settings, say=messages().print)
    if other_streams:
        with asking:
            _other_streams(lake, settings, symbols_with(table, symbols, settings), (start, end), as_json=as_json)
        return
    try:
        require_known(table, symbols, settings, lake.ledger.is_known)
        with asking:
            runs = [
                _run(lake, settings, symbol, (start, end), only_list)
                for symbol in symbols_with(table, symbols, settings)
            ]
    finally:
        lake.close()
    if as_json:
        show_json([_json(run) for run in runs])
    else:
        for run in runs:
            _print(run, lake.store.layout)
    if any(run.differing for run in runs):
        raise typer.Exit(Exit.REFUSED)


def _run(
    lake: Lake, settings: LakeSettings, symbol: str, asked: tuple[datetime | None, datetime | None], only_list: bool
) -> ParityRun:
    now, (start, end) = lake.clock(), asked
    if only_list:
        left = due_partitions(lake, symbol, now)
        left = [at for at in left if (start is None or at >= start) and (end is None or at < end)]
        return ParityRun(symbol, (), (), 0, tuple(left))
    budget = parity_budget(settings, clock=lake.clock)
    if start is None and end is None:
        return compare_due(lake, symbol, now, budget)
    first = start or lake.ledger.first_partition(symbol) or now
    require_order(first, end or now)
    return compare_partitions(lake, symbol, lake.store.layout.between(first, end or now), now, budget)


def _other_streams(
    lake: Lake,
    settings: LakeSettings,
    symbols: Sequence[str],
    asked: tuple[datetime | None, datetime | None],
    *,
    as_json: bool,
) -> None:
    """Look again at what one source alone has said, and print what differs."""
    now, (start, end) = lake.clock(), asked
    found: list[SecondLook] = []
    try:
        budget = parity_budget(settings, clock=lake.clock)
        for symbol in symbols:
            if start is None and end is None:
                days = days_due(lake, symbol, now)
            else:
                first = start or lake.ledger.first_partition(symbol) or now
                require_order(first, end or now)
                days = [day.date() for day in hours_between(first, end or now)]
            found.append(look_again(lake, symbol, days, now, budget))
    finally:
        lake.close()
    if as_json:
        show_json([vars(look) | {"unlike": [vars(each) for each in look.unlike]} for look in found])
    else:
        console = terminal()
        for look in found:
            console.print(
                f"{look.symbol}: {look.compared:,} rows of other streams compared in {look.requests:,} request(s), "
                f"{len(look.unlike):,} differ"
            )
            for each in look.unlike:
                console.print(f"  {each.text}")
    if any(look.unlike for look in found):
        raise typer.Exit(Exit.REFUSED)


def _json(run: ParityRun) -> dict[str, Any]:
    return {
        "symbol": run.symbol,
        "compared": len(run.compared),
        "requests": run.requests,
        "differing": [vars(each) | {"start": each.start.isoformat()} for each in run.differing],
        "not_compared": [at.isoformat() for at in run.left],
    }


def _print(run: ParityRun, layout: TableLayout) -> None:
    console = terminal()
    console.print(
        f"{run.symbol}: {len(run.compared):,} {layout.span}s compared in {run.requests:,} request(s), "
        f"{len(run.differing):,} differ, {len(run.left):,} not compared yet"
    )
    for each in run.differing:
        console.print(f"  {each.start:%Y-%m-%d %H:%M}: {each.first}")
    for first, last in runs_of(run.left, step=layout.step):
        console.print(f"  not compared: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}")
