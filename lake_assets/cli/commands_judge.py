"""`lake judge`: verdicts for hours that were committed without one.

Belongs here: the command and what it prints. Does not belong here: judging (`build.judge_anew`).
"""

from __future__ import annotations

from collections import Counter

import typer

from lake_assets.build.judge_anew import judge_unjudged
from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson, End, Start, Symbols
from lake_assets.cli.printing import messages, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, require_known, symbols_with
from lake_assets.lake import open_existing
from lake_assets.validation.hour_verdict import CLEAN
from lake_resources.clock import EPOCH
from lake_resources.settings import LakeSettings

app = typer.Typer()
_EVER = EPOCH
_SHOWN = 50


@app.command("judge")
def judge(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """Judge hours that were committed without a verdict, from what the lake holds; nothing is rebuilt.

    Lakes of before have no verdicts. Sources are held against their witnesses once more; REST is not asked. Exit code 1
    where an hour is neither clean nor explained nor provisional. The daily audit does the same, some hours at a time.

    Examples: `lake judge BTCUSDT --start 2024-01-01` · `lake judge --table bars_1s`
    """
    settings = LakeSettings()
    lake = open_existing(settings).of(table)
    try:
        require_known(table, symbols, settings, lake.ledger.is_known)
        found = {
            symbol: judge_unjudged(lake, symbol, start or _EVER, end or lake.clock(), report=messages().print)
            for symbol in symbols_with(table, symbols, settings)
        }
    finally:
        lake.close()
    bad = {
        symbol: {at: each for at, each in verdicts.items() if each.kind not in CLEAN and each.kind != "provisional"}
        for symbol, verdicts in found.items()
    }
    if as_json:
        show_json(
            [
                {
                    "symbol": symbol,
                    "judged": len(verdicts),
                    "verdicts": dict(Counter(each.kind for each in verdicts.values())),
                    "doubts": {at.isoformat(): each.text for at, each in bad[symbol].items()},
                }
                for symbol, verdicts in found.items()
            ]
        )
    else:
        console = terminal()
        for symbol, verdicts in found.items():
            counts = ", ".join(f"{n:,} {kind}" for kind, n in Counter(v.kind for v in verdicts.values()).items())
            console.print(
                f"{symbol}: {len(verdicts):,} {table.layout.span}s judged: {counts or 'none was without a verdict'}"
            )
            for at, each in [*bad[symbol].items()][:_SHOWN]:
                console.print(f"  {at:%Y-%m-%d %H:%M} {each.text}")
    if any(bad.values()):
        raise typer.Exit(Exit.REFUSED)
