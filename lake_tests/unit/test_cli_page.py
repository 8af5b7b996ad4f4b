"""The page and the help of the commands are those of the commands, and each says what it does and shows an example."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lake_assets.cli.command_table import COMMANDS
from lake_assets.cli.lazy_group import load
from lake_assets.cli.main import app
from lake_assets.cli.page import render

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_begins_with_the_line_of_the_table_and_shows_an_example(name: str) -> None:
    text = inspect.cleandoc(load(COMMANDS[name]).help)
    assert text.startswith(COMMANDS[name].summary)
    assert f"lake {name}" in text


def test_the_help_lists_every_command_under_what_it_is_for() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    panel, found = "", {}
    for line in result.output.splitlines():
        if line.startswith("╭─"):
            panel = line.strip("╭─╮ ")
        elif line.startswith("│ ") and (words := line[2:].split()) and line[2] != " ":
            found[words[0]] = panel
    assert {name: group for name, group in found.items() if group != "Options"} == {
        line.name: line.group for line in COMMANDS.values()
    }


def test_an_unknown_command_is_wrong_usage_with_the_nearest_name() -> None:
    result = CliRunner().invoke(app, ["shw"])
    assert result.exit_code == 2
    assert "'show'" in result.output
