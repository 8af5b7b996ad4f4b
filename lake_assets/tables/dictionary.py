"""The generated pages `docs/data-dictionary*.md`, one for each set of columns.

Belongs here: rendering of declared columns as Markdown (`python -m lake_assets.tables.dictionary NAME` prints a page).
Does not belong here: any text about a column that is not in its declaration.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lake_assets.schema.column import Column
from lake_assets.schema.table import Table
from lake_assets.tables.macro_minute import MACRO_MINUTE
from lake_assets.tables.spot_bars_1s import SPOT_BARS_1S
from lake_assets.tables.spot_klines import SPOT_KLINES
from lake_assets.tables.um_minute import UM_MINUTE
from lake_resources.clock import HOUR

CLASSES = {
    "HARD_REQUIRED": "in every row, never NULL",
    "BACKFILL_AVAILABLE": "has a history at the exchange",
    "LIVE_ONLY": "seen only by a collector that was running at the time; NULL in history",
}
_BANDS = ("cold", "warm", "hot")


@dataclass(frozen=True)
class Page:
    """What a page of the dictionary says besides the columns.

    Attributes:
        title: heading of the table.
        declared: the module that declares the columns.
        text: what a row is, in Markdown.
        table: the table, or one of those that have these columns.
        mark: what the name of the file says after `data-dictionary`.
    """

    title: str
    declared: str
    text: str
    table: Table
    mark: str


PAGES = {
    "minute": Page(
        "The minute table of USD-M futures",
        "minute_columns",
        """\
One row per minute and symbol, in hour partitions. The symbol is in the path. Times are UTC.
**NULL = not ingested; 0 = ingested, and nothing happened.** A row holds only
what was knowable at the end of its minute.

Other tables: [bars of a second](data-dictionary-bars_1s.md) and [klines](data-dictionary-klines.md) of the spot market,
[macro minutes](data-dictionary-macro.md).
""",
        UM_MINUTE,
        "",
    ),
    "bars_1s": Page(
        "Seconds of the spot market: `bars_1s`",
        "second_columns",
        """\
One row per known second and symbol, in hour partitions: `spot/bars_1s/symbol=…/year=…/month=…/day=…/hour=…`. Times are
UTC. A quiet second is a row, a second that is not known is none ([what that means, and how quotes are placed in
time](spot.md)).
""",
        SPOT_BARS_1S,
        "-bars_1s",
    ),
    "klines": Page(
        "Klines of the spot market: `klines_1s`, `klines_1m`, `klines_5m`, `klines_15m`, `klines_1h`, `klines_1d`",
        "spot_kline_columns",
        """\
One row per candle that is over and symbol, in day partitions: `spot/klines_<interval>/symbol=…/year=…/month=…/day=…`.
The tables differ in the length of the candle alone. The symbol is in the path. Times are UTC. The open candle is never
a row ([more](spot.md)).
""",
        SPOT_KLINES["1m"],
        "-klines",
    ),
    "macro": Page(
        "Macro minutes: `macro_minute`",
        "macro_columns",
        """\
One row per minute in which Yahoo has a price and ticker, in day partitions. Times are UTC ([more](macro.md)).
""",
        MACRO_MINUTE,
        "-macro",
    ),
}
"""The pages by the name that prints them."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|") or "–"


def _row(column: Column) -> str:
    sources = (column.cold_source, column.warm_source, column.hot_source)
    same = len(set(sources)) == 1
    source = sources[0] if same else "; ".join(f"{band}: {s}" for band, s in zip(_BANDS, sources, strict=True))
    held = column.carried_for
    cells = (
        str(column.position),
        f"`{column.name}`",
        column.dtype_text,
        column.unit,
        column.support_class,
        source,
        column.fill_policy + ("" if held is None else f" ({held / HOUR:g} h, the same for every value)"),
        column.definition,
        column.bounds.text(),
    )
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def render(table: Table) -> str:
    """The data dictionary of a table as Markdown.

    Raises:
        StopIteration: no page is declared for a table of these columns.
    """
    page = next(each for each in PAGES.values() if each.table is table)
    classes = "\n".join(f"- **{name}**: {text}." for name, text in CLASSES.items())
    rows = "\n".join(_row(column) for column in table.columns)
    flags = f", then {len(table.flags)} coverage flags" if table.flags else ""
    name = next(name for name, each in PAGES.items() if each is page)
    return (
        f"# Data dictionary{f': {name}' if page.mark else ''}\n\n"
        f"Generated from `lake_assets/schema/{page.declared}.py` by `python -m lake_assets.tables.dictionary {name}`;\n"
        "edit the registry, not this page.\n\n"
        f"## {page.title}\n\n{page.text}\n"
        f"{len(table.canonical)} canonical columns{flags}. Schema hash `{table.schema_hash}`.\n\n"
        f"{classes}\n\n"
        "Bands by the age of the partition: hot up to 6 hours, warm up to 7 days, cold older.\n\n"
        "| # | column | type | unit | class | source | fill policy | definition | bounds |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        f"{rows}\n\n"
        f"The {len(table.required)} required columns: {', '.join(f'`{name}`' for name in table.required)}.\n"
    )


if __name__ == "__main__":
    sys.stdout.write(render(PAGES[sys.argv[1] if len(sys.argv) > 1 else "minute"].table))
