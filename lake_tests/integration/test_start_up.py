"""Commands that need no Dagster do not import it, nor what else they do not need: the CPU of a start is imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lake_assets.cli.command_table import COMMANDS

LISTED = """
import json, sys
from typer.testing import CliRunner
from lake_assets.cli.main import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0 and "show-watermark" in result.output
"""
LOADED = """
import json, sys
from lake_assets.cli.command_table import COMMANDS
from lake_assets.cli.lazy_group import load
load(COMMANDS[{name!r}])
"""
HEAVY = {"dagster", "polars", "pyarrow", "duckdb", "sqlalchemy", "httpx", "urllib3", "numpy", "pydantic"}
READS_THE_LEDGER = HEAVY - {"polars", "sqlalchemy", "pydantic"}
"""What a command that prints what the ledger holds has no use for."""
NEED_DAGSTER = {"demo", "health"}


def imported(code: str) -> set[str]:
    """The packages that a fresh process has imported after some code."""
    tail = "\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_help_imports_no_command() -> None:
    found = imported(LISTED)
    assert "rich" in found
    assert found & HEAVY == set()


@pytest.mark.parametrize("name", ["show", "missing", "holes", "show-watermark", "declare-hole"])
def test_a_command_that_reads_the_ledger_imports_no_more_than_that_takes(name: str) -> None:
    found = imported(LOADED.format(name=name))
    assert "sqlalchemy" in found
    assert found & READS_THE_LEDGER == set()


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NEED_DAGSTER))
def test_a_command_that_needs_no_dagster_does_not_import_it(name: str) -> None:
    found = imported(LOADED.format(name=name))
    assert "typer" in found
    assert "dagster" not in found
