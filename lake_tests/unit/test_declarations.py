"""Facts about streams and columns stand in their declarations: nothing else in the product lists their names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from lake_assets.schema.column import LIVE
from lake_assets.tables.declared import TABLES
from lake_resources.binance.streams import STREAMS

PRODUCT = Path(__file__).resolve().parents[2] / "lake_assets"
DECLARATIONS = ("tables/",)
COLUMN_DECLARATIONS = "_columns.py"
"""How the modules that declare the columns of a table end."""
FORMULAS = ("transforms/", "build/rows.py")
"""A formula names the columns that it makes and reads; what else is true of them it asks."""
COLUMNS = {name for table in TABLES.values() for name in table.names}
STREAM_NAMES = {name for streams in STREAMS.values() for name in streams} | {LIVE}
BAR_WORDS = {"timestamp", "symbol"} | {
    name for streams in STREAMS.values() for stream in streams.values() if stream.is_klines for name in stream.columns
}
"""The words for the parts of any bar, also of bars that are no table of the lake: tables of klines keep them."""
OTHERS = ("audit/bar_files.py", "live/raw_lines.py", "exports/other_programs.py", "dashboard/chart_page.py")
"""Files of strangers are read, and written for them, by the words that they use; a page chooses what it opens with."""


def modules() -> list[tuple[str, ast.Module]]:
    paths = sorted(PRODUCT.rglob("*.py"))
    return [(str(path.relative_to(PRODUCT)), ast.parse(path.read_text("utf-8"))) for path in paths]


def texts(tree: ast.Module) -> Iterator[tuple[int, set[str]]]:
    """The strings of each literal list, tuple, set and dict, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            parts: list[ast.expr | None] = [*node.elts]
        elif isinstance(node, ast.Dict):
            parts = [*node.keys, *node.values]
        else:
            continue
        found = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
        yield node.lineno, found


def lists_of(names: set[str], *exempt: str) -> list[str]:
    return [
        f"{path}:{line}: {', '.join(sorted(found & names))}"
        for path, tree in modules()
        if not path.startswith(exempt) and not path.endswith(COLUMN_DECLARATIONS)
        for line, found in texts(tree)
        if len(found & names) > 1
    ]


def test_the_scan_finds_lists_where_they_may_be() -> None:
    found = lists_of(COLUMNS - BAR_WORDS)
    assert any(line.startswith("transforms/") for line in found)
    assert any(line.startswith("audit/bar_files.py") for line in found)


def test_no_list_of_columns_stands_outside_the_declarations_and_the_formulas() -> None:
    assert lists_of(COLUMNS - BAR_WORDS, *DECLARATIONS, *FORMULAS, *OTHERS) == []


def test_no_list_of_streams_stands_outside_the_declarations_and_the_formulas() -> None:
    assert lists_of(STREAM_NAMES, *DECLARATIONS, *FORMULAS) == []
