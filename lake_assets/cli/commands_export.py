"""`lake export`, also `lake slice`: rows of a table as files, each with its quality certificate.

Belongs here: the command. Does not belong here: reading and writing (`exports.export`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lake_assets.at_rest import LakeAtRest, open_at_rest
from lake_assets.cli.options import INSTANT, AsJson, Symbols, end_minute, first_minute
from lake_assets.cli.printing import show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.exports.export import ExportRequest, ExportTarget, Format, write_exports
from lake_assets.exports.other_programs import Program, write_for_program
from lake_assets.live.live_tail import Listening
from lake_assets.quality.certificate import Require
from lake_assets.transforms.rollup import Incomplete, Timeframe, own_timeframe
from lake_resources.errors import SettingsError
from lake_resources.settings import LakeSettings

app = typer.Typer()

_FORMS: dict[str, Format] = {"parquet": "parquet", "csv": "csv", "arrow": "arrow"}
_PROGRAMS: dict[str, Program] = {"freqtrade": "freqtrade", "nautilus": "nautilus"}


@app.command()
def export(
    start: Annotated[
        datetime, typer.Option(parser=first_minute, metavar="TIME", help=f"first minute; {INSTANT}; seconds round down")
    ],
    end: Annotated[
        datetime,
        typer.Option(parser=end_minute, metavar="TIME", help="first minute after the range; seconds round up"),
    ],
    symbols: Symbols = None,
    table: ChosenTable = MINUTES,
    tf: Annotated[
        Timeframe | None, typer.Option(help="length of a row, default that of the table", show_default=False)
    ] = None,
    columns: Annotated[str, typer.Option(help="column names, comma separated; default all", show_default=False)] = "",
    form: Annotated[
        Literal["parquet", "csv", "arrow", "freqtrade", "nautilus"],
        typer.Option("--format", help="kind of file, or the program that reads it"),
    ] = "parquet",
    out: Annotated[Path, typer.Option(help="directory for the files, created where absent")] = Path("slices"),
    require: Annotated[
        Require, typer.Option(help="clean: refuse a window with unexplained holes or lost columns")
    ] = "any",
    incomplete: Annotated[Incomplete, typer.Option(help="bars that lack a minute: mark them, or omit them")] = "mark",
    live: Annotated[
        bool, typer.Option("--live", help="also closed rows that are not committed yet, marked as provisional")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write minutes or longer bars of a range as files with certificates.

    The range is half-open; each symbol has a file and its certificate beside it. The certificate says how complete the
    rows are, where they came from, what is missing and why, and their hash. For freqtrade `--out` is the data directory
    of its exchange, for NautilusTrader a Parquet catalog; bars that lack a minute are left out of both.

    Examples: `lake export BTCUSDT --start 2024-01-01 --end 2024-02-01 --tf 1h --format csv` ·
    `lake export --start 2024-01-01 --end 2025-01-01 --columns open,high,low,close --require clean` ·
    `lake export SOLUSDT --table bars_1s --start 2024-01-01 --end 2024-01-02` ·
    `lake export BTCUSDT --start 2024-01-01 --end 2024-02-01 --format freqtrade --out user_data/data/binance`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings, table)
    console, files = terminal(), list[dict[str, Any]]()
    wanted = tuple(name.strip() for name in columns.split(",") if name.strip())
    heard = Listening.by(settings, lake.clock()) if live else None
    request = ExportRequest(start, end, tf or own_timeframe(table), wanted or None, incomplete, require, heard)
    if form in _PROGRAMS:
        if columns:
            raise SettingsError(f"{form} has columns of its own", remedy="Leave --columns out")
        if live:
            raise SettingsError(f"{form} cannot mark what is provisional", remedy="Leave --live out")
        _for_program(lake, symbols_with(table, symbols, settings), request, _PROGRAMS[form], out, as_json=as_json)
        return
    for written in write_exports(
        lake.store,
        symbols_with(table, symbols, settings),
        request,
        ExportTarget(out, _FORMS[form], settings.exchange),
        now=lake.clock(),
        lag_minutes=settings.safety_lag_minutes,
    ):
        found = written.certificate
        if as_json:
            files.append(
                {"path": written.path, "rows": written.row_count, "incomplete_bars": written.incomplete_bars}
                | found.as_json()
            )
            continue
        state = "clean" if found.clean else f"{found.unexplained_rows} {table.row_word}s missing without an explanation"
        if found.unexplained_gaps:
            state += (
                f"; NULL for lack of a source: {', '.join(dict.fromkeys(g.column for g in found.unexplained_gaps))}"
            )
        if written.incomplete_bars:
            state += f"; {written.incomplete_bars:,} bars lack {table.row_word}s (complete is false)"
        if found.live_from is not None:
            state += f"; {found.live_rows:,} live {table.row_word}s from {table.row_text(found.live_from)} UTC on"
        console.print(
            f"{written.path}: {written.row_count:,} rows; {found.present_rows:,} of {found.expected_rows:,}"
            f" {table.row_word}s ({found.completeness_pct:.2f} %), {state}"
        )
    if as_json:
        show_json(files)


def _for_program(
    lake: LakeAtRest, symbols: Sequence[str], request: ExportRequest, program: Program, out: Path, *, as_json: bool
) -> None:
    found: list[dict[str, Any]] = []
    for symbol in symbols:
        made = write_for_program(
            lake.store, symbol, request, out, program, now=lake.clock(), lag_minutes=lake.safety_lag_minutes
        )
        told = made.certificate
        found.append({"paths": made.paths, "rows": made.row_count} | told.as_json())
        if not as_json:
            places = ", ".join(str(path) for path in made.paths)
            state = "clean" if told.clean else "not clean, see the certificate"
            terminal().print(f"{places}: {made.row_count:,} bars; {told.completeness_pct:.2f} % of the rows, {state}")
    if as_json:
        show_json(found)


# The name by which it was known first; scripts of users have it.
app.command("slice", help=(export.__doc__ or "").replace("`lake export ", "`lake slice "))(export)
