"""`lake audit` as a person starts it: table, JSON, exit codes, and a remedy where it cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lake_assets.cli.exits import Exit, exit_of
from lake_assets.cli.main import app
from lake_resources.errors import LakeError
from lake_resources.storage.root import claim_root
from lake_tests.support.sound_hours import FIRST, HOUR, SYMBOL, commit_sound, open_files
from lake_tests.support.waiting import free_port

RANGE = ["--start", f"{FIRST:%Y-%m-%d}", "--end", f"{FIRST + 6 * HOUR:%Y-%m-%dT%H:%M}"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lake of six sound hours, and no Dagster."""
    root = tmp_path / "lake"
    store = open_files(root)
    claim_root(root, "simulator")
    commit_sound(store, FIRST, 6)
    store.ledger.close()
    for name, value in {"ROOT": root, "SYMBOLS": SYMBOL, "WEBSERVER_PORT": free_port()}.items():
        monkeypatch.setenv(f"LAKE_{name}", str(value))
    return root


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments])


def test_a_sound_lake_is_exit_code_0(root: Path) -> None:
    result = run(*RANGE)
    assert result.exit_code == 0, result.output
    assert "6 hours, consistent; 360 of 360 minutes (100.00 %); not compared with Dagster" in result.output


def test_a_wrong_hour_is_exit_code_1_and_is_named(root: Path) -> None:
    open_files(root).catalog.partition_path(SYMBOL, FIRST + 2 * HOUR).unlink()
    result = run(*RANGE)
    assert result.exit_code == 1
    assert "there is no file for the hour" in result.output
    assert "2026-01-15 02:00" in result.output
    assert "300 of 360 minutes (83.33 %)" in result.output


def test_json_is_all_that_is_printed(root: Path) -> None:
    open_files(root).catalog.partition_path(SYMBOL, FIRST + 2 * HOUR).write_bytes(b"")
    result = run(*RANGE, "--json")
    (found,) = json.loads(result.stdout)
    assert (result.exit_code, found["symbol"], found["wrong"]) == (1, SYMBOL, 1)
    assert found["wrong_hours"][0]["codes"][1] == "content_hash_mismatch"
    assert list(found["completeness_pct_by_hour"].values()) == [100.0, 100.0, 0.0, 100.0, 100.0, 100.0]


def test_a_second_audit_uses_the_cache_and_full_does_not(root: Path) -> None:
    assert run(*RANGE).exit_code == 0
    assert json.loads(run(*RANGE, "--json").stdout)[0]["from_cache"] == 6
    assert json.loads(run(*RANGE, "--json", "--full").stdout)[0]["from_cache"] == 0
    assert json.loads(run(*RANGE, "--json").stdout)[0]["from_cache"] == 6


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        (["ETHUSDT"], "no hour of ETHUSDT is committed", Exit.NOT_THERE_YET),
        ([*RANGE, "--years", "1"], "--start and --years", Exit.USAGE),
        (["--start", "2026-02-01", "--end", "2026-01-01"], "is empty", Exit.USAGE),
        ([*RANGE, "--dagster", "yes"], "does not answer", Exit.FAILED),
    ],
)
def test_what_cannot_be_done_says_why(root: Path, arguments: list[str], text: str, code: Exit) -> None:
    error = run(*arguments).exception
    assert isinstance(error, LakeError)
    assert (text in str(error), exit_of(error)) == (True, code)


def test_wrong_usage_is_exit_code_2(root: Path) -> None:
    assert run("--start", "yesterday").exit_code == 2
    assert run("--years", "11").exit_code == 2
