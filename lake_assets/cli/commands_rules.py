"""`lake validate-rules`: the rulepack R1 to R7 over the lake or any file with bars.

Belongs here: the command and its report file. Does not belong here: rules (`validation`), reading bars (`audit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from lake_assets.at_rest import open_at_rest
from lake_assets.audit.rulepack_bars import check_bars, check_file, check_klines, parse_step
from lake_assets.cli.asked_range import audit_window
from lake_assets.cli.exits import Exit
from lake_assets.cli.options import AsJson, End, Start, Symbols
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.transforms.rollup import own_timeframe
from lake_assets.validation.rule_report import overall, render
from lake_assets.validation.rulepack import RULES, RulepackResult
from lake_assets.windows import floor_minute
from lake_resources.clock import system_clock
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.disk import replace_text

app = typer.Typer()


@app.command("validate-rules")
def validate_rules(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    source: Annotated[
        Literal["bars", "klines"], typer.Option(help="bars: the table; klines: the raw klines it is built from")
    ] = "bars",
    file: Annotated[Path | None, typer.Option(help="a Parquet or CSV file with OHLC instead of the lake")] = None,
    table: ChosenTable = MINUTES,
    tf: Annotated[
        str | None,
        typer.Option(help="distance of the bars of --file: 1s, 1m, 1h …; default the table's", show_default=False),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="write the Markdown report to this file")] = None,
    as_json: AsJson = False,
) -> None:
    """Check bars against R1 to R7 and say PASS, INVESTIGATE or FAIL. Changes nothing but the report file.

    Exit code 1 on FAIL; no rows are a FAIL. Without --end it goes to now less the safety lag. Times in a file may be
    ISO 8601 or epochs in s, ms, µs or ns; its grid is counted from the epoch.

    Examples: `lake validate-rules BTCUSDT --start 2024-01-01 --end 2024-02-01 --report january.md` ·
    `lake validate-rules --file bars_1h.parquet --tf 1h`
    """
    settings, own = LakeSettings(), own_timeframe(table)
    if file is not None:
        step = parse_step(tf or own)
        results = [check_file(file, start, end, step)]
    elif tf not in (None, own):
        raise SettingsError(
            f"the {table.layout.title} has bars of {own}, not of {tf}",
            remedy="Give --file or --table, or leave --tf out",
        )
    else:
        lake = open_at_rest(settings, table)
        check = check_bars if source == "bars" else check_klines
        results = []
        for symbol in symbols_with(table, symbols, settings):
            latest = floor_minute(lake.clock() - timedelta(minutes=lake.safety_lag_minutes))
            first, last = audit_window(lake, symbol, start, end, None, latest=latest)
            results.append(check(lake, symbol, first, last))
    verdict = overall(results)
    if report is not None:
        page = render(results, timeframe=tf or own, source=str(file or source), generated=system_clock())
        replace_text(report, settings.testing.labelled(page))
    if as_json:
        show_json([_json(result) for result in results])
    else:
        _print(results, verdict, report)
    if verdict == "FAIL":
        raise typer.Exit(Exit.REFUSED)


def _json(result: RulepackResult) -> dict[str, Any]:
    rules = [vars(rule) | {"offenders": rule.offenders.to_dicts()} for rule in result.rules]
    return vars(result) | {"rules": rules, "verdict": result.verdict}


def _print(results: Sequence[RulepackResult], verdict: str, report: Path | None) -> None:
    console = terminal()
    for result in results:
        console.print(_table(result))
        for text in (*(each.text for each in result.dead), *result.doubts):
            console.print(coloured("look", "yellow", f": {text}"))
        if result.cause:
            console.print(coloured("cause", "red", f": {result.cause}"))
    if report is not None:
        console.print(f"report: {report}")
    console.print(coloured(verdict, {"PASS": "green", "INVESTIGATE": "yellow", "FAIL": "red"}[verdict]))


def _table(result: RulepackResult) -> Table:
    title = f"{result.symbol}, {result.start:%Y-%m-%d %H:%M} to {result.end:%Y-%m-%d %H:%M} UTC: {result.verdict}"
    table = Table(title=title, title_justify="left")
    for heading in ("rule", "what", "checked", "violations", "numbers"):
        table.add_column(heading, justify="right" if heading in {"checked", "violations"} else "left")
    for rule in result.rules:
        numbers = ", ".join(f"{name} {value}" for name, value in rule.stats.items() if value)
        table.add_row(rule.rule, RULES[rule.rule], f"{rule.checked:,}", f"{rule.violations:,}", numbers)
    return table
