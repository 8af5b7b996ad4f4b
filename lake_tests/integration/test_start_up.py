"""Commands that need no Dagster do not import it, nor what else they do not need: the CPU of a start is imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

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
NEED_DAGSTER: set[str] = set()
"""Commands whose module imports Dagster. `report-to-dagster` and `up` import it when they write its storage."""
LOOKED = """
import json, sys
from typer.testing import CliRunner
from lake_assets.cli.main import app
from lake_resources.settings import LakeSettings
from lake_resources.storage.root import claim_root
settings = LakeSettings()
claim_root(settings.lake_root, settings.exchange, settings.ledger_file)
for line in {lines!r}:
    result = CliRunner().invoke(app, line.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    found = sorted({{name.partition('.')[0] for name in sys.modules}})
    print(json.dumps([line, [found, result.exit_code, result.output]]))
"""
LOOKS = (
    "show-watermark",
    "show BTCUSDT --day 2026-11-01",
    "missing",
    "holes BTCUSDT --start 2026-11-01 --end 2026-11-02",
    "health",
)


def fresh(code: str, **environment: str) -> list[str]:
    """The lines that a fresh process prints."""
    env = os.environ | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stderr
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


def test_looking_at_a_lake_imports_no_dagster_on_the_way(tmp_path: Path) -> None:
    """What a command imports while it works counts, too: health reads Dagster's tables without it."""
    lines = fresh(LOOKED.format(lines=LOOKS), LAKE_ROOT=str(tmp_path / "lake"), LAKE_SYMBOLS="BTCUSDT")
    found = dict(map(json.loads, lines))
    assert tuple(found) == LOOKS
    assert {line: exit_code for line, (_, exit_code, _) in found.items() if exit_code not in (0, 1)} == {}
    heavy = {line: set(packages) & (READS_THE_LEDGER - {"httpx"}) for line, (packages, _, _) in found.items()}
    assert heavy == {line: set() for line in LOOKS}
    assert "the daemon never ran here" in found["health"][2]


def test_the_collector_loads_no_second_library_of_tables() -> None:
    """It runs for weeks in a memory that was promised, of which pyarrow and what it loads would be a sixth."""
    shown = "import json, sys, lake_assets.live.process\nprint(json.dumps(sorted(map(str, sys.modules))))"
    found = {name.partition(".")[0] for name in json.loads(fresh(shown)[-1])}
    assert "polars" in found
    assert found & {"pyarrow", "dagster", "duckdb"} == set()
