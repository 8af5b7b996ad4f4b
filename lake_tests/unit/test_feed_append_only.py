"""No statement of the project changes or removes a row of the 1H table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lake_resources.storage import bars_duckdb

PROJECT = Path(__file__).resolve().parents[2]
REWRITES = re.compile(
    r"\b(update\s+\S*{0}|delete\s+from\s+\S*{0}|truncate\s+(table\s+)?\S*{0}|drop\s+table\s+(if\s+exists\s+)?\S*{0}"
    r"|alter\s+table\s+\S*{0}|insert\s+or\s+replace\s+into\s+\S*{0}|create\s+or\s+replace\s+table\s+\S*{0}"
    r"|merge\s+into\s+\S*{0})".format("ohlcv_btcusdt_1h"),
    re.IGNORECASE,
)
ANY_REWRITE = re.compile(
    r"\b(UPDATE\s+\w+\s+SET|DELETE\s+FROM|TRUNCATE|DROP\s+TABLE|ALTER\s+TABLE|OR\s+REPLACE|DO\s+UPDATE|MERGE\s+INTO)\b",
    re.IGNORECASE,
)


def sources() -> list[Path]:
    return [path for folder in ("lake_assets", "lake_resources", "docs") for path in (PROJECT / folder).rglob("*.py")]


def test_no_source_rewrites_the_table() -> None:
    found = [str(path) for path in sources() if REWRITES.search(path.read_text())]
    assert found == []


def test_no_module_that_knows_the_table_has_any_rewriting_statement() -> None:
    knowing = [path for path in sources() if re.search(r"ohlcv_btcusdt_1h|bars_duckdb", path.read_text())]
    assert Path(bars_duckdb.__file__) in knowing
    assert [str(path) for path in knowing if ANY_REWRITE.search(path.read_text())] == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ohlcv_btcusdt_1h SET close = 1",
        "delete from main.ohlcv_btcusdt_1h",
        "DROP TABLE IF EXISTS ohlcv_btcusdt_1h",
    ],
)
def test_the_search_would_find_one(statement: str) -> None:
    assert REWRITES.search(statement)
    assert ANY_REWRITE.search(statement)
