"""A group of commands whose modules are imported when they are called, not when they are listed.

Belongs here: listing from the table, loading one command. Does not belong here: the table (`command_table`).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lake_assets.cli.command_table import COMMANDS, CommandLine


class LazyCommands(TyperGroup):
    """The commands of the table: listed by their line alone, imported when one of them is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for line in COMMANDS.values():
            self.add_command(TyperCommand(line.name, help=line.summary, rich_help_panel=line.group))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The called command, loaded, and what follows its name."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(COMMANDS[str(name)]), rest


@cache
def load(line: CommandLine) -> Any:
    """Import a command of the table.

    Returns:
        Typer's command object: arguments, options, help, and what it does.
    """
    app: typer.Typer = import_module(f"lake_assets.cli.{line.module}").app
    command = typer.main.get_group(app).commands[line.name]
    command.rich_help_panel = line.group  # type: ignore[attr-defined]
    return command
