"""Where commands print, and how: data on standard output, everything else on standard error.

Belongs here: consoles, errors as one line, JSON. Does not belong here: any table of a command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from lake_resources.errors import LakeError
from lake_resources.legible import legible
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
    return Text.assemble((legible(text, lines=True), color), legible(rest, lines=True))


def show_error(error: LakeError, about: str = "") -> None:
    """One line on standard error, without passwords; the text is printed as it is, brackets and all."""
    name = f"{about}: {type(error).__name__}" if about else type(error).__name__
    # Text of strangers may steer a terminal, or fill it.
    text = legible(masked(" ".join(str(error).split()))[:_MOST_SIGNS])
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


class _Legible(Console):
    """A console on which no text of strangers, a name of a file or a reason, steers the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a line or a cell; what is no print is shown as its escape before the table is laid out."""
        return super().render_str(legible(text, lines=True), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is printed; what has a color is no plain text, so its signs are looked at here."""
        for segment in super().render(renderable, options):
            plain = segment.control is not None or segment.text.isprintable()
            yield segment if plain else Segment(legible(segment.text, lines=True), segment.style)


def _console(*, stderr: bool) -> Console:
    # Text of strangers may look like markup, so none is read; what has a color is a `Text`.
    console = _Legible(highlight=False, markup=False, emoji=False, stderr=stderr)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console
