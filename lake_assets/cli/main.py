"""The `lake` command: what people start from a terminal.

Belongs here: the entry point, and how an error of the lake ends the process (`cli.exits`).
Does not belong here: any command (`command_table` lists them, each lives in its module).
"""

from __future__ import annotations

import typer

from lake_assets.cli.exits import exit_of
from lake_assets.cli.lazy_group import LazyCommands
from lake_assets.cli.printing import show_error
from lake_resources.errors import LakeError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(cls=LazyCommands)
def lake() -> None:
    """A trustworthy lake of Binance USD-M futures minute data."""


def main() -> None:
    """Run the command; an error of the lake is one message on standard error and an exit code, never a traceback."""
    try:
        app()
    except LakeError as error:
        show_error(error)
        raise SystemExit(exit_of(error)) from error
