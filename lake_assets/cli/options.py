"""Options that several commands share, and what they mean.

Belongs here: typed arguments, their help, turning them into symbols and instants; where commands print.
Does not belong here: any command.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from lake_assets.windows import floor_minute
from lake_resources.errors import LakeError, SettingsError
from lake_resources.settings import LakeSettings
from lake_resources.storage.duckdb_views import View

INSTANT_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M%z"]
LOG_WIDTH = 140

Symbols = Annotated[list[str] | None, typer.Argument(help="symbols, default those of LAKE_SYMBOLS", show_default=False)]
Start = Annotated[
    datetime | None, typer.Option(formats=INSTANT_FORMATS, metavar="TIME", help="first minute; UTC, e.g. 2024-01-31")
]
End = Annotated[
    datetime | None, typer.Option(formats=INSTANT_FORMATS, metavar="TIME", help="first minute after it; default: now")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON on stdout instead of tables")]


def terminal() -> Console:
    """Standard output, for what was asked for; wide enough for tables when it is no terminal."""
    return _console(stderr=False)


def messages() -> Console:
    """Standard error, for progress, warnings and errors: what is piped from standard output stays data."""
    return _console(stderr=True)


def show_error(error: LakeError, about: str = "") -> None:
    """One line on standard error; the text is printed as it is, brackets and all."""
    name = f"{about}: {type(error).__name__}" if about else type(error).__name__
    messages().print(f"[red]{name}[/]: {escape(str(error))}", soft_wrap=True)


def show_views(views: Sequence[View]) -> None:
    """What users of these DuckDB files must know, if anything."""
    for view in views:
        if view.warning:
            messages().print(f"[yellow]{view.path}[/]: {escape(view.warning)}", soft_wrap=True)


def chosen_symbols(given: list[str] | None, settings: LakeSettings) -> tuple[str, ...]:
    """The symbols of a command, upper case, each once."""
    return tuple(dict.fromkeys(symbol.upper() for symbol in given)) if given else settings.symbols


def as_utc(instant: datetime) -> datetime:
    """An instant from the command line; without a time zone it is UTC. Seconds are cut: the lake has whole minutes.

    Raises:
        SettingsError: it is before 1970.
    """
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    if aware.year < 1970:
        raise SettingsError(f"{instant} is no time of an exchange", remedy="Give a date such as 2024-01-31")
    return floor_minute(aware)


def _console(*, stderr: bool) -> Console:
    console = Console(highlight=False, stderr=stderr)
    return console if console.is_terminal else Console(highlight=False, stderr=stderr, width=LOG_WIDTH)
