"""A command of `lake` in the process of the test, as a terminal would start it."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from lake_assets.cli.main import app


def run(*arguments: str) -> Result:
    """How the command ended: its exit code, its output and an error that was raised."""
    return CliRunner().invoke(app, list(arguments))


def ok(*arguments: str) -> str:
    """The output of a command that must succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output
