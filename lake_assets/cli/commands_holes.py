"""`lake holes`: which minutes are missing, and which of them are explained.

Belongs here: the command and its table. Does not belong here: finding holes (`quality.holes`), declaring them (`cli`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from lake_assets.at_rest import LakeAtRest, open_at_rest
from lake_assets.cli.asked_range import audit_window
from lake_assets.cli.options import AsJson, End, Start, Symbols
from lake_assets.cli.printing import coloured, show_json, terminal
from lake_assets.cli.table_option import MINUTES, ChosenTable, symbols_with
from lake_assets.inputs.excuses import holes_known
from lake_assets.quality.certificate import Certificate, certify
from lake_assets.schema.known_damage import Damage, damage_of, known_damage
from lake_resources.known_hole import KnownHole
from lake_resources.settings import LakeSettings

app = typer.Typer()


@app.command()
def holes(
    symbols: Symbols = None,
    start: Start = None,
    end: End = None,
    years: Annotated[int | None, typer.Option(min=1, max=10, help="this many years of 365 days back")] = None,
    unexplained: Annotated[bool, typer.Option("--unexplained", help="only those that nothing explains")] = False,
    table: ChosenTable = MINUTES,
    as_json: AsJson = False,
) -> None:
    """List every hole of a table, explained and unexplained.

    Hours that are in doubt are listed as well: two sources contradict each other, or a stream lacks minutes. Exit code
    1 when there is one, or when a hole is unexplained.

    Exit code 3 when nothing of the range must exist yet: then nothing was looked at.

    Explained are the known holes of the exchange that come with the project and those of `lake declare-hole`; known
    holes of other streams than the klines are listed too, and days on record as damaged, which excuse nothing. It goes
    by the ledger: `lake audit` looks at the files.

    Examples: `lake holes BTCUSDT --start 2022-05-01 --end 2022-06-01` · `lake holes --unexplained --json`
    """
    settings = LakeSettings()
    lake = open_at_rest(settings, table)
    found: list[tuple[Certificate, list[KnownHole]]] = []
    for symbol in symbols_with(table, symbols, settings):
        first, last = audit_window(lake, symbol, start, end, years)
        lag = lake.safety_lag_minutes
        window = certify(lake.store, symbol, first, last, now=lake.clock(), lag_minutes=lag, columns=())
        found.append((window, _other_streams(lake, window)))
    if as_json:
        show_json([_json(*each) for each in found])
    else:
        for window, others in found:
            terminal().print(_table(window, [] if unexplained else others, only_unexplained=unexplained))
    if any(window.unexplained_rows or window.doubts for window, _ in found):
        raise typer.Exit(1)


def _other_streams(lake: LakeAtRest, window: Certificate) -> list[KnownHole]:
    known = holes_known(lake.ledger, window.symbol, window.start, window.end)
    return [hole for hole in known if hole.stream != window.table.row_stream and hole.stream in window.table.uses]


def _json(window: Certificate, others: list[KnownHole]) -> dict[str, Any]:
    times = ("start", "end")
    streams = [{**vars(hole), **{name: getattr(hole, name).isoformat() for name in times}} for hole in others]
    word = window.table.row_word
    names = ("symbol", "start", "end", f"expected_{word}s", f"present_{word}s", "completeness_pct")
    values = window.as_json()
    if not window.expected_rows:
        values["completeness_pct"] = None
    damage = [
        asdict(each) | {"first_day": each.first_day.isoformat(), "last_day": each.last_day.isoformat()}
        for each in _damage(window)
    ]
    found = {name: values[name] for name in (*names, f"unexplained_{word}s", "holes", "verdicts")}
    return found | {"other_streams": streams, "known_damage": damage}


def _damage(window: Certificate) -> list[Damage]:
    return damage_of(known_damage(), window.symbol, window.start, window.end)


def _table(window: Certificate, others: list[KnownHole], *, only_unexplained: bool) -> Table:
    text, word, grain = window.table.row_text, window.table.row_word, window.table.layout.grain
    counts = (
        f"{window.present_rows:,} of {window.expected_rows:,} {word}s ({window.completeness_pct:.2f} %), "
        f"{window.unexplained_rows:,} unexplained"
    )
    if not window.expected_rows:
        counts = "nothing to look at, the symbol is not traded in this range"
    title = f"{window.symbol}, {text(window.start)} to {text(window.end)} UTC: {counts}"
    table = Table(title=title, title_justify="left")
    for heading in ("from", "to", f"{word}s", "stream", "explained", "cause"):
        table.add_column(heading, justify="right" if heading == f"{word}s" else "left")
    rows = [
        (hole.start, hole.end, window.table.row_stream, hole.explained, hole.cause, hole.reference)
        for hole in window.holes
        if not (only_unexplained and hole.explained)
    ] + [(hole.start, hole.end, hole.stream, True, hole.cause, hole.reference) for hole in others]
    step = window.table.layout.step
    rows += [(start, start + step, doubt.kind, False, doubt.text, "") for start, doubt in window.doubts.items()]
    for first, last, stream, explained, cause, reference in sorted(rows):
        mark = coloured("yes", "green") if explained else coloured("no", "red")
        length = f"{(last - first) / grain:,.0f}"
        told = f"{cause} ({reference})" if reference else cause
        table.add_row(text(first), text(last), length, stream, mark, told)
    for each in [] if only_unexplained else _damage(window):
        days = f"{each.first_day:%Y-%m-%d}", f"{each.last_day:%Y-%m-%d}"
        table.add_row(*days, "", each.stream, "on record", f"{each.cause} ({each.reference})")
    return table
