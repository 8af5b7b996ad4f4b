"""The registry against the data contract of the specification, where that is at hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lake_assets.schema.column import Column
from lake_assets.tables.um_minute import UM_MINUTE

CONTRACT = Path(__file__).resolve().parents[3] / "shared" / "spec" / "minute_columns.csv"
OWN_NAME = {"dtype": "dtype_text"}


@pytest.fixture(scope="module")
def contract() -> list[dict[str, str]]:
    if not CONTRACT.exists():
        pytest.skip("no data contract here: ../shared/spec/minute_columns.csv")
    with CONTRACT.open(newline="") as file:
        return list(csv.DictReader(file))


def _cell(column: Column, field: str) -> str:
    return str(getattr(column, OWN_NAME.get(field, field)))


def test_each_column_of_the_contract_is_declared_so(contract: list[dict[str, str]]) -> None:
    declared = {column.name: column for column in UM_MINUTE.columns}
    differing = [
        (row["name"], field, value, _cell(declared[row["name"]], field))
        for row in contract
        for field, value in row.items()
        if _cell(declared[row["name"]], field) != value
    ]
    assert differing == []


def test_each_declared_column_is_in_the_contract_at_its_place(contract: list[dict[str, str]]) -> None:
    assert [column.name for column in UM_MINUTE.columns] == [row["name"] for row in contract]
    assert [column.position for column in UM_MINUTE.columns] == [int(row["position"]) for row in contract]
