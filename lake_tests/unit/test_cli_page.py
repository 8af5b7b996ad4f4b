"""The page of the commands is the one of the commands, and each command says what it does and shows an example."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from lake_assets.cli.main import app
from lake_assets.cli.page import render

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(app), "run `make docs`"


PROMISED = (
    "audit", "backfill-years", "backfill-range", "init-state", "run-once", "run-daemon", "show-watermark",
    "inspect-metrics-columns", "materialize-duckdb", "doctor", "holes", "validate-rules",
)  # fmt: skip


@pytest.mark.parametrize("name", PROMISED)
def test_each_promised_command_shows_an_example(name: str) -> None:
    assert f"lake {name}" in (COMMANDS[name].help or "")
