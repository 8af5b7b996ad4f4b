"""The generated page `docs/data-dictionary.md`.

Belongs here: rendering of the registry as Markdown (`python -m lake_assets.tables.dictionary` prints it).
Does not belong here: any text about a column that is not in the registry.
"""

from __future__ import annotations

import sys

from lake_assets.schema.column import Column
from lake_assets.schema.table import Table
from lake_assets.tables.um_minute import UM_MINUTE

CLASSES = {
    "HARD_REQUIRED": "in every row, never NULL",
    "BACKFILL_AVAILABLE": "has a history at the exchange",
    "LIVE_ONLY": "seen only by a collector that was running at the time; NULL in history",
}
_BANDS = ("cold", "warm", "hot")
HEADER = """\
# Data dictionary

Generated from `lake_assets/schema/minute_columns.py` by `python -m lake_assets.tables.dictionary`;
edit the registry, not this page.

## The minute table of USD-M futures

One row per minute and symbol, in hour partitions. The symbol is in the path. Times are UTC.
**NULL = not ingested; 0 = ingested, and nothing happened.** A row holds only
what was knowable at the end of its minute.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|") or "–"


def _row(column: Column) -> str:
    sources = (column.cold_source, column.warm_source, column.hot_source)
    same = len(set(sources)) == 1
    source = sources[0] if same else "; ".join(f"{band}: {s}" for band, s in zip(_BANDS, sources, strict=True))
    cells = (
        str(column.position),
        f"`{column.name}`",
        column.dtype_text,
        column.unit,
        column.support_class,
        source,
        column.fill_policy,
        column.definition,
        column.bounds.text(),
    )
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def render(table: Table) -> str:
    """The data dictionary of a table as Markdown."""
    classes = "\n".join(f"- **{name}**: {text}." for name, text in CLASSES.items())
    rows = "\n".join(_row(column) for column in table.columns)
    return (
        f"{HEADER}\n"
        f"{len(table.canonical)} canonical columns, then {len(table.flags)} coverage flags. "
        f"Schema hash `{table.schema_hash}`.\n\n"
        f"{classes}\n\n"
        "Bands by the age of the hour: hot up to 6 hours, warm up to 7 days, cold older.\n\n"
        "| # | column | type | unit | class | source | fill policy | definition | bounds |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        f"{rows}\n\n"
        f"The {len(table.required)} required columns: {', '.join(f'`{name}`' for name in table.required)}.\n"
    )


if __name__ == "__main__":
    sys.stdout.write(render(UM_MINUTE))
