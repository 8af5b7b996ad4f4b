"""Commands that need no Dagster do not import it, nor what else they do not need: the CPU of a start is imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

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
def packages():
    return sorted({{name.partition('.')[0] for name in sys.modules}})
for name in {names!r}:
    load(COMMANDS[name])
    print(json.dumps([name, packages()]))
"""
HEAVY = {"dagster", "polars", "pyarrow", "duckdb", "sqlalchemy", "httpx", "urllib3", "numpy", "pydantic"}
READS_THE_LEDGER = HEAVY - {"polars", "sqlalchemy", "pydantic"}
"""What a command that prints what the ledger holds has no use for."""
NEED_DAGSTER = {"demo", "health"}


def fresh(code: str) -> list[str]:
    """The lines that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    return done.stdout.splitlines()


def imported(names: Sequence[str]) -> Iterator[tuple[str, set[str]]]:
    """The packages that a fresh process has imported after each of these commands, one after the other."""
    for line in fresh(LOADED.format(names=names)):
        name, found = json.loads(line)
        yield name, set(found)


def test_the_help_imports_no_command() -> None:
    tail = "\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    found = set(json.loads(fresh(LISTED + tail)[-1]))
    assert "rich" in found
    assert found & HEAVY == set()


def test_commands_that_read_the_ledger_import_no_more_than_that_takes() -> None:
    names = ["show", "missing", "holes", "show-watermark", "declare-hole"]
    loaded = dict(imported(names))
    assert list(loaded) == names
    assert "sqlalchemy" in loaded["show"]
    assert {name: found & READS_THE_LEDGER for name, found in loaded.items()} == {name: set() for name in names}


def test_commands_that_need_no_dagster_do_not_import_it() -> None:
    names = sorted(set(COMMANDS) - NEED_DAGSTER)
    loaded = dict(imported(names))
    assert list(loaded) == names
    assert "typer" in loaded[names[0]]
    assert [name for name, found in loaded.items() if "dagster" in found] == []
