"""Where commands print, and how: data on standard output, everything else on standard error.

Belongs here: consoles, errors as one line, JSON. Does not belong here: any table of a command.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lake_resources.errors import LakeError
from lake_resources.secrets import masked

LOG_WIDTH = 140
_MOST_SIGNS = 4_000
"""Of an error; one that quotes a line of a file may be as long as the line."""


def terminal() -> Console:
    """Standard output, for what was asked for; wide enough for tables when it is no terminal."""
    return _console(stderr=False)


def messages() -> Console:
    """Standard error, for progress, warnings and errors: what is piped from standard output stays data."""
    return _console(stderr=True)


def coloured(text: str, color: str, rest: str = "") -> Text:
    """Text in a color, and more text after it without one."""
    return Text.assemble((text, color), rest)


def show_error(error: LakeError, about: str = "") -> None:
    """One line on standard error, without passwords; the text is printed as it is, brackets and all."""
    name = f"{about}: {type(error).__name__}" if about else type(error).__name__
    said = masked(" ".join(str(error).split()))
    # Text of strangers may steer a terminal, or fill it.
    text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in said[:_MOST_SIGNS])
    messages().print(coloured(name, "red", f": {text}"), soft_wrap=True)


def show_json(value: object) -> None:
    """The answer as JSON on standard output; times are ISO 8601, records objects, paths text."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _console(*, stderr: bool) -> Console:
    # Text of strangers may look like markup, so none is read; what has a color is a `Text`.
    console = Console(highlight=False, markup=False, emoji=False, stderr=stderr)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console
